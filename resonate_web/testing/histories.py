"""Seeded histories of requests, internal steps and time, aimed at what the world holds.

Uniformly drawn requests mostly meet 404 and 409. These name existing objects and current versions most of
the time, so that a short history reaches wakes, takeovers and late verdicts; the same seed gives the same history.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from resonate_web.machine.steps import Cascade, Delivered, Dispatch, Expire, Fire, Notify, Reclaim, Step, Timeout, Wake
from resonate_web.protocol import requests as rq
from resonate_web.protocol.records import EMPTY, PromiseState, TaskState, Value
from resonate_web.protocol.tags import BRANCH, DELAY, DETACHED, EXTERNAL, ON_CANCEL, TARGET, TIMER
from resonate_web.testing.world import World

IDS = ("a", "b", "c", "a:1", "a:2", "b:1")
ADDRESSES = ("http://x", "poll://any@g", "local://1", "mail:x")
PIDS = ("p", "q")
VERDICTS = (PromiseState.RESOLVED, PromiseState.REJECTED, PromiseState.CANCELED)
TARGETED = {TARGET: "poll://any@g", BRANCH: "a"}
TAGS: tuple[dict[str, str], ...] = (
    TARGETED,
    TARGETED,
    {**TARGETED, ON_CANCEL: "clean@1"},
    {**TARGETED, DELAY: "1500"},
    {**TARGETED, DETACHED: "true"},
    {TARGET: ""},
    {BRANCH: "a"},
    {},
    {EXTERNAL: "true"},
    {TIMER: "true", BRANCH: "a"},
    {TIMER: "true", TARGET: "x"},
)
WEIGHTS = {
    "promise_create": 4,
    "promise_settle": 2,
    "register_callback": 2,
    "register_listener": 3,
    "get": 1,
    "task_create": 4,
    "task_acquire": 6,
    "task_fence": 8,
    "task_heartbeat": 3,
    "task_suspend": 8,
    "task_fulfill": 2,
    "task_release": 3,
    "task_halt": 2,
    "task_continue": 3,
    "schedule": 2,
    "enabled_step": 14,
    "any_step": 2,
    "cascade": 2,
}


class History:
    """One seeded history: draws what happens next to a world at `now` (ms)."""

    def __init__(self, seed: int, world: World) -> None:
        self.random = Random(seed)
        self.world = world
        self.now = 1000
        self._opening = [self.task_create, self.task_create]
        self._draws: list[Callable[[], rq.Request | Step]] = [getattr(self, name) for name in WEIGHTS]

    def draw(self) -> rq.Request | Step:
        """Let time pass or not, and return the next request or internal step."""
        if self.random.random() < 0.3:
            self.now += self.random.choice((1, 10, 50, 50, 300))
        if self._opening:
            return self._opening.pop()()
        return self.random.choices(self._draws, tuple(WEIGHTS.values()))[0]()

    def promise_create(self) -> rq.PromiseCreate:
        """Draw a create, now and then of an id that exists or of one that is born dead."""
        life = self.random.choice((*[20_000] * 8, 2000, 300, 30, 0, -100))
        return rq.PromiseCreate(
            id=self.random.choice(IDS),
            timeout_at=max(0, self.now + life),
            param=self._value(),
            tags=self.random.choice(TAGS),
        )

    def promise_settle(self) -> rq.PromiseSettle:
        """Draw a verdict, now and then one that no client may give."""
        state = self.random.choice((*VERDICTS, *VERDICTS, *VERDICTS, PromiseState.TIMEDOUT))
        return rq.PromiseSettle(id=self._known(), state=state, value=self._value())

    def register_callback(self) -> rq.Request:
        """Draw a callback."""
        awaiter = self._task(*TaskState)
        return rq.PromiseRegisterCallback(awaited=self._awaitable(awaiter), awaiter=awaiter)

    def register_listener(self) -> rq.Request:
        """Draw a listener."""
        return rq.PromiseRegisterListener(awaited=self._awaitable(""), address=self.random.choice(ADDRESSES))

    def get(self) -> rq.Request:
        """Draw a read."""
        kind = self.random.choice((rq.PromiseGet, rq.TaskGet, rq.ScheduleGet))
        return kind(id=self._known())

    def task_create(self) -> rq.Request:
        """Draw a create that acquires."""
        pid, preload = self.random.choice(PIDS), self._preload()
        drawn = self.promise_create()
        tags = self.random.choice((TARGETED, TARGETED, drawn.tags))
        action = rq.PromiseCreate(id=drawn.id, timeout_at=drawn.timeout_at, param=drawn.param, tags=tags)
        return rq.TaskCreate(pid=pid, ttl=self._ttl(), action=action, preload=preload)

    def task_acquire(self) -> rq.Request:
        """Draw an acquire, mostly of a pending task."""
        id = self._task(TaskState.PENDING)
        pid = self.random.choice(PIDS)
        return rq.TaskAcquire(id=id, version=self._version(id), pid=pid, ttl=self._ttl(), preload=self._preload())

    def task_fence(self) -> rq.Request:
        """Draw a fenced create or settle, mostly by a holder."""
        id = self._task(TaskState.ACQUIRED)
        action = self.promise_create() if self.random.random() < 0.6 else self.promise_settle()
        return rq.TaskFence(id=id, version=self._version(id), action=action, preload=self._preload())

    def task_heartbeat(self) -> rq.Request:
        """Draw a heartbeat for up to two tasks, half of the time by a stranger."""
        ids = [self._task(TaskState.ACQUIRED) for _ in range(self.random.randrange(3))]
        refs = tuple(rq.TaskRef(id=id, version=self._version(id)) for id in ids)
        return rq.TaskHeartbeat(pid=self.random.choice(PIDS), tasks=refs)

    def task_suspend(self) -> rq.Request:
        """Draw a suspension on up to three promises, mostly ones that may be awaited."""
        id = self._task(TaskState.ACQUIRED)
        awaited = [self._awaitable(id) for _ in range(self.random.choice((1, 1, 1, 1, 2, 3)))]
        actions = tuple(rq.PromiseRegisterCallback(awaited=other, awaiter=id) for other in awaited)
        return rq.TaskSuspend(id=id, version=self._version(id), actions=actions, preload=self._preload())

    def task_fulfill(self) -> rq.Request:
        """Draw a fulfil, mostly by a holder."""
        id = self._task(TaskState.ACQUIRED)
        state = self.random.choice(VERDICTS)
        action = rq.PromiseSettle(id=id, state=state, value=self._value())
        return rq.TaskFulfill(id=id, version=self._version(id), action=action)

    def task_release(self) -> rq.Request:
        """Draw a release, with a refusal or without."""
        id = self._task(TaskState.ACQUIRED)
        return rq.TaskRelease(id=id, version=self._version(id), refusal=self._refusal())

    def task_halt(self) -> rq.Request:
        """Draw a halt."""
        return rq.TaskHalt(id=self._task(*TaskState), refusal=self._refusal())

    def task_continue(self) -> rq.Request:
        """Draw a continue, mostly of a halted task."""
        return rq.TaskContinue(id=self._task(TaskState.HALTED))

    def schedule(self) -> rq.Request:
        """Draw a schedule of every second, or its end."""
        id = self.random.choice(("s", "t"))
        if self.random.random() < 0.4:
            return rq.ScheduleDelete(id=id)
        template = self.random.choice(("{{.id}}.{{.timestamp}}", "{{.id}}"))
        tags, timeout = self.random.choice(TAGS), self.random.choice((0, 500))
        return rq.ScheduleCreate(
            id=id, cron="* * * * * *", promise_id=template, promise_timeout=timeout, promise_tags=tags
        )

    def enabled_step(self) -> rq.Request | Step:
        """Draw an internal step that is due, a read when none is."""
        steps = self.world.enabled(self.now)
        return self.random.choice(steps) if steps else self.get()

    def any_step(self) -> Step:
        """Draw an internal step whether or not it is due."""
        id, other = self._task(*TaskState), self._known()
        pid, version = self.random.choice(PIDS), self._version(id)
        return self.random.choice(
            (
                Timeout(id=id),
                Notify(id=id, address=self.random.choice(ADDRESSES)),
                Wake(id=other, awaiter=id),
                Expire(id=id),
                Dispatch(id=id),
                Fire(id="s", ids=(other,)),
                Reclaim(id=id, pid=pid, version=version),
                Delivered(key=id),
            )
        )

    def cascade(self) -> Step:
        """Draw a cascade."""
        return Cascade(id=self._known())

    def _known(self) -> str:
        return self.random.choice([*self.world.promises, self.random.choice(IDS)])

    def _task(self, *states: TaskState) -> str:
        fitting = [id for id, task in self.world.tasks.items() if task.state in states]
        return self.random.choice(fitting) if fitting and self.random.random() < 0.95 else self._known()

    def _awaitable(self, awaiter: str) -> str:
        rows = [(id, row.record) for id, row in self.world.promises.items() if id != awaiter]
        awaitable = [(id, record) for id, record in rows if record.tags.keys() & {TARGET, EXTERNAL, TIMER}]
        live = [id for id, record in awaitable if record.state is PromiseState.PENDING]
        fitting = live if self.random.random() < 0.7 else [id for id, _ in awaitable]
        return self.random.choice(fitting) if fitting and self.random.random() < 0.9 else self._known()

    def _version(self, id: str) -> int:
        task = self.world.tasks.get(id)
        drift = self.random.choice((0, 0, 0, 0, 0, 0, 0, 0, 1, -1))
        return drift + (task.version if task else 0)

    def _ttl(self) -> int:
        return self.random.choice((*[1000] * 6, 300, 50, 1, 0))

    def _value(self) -> Value:
        return self.random.choice((EMPTY, Value(data="Mg=="), Value(data="", headers={"a": "b"})))

    def _preload(self) -> rq.Preload:
        preloads: tuple[rq.Preload, ...] = ("branch", "owned", "none")
        return self.random.choice(preloads)

    def _refusal(self) -> rq.Refusal | None:
        pid = self.random.choice((None, None, None, *PIDS))
        return None if pid is None else rq.Refusal(pid=pid, code="c", reason="unknown function")
