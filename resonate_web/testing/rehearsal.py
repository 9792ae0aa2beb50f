"""Runs without server, threads or clock: executions driven by hand over a `World`.

A rehearsal takes a task, drives its execution until it suspends, ends, refuses or is made to crash, and can do so
again from what was stored: what a replay sees is exactly what the machine has recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from resonate_web.clock import FOREVER
from resonate_web.engine.steps import Ended, Steps, Verdict
from resonate_web.machine.steps import Cascade
from resonate_web.protocol import requests, tags
from resonate_web.protocol.records import Promise, PromiseState, TaskState, Value
from resonate_web.testing.world import World as Machine
from resonate_web.workflow.codec import Codec, to_data
from resonate_web.workflow.context import StepContext
from resonate_web.workflow.execution import Actions, Execution
from resonate_web.workflow.links import Links, no_links
from resonate_web.workflow.nodes import Node
from resonate_web.workflow.recorded import parameters
from resonate_web.workflow.registry import Registry, is_workflow
from resonate_web.workflow.tree import World

START = 1_700_000_000_000
TARGET = "poll://any@default"
LEASE = 60_000


class Crash(Exception):
    """The rehearsed process ended here."""


class Refused(Exception):
    """The run cannot proceed; the message is the reason."""


@dataclass
class Rehearsal:
    """Every run of one world. With `dice`, bodies end in a random order; `keep` keeps suspended executions."""

    registry: Registry = field(default_factory=Registry)
    codec: Codec = field(default_factory=Codec)
    dice: Random | None = None
    keep: bool = False
    now: int = START
    dependencies: dict[str, object] = field(default_factory=dict)
    links: Links = no_links
    machine: Machine = field(default_factory=Machine)
    sent: list[requests.Request] = field(default_factory=list)
    """Every request that was applied, in order."""
    bodies: list[str] = field(default_factory=list)
    """The id of every step whose body was started, in order."""
    groups_left: int | None = None
    """How many more groups are applied before the process crashes, its answers unread; None: all."""
    bodies_left: int | None = None
    """How many more bodies end before the process crashes, the last one's result unstored; None: all."""
    kept: dict[str, Execution] = field(default_factory=dict)

    def begin(self, id: str, fn: Callable[..., Any], *args: Any, timeout_ms: int = FOREVER, **kwargs: Any) -> None:
        """Store a run of a registered function."""
        entry = self.registry.of(fn)
        text = self.codec.dumps({"args": args, "func": entry.name, "kwargs": kwargs, "version": entry.version})
        marks = {tags.TARGET: TARGET, tags.ORIGIN: id, tags.BRANCH: id, tags.PARENT: id, tags.SCOPE: "global"}
        if entry.on_cancel:
            marks[tags.ON_CANCEL] = entry.on_cancel
        create = requests.PromiseCreate(
            id=id, timeout_at=self.now + timeout_ms, param=Value(data=to_data(text)), tags=marks
        )
        self.submit(create)

    def run(self, id: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Store a run, drive everything to its end and return the outcome. Raises: Crash, Refused, its error."""
        self.begin(id, fn, *args, **kwargs)
        return self.finish(id)

    def finish(self, id: str) -> Any:
        """Drive every pending task, letting time pass, until this run has ended; return its outcome."""
        for _ in range(100_000):
            promise = self.promise(id)
            if promise.state is not PromiseState.PENDING:
                return self.codec.outcome(promise)
            if not self.proceed():
                raise AssertionError(f"{id} waits for something that nobody settles")
        raise AssertionError(f"{id} does not end")

    def proceed(self) -> bool:
        """Drive one pending task, or let time pass to the next instant that matters; tell whether there was one."""
        self.machine.settle_down(self.now)
        for id in sorted(self.machine.tasks):
            if self.machine.tasks[id].state is TaskState.PENDING:
                self.drive(id)
                return True
        instant = self.machine.next_instant()
        if instant is None or instant >= self.now + FOREVER // 2:
            return False
        self.now = max(self.now, instant)
        return True

    def drive(self, id: str) -> str:
        """Acquire a task and drive it: `ended` or `suspended`. Raises: Crash, Refused, Lost."""
        task = self.machine.tasks[id]
        answer = self.submit(
            requests.TaskAcquire(id=id, version=task.version, pid="rehearsal", ttl=LEASE, preload="owned")
        )
        assert answer.promise is not None, answer.error
        execution = self.kept.pop(id, None) if self.keep else None
        if execution is not None and execution.version == task.version:
            execution.resumed(task.version + 1, [self.promise(a) for a in execution.awaited()])
        else:
            execution = self._load(answer.promise, task.version + 1, answer.preload)
            execution.begin()
        try:
            ended = self._drive(execution)
        except BaseException:
            execution.kill()
            if self.machine.tasks[id].state is TaskState.ACQUIRED:
                self.submit(requests.TaskRelease(id=id, version=task.version + 1))
            raise
        if ended == "suspended" and self.keep:
            self.kept[id] = execution
        elif ended == "suspended":
            execution.kill()
        return ended

    def settle(self, id: str, value: Any = None, state: PromiseState = PromiseState.RESOLVED) -> None:
        """Settle a promise as somebody outside does."""
        self.submit(requests.PromiseSettle(id=id, state=state, value=self.codec.encode(value)))
        self._cascade(id)

    def promise(self, id: str) -> Promise:
        """Return a promise as it is seen now."""
        found = self.submit(requests.PromiseGet(id=id)).promise
        assert found is not None, f"no promise {id}"
        return found

    def submit(self, request: requests.Request) -> requests.Response:
        """Apply one request."""
        return self.machine.submit(request, self.now)

    def records(self) -> dict[str, tuple[str, str | None]]:
        """Return state and value of every promise by id, for comparing two histories."""
        return {id: (row.record.state, row.record.value.data) for id, row in sorted(self.machine.promises.items())}

    def _load(self, promise: Promise, version: int, records: tuple[Promise, ...]) -> Execution:
        called = parameters(promise)
        entry = self.registry.find(called["func"], called["version"])
        call = self.codec.decode(promise.param)
        if is_workflow(entry.fn, self.registry):

            def workflow(ctx: Any) -> Any:
                return entry.fn(ctx, *call["args"], **call["kwargs"])
        else:

            def workflow(ctx: Any) -> Any:
                return (yield ctx.run(entry.fn, *call["args"], **call["kwargs"]))

        world = World(
            registry=self.registry,
            codec=self.codec,
            dependencies=self.dependencies,
            now=lambda: self.now,
            target=TARGET,
            address="poll://uni@default/rehearsal",
            links=self.links,
        )
        return Execution(promise=promise, version=version, workflow=workflow, records=records, world=world)

    def _drive(self, execution: Execution) -> str:
        running: list[tuple[Node, int]] = []
        deadlines: list[Node] = []
        while True:
            for node in [node for node in deadlines if node.timeout_at <= self.now]:
                deadlines.remove(node)
                execution.expired(node)
            actions = execution.collect()
            deadlines += actions.deadlines
            if actions.refusal is not None:
                raise Refused(actions.refusal)
            if actions.send:
                self._send(execution, actions)
            running += [(node, 1) for node in actions.start]
            if execution.finished or execution.suspended:
                return "ended" if execution.finished else "suspended"
            if not actions.send:
                running = [(node, n) for node, n in running if node.id in execution.bodies]
                if not running:
                    raise AssertionError("the run neither proceeds nor waits")
                position = self.dice.randrange(len(running)) if self.dice else 0
                self._body(execution, running, position)

    def _send(self, execution: Execution, actions: Actions) -> None:
        if self.groups_left is not None:
            self.groups_left -= 1
        answers = []
        for entry in actions.send:
            self.sent.append(entry.request)
            answers.append(self.submit(entry.request))
            if isinstance(entry.request, requests.TaskFulfill):
                self._cascade(entry.request.id)
            elif isinstance(entry.request, requests.TaskFence):
                self._cascade(entry.request.action.id)
        if self.groups_left is not None and self.groups_left <= 0:
            raise Crash("after a group, before its answers")
        fetch = execution.applied(actions.send, answers)
        if fetch:
            execution.settled([self.promise(id) for id in fetch])

    def _cascade(self, id: str) -> None:
        row = self.machine.promises.get(id)
        bad = (PromiseState.REJECTED, PromiseState.CANCELED, PromiseState.TIMEDOUT)
        if row is not None and row.record.state in bad and id in self.machine.tasks:
            self.machine.submit(Cascade(id=id), self.now)

    def _body(self, execution: Execution, running: list[tuple[Node, int]], position: int) -> None:
        node, number = running.pop(position)
        ctx = StepContext(
            id=node.id,
            key=node.command.key,
            attempt=number,
            dependencies=self.dependencies,
            cancelled=lambda: node.id not in execution.bodies,
        )
        self.bodies.append(node.id)
        steps = Steps(self.codec, _no_loop, lambda: self.now, None, self._retry_of)
        verdict = steps.run(node, ctx, _never)
        if self.bodies_left is not None:
            self.bodies_left -= 1
            if self.bodies_left <= 0:
                raise Crash("after a body, before its result is stored")
        assert verdict is not None
        if isinstance(verdict, Ended):
            execution.body_ended(node, verdict.state, verdict.value)
        else:
            execution.attempt_failed(node, number, verdict.note)
            self.now = max(self.now, verdict.at)
            running.append((node, number + 1))

    def _retry_of(self, fn: Callable[..., Any]) -> Any:
        return self.registry.of(fn).retry if self.registry.knows(fn) else None


def _no_loop(coroutine: Any) -> Any:
    raise AssertionError("a rehearsal has no event loop: use plain steps")


def _never(verdict: Verdict) -> None:
    raise AssertionError("plain steps end at once")
