"""Random histories of requests, internal steps and time, with every property of the catalogue checked after each."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from resonate_web.machine.rows import seen
from resonate_web.machine.steps import (
    Cascade,
    Delivered,
    Dispatch,
    Expire,
    Fire,
    Notify,
    Reclaim,
    Step,
    Timeout,
    Wake,
)
from resonate_web.protocol.records import EMPTY, PromiseState, TaskState, Value
from resonate_web.protocol.requests import (
    PromiseCreate,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSettle,
    Refusal,
    Request,
    Response,
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    TaskAcquire,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
    TaskHeartbeat,
    TaskRef,
    TaskRelease,
    TaskSuspend,
)
from resonate_web.testing.histories import History
from resonate_web.testing.scenarios import EXTERNAL, create, hold, suspend
from resonate_web.testing.witness import Witness
from resonate_web.testing.world import World

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "100"))
TARGET = {"resonate:target": "poll://any@g", "resonate:branch": "a"}
TAGS = [
    {},
    {"resonate:branch": "a"},
    {"resonate:external": "true"},
    {"resonate:external": "true", "resonate_web:detached": "true"},
    {"resonate:timer": "true"},
    {"resonate:timer": "true", "resonate:target": "x"},
    TARGET,
    TARGET,
    TARGET,
    {**TARGET, "resonate_web:on_cancel": "clean@1"},
    {**TARGET, "resonate:delay": "1200"},
    {"resonate:target": ""},
]
ids = st.sampled_from(["a", "b", "a:1", "d", "d:1"])
picks = st.integers(0, 11)
tags = st.sampled_from(TAGS)
lives = st.sampled_from([5000, 5000, 5000, 5000, 400, 60, 1, 0, -100])
values = st.sampled_from([EMPTY, Value(data="Mg=="), Value(data="", headers={"a": "b"})])
good_verdicts = [PromiseState.RESOLVED, PromiseState.REJECTED, PromiseState.CANCELED]
verdicts = st.sampled_from([*good_verdicts, *good_verdicts, PromiseState.TIMEDOUT])
pids = st.sampled_from(["p", "q"])
ttls = st.sampled_from([1000, 1000, 50, 1, 0])
drifts = st.sampled_from([0, 0, 0, 0, 0, 0, 1, -1])
preloads = st.sampled_from(["branch", "owned", "none"])
addresses = st.sampled_from(["http://x", "poll://any@g", "local://1", "mail:x"])
refusals = st.sampled_from([None, None, Refusal(pid="p", code="1", reason="x"), Refusal(pid="q", code="2", reason="y")])


class Histories(RuleBasedStateMachine):
    """One world, one clock, and what its clients were told so far."""

    @initialize()
    def begin(self) -> None:
        self.world = World(retry_interval=100)
        self.now = 1000
        self.witness = Witness(self.world)
        # A scene in which every rule has something to work on: a held run with children, a parked one, a schedule.
        create(self.world, "b", EXTERNAL)
        for id in ("a", "c"):
            hold(self.world, id)
        for id, tags in (("a:1", TARGET), ("a:2", {})):
            action = PromiseCreate(id=id, timeout_at=100_000, tags=tags)
            self.apply(TaskFence(id="a", version=1, action=action))
        suspend(self.world, "c", "b", "a:1")
        self.apply(PromiseRegisterListener(awaited="b", address="http://x"))

    def apply(self, request: Request | Step) -> Response:
        return self.witness.submit(request, self.now)

    def aim(self, pick: int, *states: TaskState) -> str:
        """Return the id of a task in one of these states if there is one and `pick` is not 0, else of any object."""
        fitting = sorted(id for id, task in self.world.tasks.items() if task.state in states)
        known = sorted(self.world.promises) or ["a"]
        return fitting[pick % len(fitting)] if fitting and pick else known[pick % len(known)]

    def known(self, pick: int) -> str:
        """Return the id of an object, or one of nothing."""
        known = [*sorted(self.world.promises), "z"]
        return known[pick % len(known)]

    def version(self, id: str, drift: int) -> int:
        task = self.world.tasks.get(id)
        return drift + (task.version if task else 0)

    @rule(by=st.sampled_from([0, 1, 20, 100, 1000]))
    def time_passes(self, by: int) -> None:
        self.now += by

    @rule(id=ids, life=lives, tags=tags, value=values)
    def promise_create(self, id, life, tags, value) -> None:
        request = PromiseCreate(id=id, timeout_at=max(0, self.now + life), param=value, tags=tags)
        first = self.apply(request)
        if first.status == 200:
            assert self.apply(request).promise == first.promise, "A1: create is idempotent"

    @rule(pick=picks, state=verdicts, value=values)
    def promise_settle(self, pick, state, value) -> None:
        id = self.known(pick)
        first = self.apply(PromiseSettle(id=id, state=state, value=value))
        if first.status == 200:
            again = self.apply(PromiseSettle(id=id, state=PromiseState.REJECTED, value=Value(data="later")))
            assert again.promise == first.promise, "A2: the first verdict absorbs the second"
            version = self.version(id, 0)
            verdict = PromiseSettle(id=id, state=PromiseState.RESOLVED)
            late = self.apply(TaskFulfill(id=id, version=version, action=verdict))
            assert late.status in {404, 409}, "A13: a stranger's verdict ends every claim"

    @rule(pick=picks, other=picks)
    def register_callback(self, pick, other) -> None:
        awaited, awaiter = self.known(pick), self.aim(other, TaskState.ACQUIRED, TaskState.SUSPENDED)
        self.apply(PromiseRegisterCallback(awaited=awaited, awaiter=awaiter))

    @rule(pick=picks, address=addresses)
    def register_listener(self, pick, address) -> None:
        self.apply(PromiseRegisterListener(awaited=self.known(pick), address=address))

    @rule(id=ids)
    def get(self, id) -> None:
        self.apply(PromiseGet(id=id))
        self.apply(TaskGet(id=id))
        self.apply(ScheduleGet(id=id))

    @rule(id=ids, life=lives, tags=tags, pid=pids, ttl=ttls, preload=preloads)
    def task_create(self, id, life, tags, pid, ttl, preload) -> None:
        action = PromiseCreate(id=id, timeout_at=max(0, self.now + life), tags=tags)
        self.apply(TaskCreate(pid=pid, ttl=ttl, action=action, preload=preload))

    @rule(pick=picks, drift=drifts, pid=pids, ttl=ttls, preload=preloads)
    def task_acquire(self, pick, drift, pid, ttl, preload) -> None:
        id = self.aim(pick, TaskState.PENDING)
        request = TaskAcquire(id=id, version=self.version(id, drift), pid=pid, ttl=ttl, preload=preload)
        if self.apply(request).status == 200:
            assert self.apply(request).status == 409, "A8: acquire is exclusive"

    @rule(pick=picks, drift=drifts, child=ids, life=lives, tags=tags, preload=preloads)
    def fence_create(self, pick, drift, child, life, tags, preload) -> None:
        id = self.aim(pick, TaskState.ACQUIRED)
        action = PromiseCreate(id=child, timeout_at=max(0, self.now + life), tags=tags)
        self.apply(TaskFence(id=id, version=self.version(id, drift), action=action, preload=preload))

    @rule(pick=picks, drift=drifts, other=picks, state=verdicts, value=values)
    def fence_settle(self, pick, drift, other, state, value) -> None:
        id = self.aim(pick, TaskState.ACQUIRED)
        action = PromiseSettle(id=self.known(other), state=state, value=value)
        self.apply(TaskFence(id=id, version=self.version(id, drift), action=action))

    @rule(refs=st.lists(st.tuples(picks, drifts), max_size=3), pid=pids)
    def heartbeat(self, refs, pid) -> None:
        aimed = [(self.aim(pick, TaskState.ACQUIRED), drift) for pick, drift in refs]
        tasks = tuple(TaskRef(id=id, version=self.version(id, drift)) for id, drift in aimed)
        assert self.apply(TaskHeartbeat(pid=pid, tasks=tasks)).status == 200

    @rule(pick=picks, drift=drifts, awaited=st.lists(picks, min_size=1, max_size=2))
    def suspend(self, pick, drift, awaited) -> None:
        id = self.aim(pick, TaskState.ACQUIRED)
        actions = tuple(PromiseRegisterCallback(awaited=self.known(other), awaiter=id) for other in awaited)
        self.apply(TaskSuspend(id=id, version=self.version(id, drift), actions=actions))

    @precondition(lambda self: self.held() and self.awaitable())
    @rule(pick=picks, other=picks)
    def suspend_well(self, pick, other) -> None:
        id, awaited = self.held()[pick % len(self.held())], self.awaitable()[other % len(self.awaitable())]
        action = PromiseRegisterCallback(awaited=awaited, awaiter=id)
        self.apply(TaskSuspend(id=id, version=self.version(id, 0), actions=(action,)))

    @rule(pick=picks, drift=drifts, state=verdicts, value=values)
    def fulfill(self, pick, drift, state, value) -> None:
        id = self.aim(pick, TaskState.ACQUIRED)
        action = PromiseSettle(id=id, state=state, value=value)
        self.apply(TaskFulfill(id=id, version=self.version(id, drift), action=action))

    @rule(pick=picks, drift=drifts, refusal=refusals)
    def release(self, pick, drift, refusal) -> None:
        id = self.aim(pick, TaskState.ACQUIRED)
        self.apply(TaskRelease(id=id, version=self.version(id, drift), refusal=refusal))

    @rule(pick=picks, refusal=refusals)
    def halt(self, pick, refusal) -> None:
        id = self.aim(pick, TaskState.SUSPENDED, TaskState.PENDING)
        self.apply(TaskHalt(id=id, refusal=refusal))

    @rule(pick=picks)
    def continue_(self, pick) -> None:
        id = self.aim(pick, TaskState.HALTED)
        self.apply(TaskContinue(id=id))

    @rule(id=ids, tags=tags, life=st.sampled_from([0, 500, 5000]), cron=st.sampled_from(["* * * * * *", "x"]))
    def schedule_create(self, id, tags, life, cron) -> None:
        template = "{{.id}}.{{.timestamp}}"
        self.apply(ScheduleCreate(id=id, cron=cron, promise_id=template, promise_timeout=life, promise_tags=tags))

    @rule(id=ids)
    def schedule_delete(self, id) -> None:
        self.apply(ScheduleDelete(id=id))

    @precondition(lambda self: self.world.enabled(self.now))
    @rule(pick=picks)
    def enabled_step(self, pick) -> None:
        steps = self.world.enabled(self.now)
        self.apply(steps[pick % len(steps)])

    @precondition(lambda self: self.world.enabled(self.now))
    @rule(pick=picks)
    def another_enabled_step(self, pick) -> None:
        self.enabled_step(pick)

    @rule(aim=picks, other=picks, address=addresses, pid=pids, drift=drifts, pick=st.integers(0, 7))
    def any_step(self, aim, other, address, pid, drift, pick) -> None:
        id, other = self.aim(aim, TaskState.ACQUIRED), self.known(other)
        version = self.version(id, drift)
        steps: list[Step] = [
            Timeout(id=id),
            Notify(id=id, address=address),
            Wake(id=id, awaiter=other),
            Expire(id=id),
            Dispatch(id=id),
            Fire(id=id, ids=(other,)),
            Reclaim(id=id, pid=pid, version=version),
            Delivered(key=id),
        ]
        self.apply(steps[pick])

    @rule(pick=picks)
    def cascade(self, pick) -> None:
        id = self.known(pick)
        self.apply(Cascade(id=id))
        root = self.world.promises.get(id)
        if root is not None and seen(root.record, self.now).state is not PromiseState.PENDING:
            below = [seen(row.record, self.now) for row in self.world.tree(id)]
            assert all(child.state is not PromiseState.PENDING for child in below)

    def held(self) -> list[str]:
        return sorted(id for id, task in self.world.tasks.items() if task.state is TaskState.ACQUIRED)

    def awaitable(self) -> list[str]:
        tagged = [(id, row.record.tags) for id, row in self.world.promises.items()]
        return [id for id, tags in tagged if any(name in tags for name in ("resonate:external", "resonate:target"))]


Histories.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=50, deadline=None, derandomize=EXAMPLES == 100
)


TestRandomHistories = Histories.TestCase


@pytest.mark.parametrize("first", range(0, 4 * EXAMPLES, EXAMPLES))
def test_every_property_holds_after_every_step_of_an_aimed_history(first: int) -> None:
    """Seeded histories that name existing objects keep every property of the catalogue."""
    for seed in range(first, first + EXAMPLES):
        world = World(retry_interval=100)
        history, witness = History(seed, world), Witness(world)
        for _ in range(80):
            witness.submit(history.draw(), history.now)
