"""The engine of one process: takes tasks, drives their runs, keeps their leases, gives them back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from resonate_web.clock import Clock
from resonate_web.config import Settings
from resonate_web.delivery import Acquired, Port
from resonate_web.engine.announcing import Announcer
from resonate_web.engine.attempt import Attempt
from resonate_web.engine.code import fingerprint
from resonate_web.engine.events import Event, Events
from resonate_web.engine.loops import Loops
from resonate_web.engine.owners import NoOwners, Owners
from resonate_web.engine.roster import Roster
from resonate_web.engine.steps import Steps
from resonate_web.errors import NotRegistered, Unserializable
from resonate_web.protocol import requests
from resonate_web.turns import Alarm, Turns, Work
from resonate_web.workflow import recorded
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.context import Context
from resonate_web.workflow.execution import Execution
from resonate_web.workflow.links import Links
from resonate_web.workflow.registry import Registered, Registry, is_workflow
from resonate_web.workflow.tree import World

log = logging.getLogger("resonate_web.engine")


class Engine:
    """Runs the tasks of one group in this process. Made and closed by `Resonate`."""

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        turns: Turns,
        server: Port,
        owners: Owners | NoOwners,
        registry: Registry,
        codec: Codec,
        dependencies: Mapping[str, object],
        events: Events,
        around_step: Callable[[], AbstractContextManager[object]] | None,
        loops: Loops,
        links: Links,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.turns = turns
        self.server = server
        self.owners = owners
        self.registry = registry
        self.codec = codec
        self.dependencies = dependencies
        self.events = events
        self.pid = owners.pid
        self.stopping = False
        self.loops = loops
        self.freed: Callable[[], None] = lambda: None
        """Called when there is room again for tasks that were declined."""
        self.steps = Steps(codec, loops.run, clock.now, around_step, self._retry_of)
        self.announcer = Announcer(clock, lambda: turns.lane("heartbeat"), settings.announce_ms)
        self.roster = Roster(self)
        self._world = World(
            registry=registry,
            codec=codec,
            dependencies=dependencies,
            now=server.now,
            target=f"poll://any@{settings.group}",
            address=f"poll://uni@{settings.group}/{self.pid}",
            links=links,
        )
        self._code: str | None = None

    @property
    def world(self) -> World:
        """Return what runs may use."""
        return self._world

    @property
    def code(self) -> str:
        """Return the fingerprint of the app's code."""
        if self._code is None:
            self._code = fingerprint(self.registry)
        return self._code

    def at(self, instant: int, work: Work) -> Alarm:
        """Run `work`, which must not block, at `instant` (ms)."""
        return self.turns.lane("heartbeat").at(instant, work)

    def emit(
        self, kind: str, run: str, *, step: str | None = None, attempt: int | None = None, detail: str | None = None
    ) -> None:
        """Tell the observers."""
        if self.events.wanted:
            at = self.clock.now()
            self.events.emit(Event(kind=kind, run=run, at=at, step=step, attempt=attempt, detail=detail))

    # A run's life

    def load(self, acquired: Acquired) -> Execution:
        """Make the execution of a task that was just acquired.

        Raises: NotRegistered, Unserializable when this process cannot proceed with it.
        """
        promise = acquired.promise
        called = recorded.parameters(promise)
        try:
            entry = self.registry.find(str(called.get("func")), int(called.get("version") or 1))
            call = self.codec.decode(promise.param)
        except (NotRegistered, Unserializable) as reason:
            return self._unable(acquired, str(reason))
        workflow = self._workflow(entry, list(call.get("args") or ()), dict(call.get("kwargs") or {}))
        return Execution(
            promise=promise,
            version=acquired.task.version,
            workflow=workflow,
            records=acquired.records,
            world=self._world,
        )

    def finished(self, attempt: Attempt) -> None:
        """Let go of a run that has ended."""
        attempt.over = True
        self.roster.remove(attempt)
        self.emit("finished", attempt.id)

    def suspended(self, attempt: Attempt) -> None:
        """Keep a suspended run's generator for as long as there is room."""
        self.roster.park(attempt)
        self.emit("suspended", attempt.id)

    def lost(self, attempt: Attempt) -> None:
        """Let go of a run that is somebody else's now."""
        self.roster.remove(attempt)
        self.emit("lost", attempt.id)

    def give_back(self, attempt: Attempt, version: int) -> None:
        """Release a task that this attempt cannot go on with; another attempt replays it."""
        self.roster.remove(attempt)
        self.server.post([requests.TaskRelease(id=attempt.id, version=version)], _ignore, lead=False)
        self.emit("released", attempt.id)

    def refuse(self, attempt: Attempt, reason: str) -> None:
        """Give a run back that cannot proceed here; halt it when every live member of the group has refused."""
        attempt.close()
        self.roster.remove(attempt)
        refusal = requests.Refusal(pid=self.pid, code=self.code, reason=reason)
        refused = {r.pid for r in attempt.refusals} | {self.pid}
        batch: list[requests.Request] = [requests.TaskRelease(id=attempt.id, version=attempt.version, refusal=refusal)]
        if self._everyone() <= refused:
            batch.append(requests.TaskHalt(id=attempt.id, refusal=refusal))
        else:
            self.roster.refused.add(attempt.id)
        log.warning("run %s is blocked: %s", attempt.id, reason, extra={"action": "refused", "promise_id": attempt.id})
        self.server.post(batch, _ignore, lead=False)
        self.emit("refused", attempt.id, detail=reason)

    def reconsider(self) -> None:
        """Halt runs that this process refused, once every live member of the group has."""
        refused = sorted(self.roster.refused)
        if not refused:
            return
        everyone = self._everyone()
        for task in self.server.tasks(refused):
            pids = {r.pid for r in task.refusals}
            if self.pid not in pids:
                self.roster.refused.discard(task.id)
            elif everyone <= pids:
                self.roster.refused.discard(task.id)
                halt = requests.TaskHalt(id=task.id, refusal=task.refusals[-1])
                self.server.post([halt], _ignore, lead=False)

    def readmit(self) -> None:
        """Continue the runs that were blocked under other code than this process has."""
        for task in self.server.halted():
            if self.roster.serves(task.target) and all(r.code != self.code for r in task.refusals):
                log.info("run %s was blocked under other code and is tried again", task.id)
                self.server.post([requests.TaskContinue(id=task.id)], _ignore, lead=False)

    def crashing(self, task_id: str, strikes: int) -> None:
        """Halt a run whose owners keep dying."""
        reason = f"crashes its process: {strikes} owners died without a new checkpoint"
        log.error("run %s is blocked: %s", task_id, reason, extra={"action": "refused", "promise_id": task_id})
        refusal = requests.Refusal(pid=self.pid, code=self.code, reason=reason)
        self.server.post([requests.TaskHalt(id=task_id, refusal=refusal)], _ignore, lead=False)

    def confirm_lease(self, attempt: Attempt) -> bool:
        """Tell whether a body may start: more than a third of the lease is left, or a heartbeat has just renewed it."""
        if attempt.lease_until - self.clock.elapsed() > self.settings.lease_ms // 3:
            return True
        before = self.clock.elapsed()
        ref = requests.TaskRef(id=attempt.id, version=attempt.version)
        answer = self.server.submit(requests.TaskHeartbeat(pid=self.pid, tasks=(ref,)))[0]
        if any(task.id == attempt.id for task in answer.tasks):
            attempt.lease_until = before + self.settings.lease_ms
            return True
        attempt.lose()
        return False

    def close(self, grace_ms: int) -> None:
        """Stop taking work, let steps in flight end within `grace_ms`, and release what is left.

        What such a step returns is stored; no further body starts, since nobody would wait for it.
        """
        self.stopping = True
        self.roster.close()
        began = self.clock.elapsed()
        self.steps.finish(grace_ms)
        self.turns.close(max(0, grace_ms - (self.clock.elapsed() - began)))
        held = self.roster.held()
        for attempt in held:
            attempt.close()
        batch = [requests.TaskRelease(id=a.id, version=a.version) for a in held]
        if batch:
            try:
                self.server.submit(*batch)
            except Exception as error:
                log.warning("leases could not be released, they will expire: %s", error)
        self.loops.close()
        self.owners.close()

    def _everyone(self) -> set[str]:
        return {m.pid for m in self.owners.members() if m.group == self.settings.group} | {self.pid}

    def _retry_of(self, fn: Callable[..., Any]) -> Any:
        return self.registry.of(fn).retry if self.registry.knows(fn) else None

    def _workflow(self, entry: Registered, args: list[Any], kwargs: dict[str, Any]) -> Callable[[Context], Any]:
        if is_workflow(entry.fn, self.registry):
            return lambda ctx: entry.fn(ctx, *args, **kwargs)

        def plain(ctx: Context) -> Any:
            """Run a plain function as the only step of its run."""
            return (yield ctx.run(entry.fn, *args, **kwargs))

        return plain

    def _unable(self, acquired: Acquired, reason: str) -> Execution:
        execution = Execution(
            promise=acquired.promise,
            version=acquired.task.version,
            workflow=lambda ctx: None,
            records=(),
            world=self._world,
        )
        execution.refuse(reason)
        return execution


def _ignore(answers: object) -> None:
    if isinstance(answers, BaseException):
        log.warning("a task could not be given back, its lease will expire: %s", answers)
