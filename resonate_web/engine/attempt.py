"""One run in this process, from its acquisition to its end, through every suspension.

An attempt is an actor: what happens to it is queued, and one thread at a time takes its turn. A turn never waits:
groups are posted, bodies run outside of it. The thread that ends a lone body goes on with the run, so a run alone
changes threads once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from resonate_web.delivery import Acquired
from resonate_web.engine.host import Host
from resonate_web.engine.steps import RUNNING, WORKFLOW, Ended, Verdict
from resonate_web.errors import StoreError, StoreUnavailable, StoreUnknown
from resonate_web.protocol.records import Promise
from resonate_web.protocol.requests import PromiseGet, Response
from resonate_web.workflow.context import StepContext
from resonate_web.workflow.execution import Actions, Execution, Lost
from resonate_web.workflow.nodes import Node
from resonate_web.workflow.outbox import Entry

log = logging.getLogger("resonate_web.engine")

RETRY_STORE_MS = 250
"""Wait before a group that found the store unavailable is sent again; nothing of it was written."""

Happening = Callable[[], None]


class Attempt:
    """Drives one execution. `lease_until` is on the clock that never steps (ms)."""

    def __init__(self, engine: Host[Attempt], acquired: Acquired, lease_until: int) -> None:
        self.id = acquired.task.id
        self.version = acquired.task.version
        self.born_at = acquired.promise.created_at
        self.refusals = acquired.task.refusals
        self.lease_until = lease_until
        self.awaiting: tuple[str, ...] | None = None
        """What the run is suspended on, or is about to be; None while it proceeds."""
        self.execution: Execution | None = None
        self.over = False
        self.fulfilling = False
        """Whether the end of the run is on its way to the store."""
        self._acquired: Acquired | None = acquired
        self._engine = engine
        self._lock = threading.Lock()
        self._inbox: list[Happening] = []
        self._active = False
        self._numbers: dict[str, int] = {}
        self._backing_off: dict[tuple[str, int], Node] = {}  # by step and failed attempt
        self._granted: int | None = None  # the version of a resumption that has not been taken in yet

    # Entrances

    def post(self, happening: Happening) -> None:
        """Queue what happened; a pool thread takes the turn."""
        if self._enter(happening):
            self._engine.turns.spawn(self._turn)

    def begin(self) -> None:
        """Start the workflow."""
        self.post(lambda: self._run().begin())

    def resume(self, version: int, records: Sequence[Promise], lease_until: int) -> None:
        """Go on after a suspension."""

        def resumed() -> None:
            self._granted = None
            self.awaiting = None
            self.version = version
            self.lease_until = lease_until
            self._run().resumed(version, records)

        self._granted = version
        self.post(resumed)

    def waits_for(self, id: str) -> bool:
        """Tell whether the run has a remote child of this id that is not settled yet."""
        return self.execution is not None and self.execution.waits_for(id)

    def unblocked(self, promise: Promise) -> None:
        """Take in a promise that somebody settled while steps are in flight."""
        self.post(lambda: self._run().settled([promise]))

    def proceed(self) -> None:
        """Start the steps that wait for a retry at once."""

        def due() -> None:
            for step, number in list(self._backing_off):
                self._due(step, number)

        self.post(due)

    def announce(self, node: Node) -> None:
        """Store the pending row of a step that runs long."""
        self.post(lambda: self._run().announce(node))

    def lose(self) -> None:
        """Stop: the task is no longer this process's."""
        self.post(self._lost)

    def close(self) -> None:
        """Unwind the workflow without ending the run; steps in flight are told."""
        self.over = True
        if self.execution is not None:
            self.execution.kill()

    # The turn

    def _enter(self, happening: Happening) -> bool:
        with self._lock:
            self._inbox.append(happening)
            if self._active:
                return False
            self._active = True
            return True

    def _turn(self) -> None:
        while True:
            with self._lock:
                if not self._inbox:
                    self._active = False
                    return
                inbox, self._inbox = self._inbox, []
            body = self._take(inbox)
            if body is None:
                continue
            with self._lock:
                alone = not self._inbox
                if alone:
                    self._active = False
            if not alone:
                self._engine.turns.spawn(lambda body=body: self._body_then_turn(body))  # type: ignore[misc]
                continue
            ended = self._body(body)
            if ended is None or not self._enter(ended):
                return

    def _body_then_turn(self, node: Node) -> None:
        ended = self._body(node)
        if ended is not None and self._enter(ended):
            self._turn()

    def _take(self, inbox: list[Happening]) -> Node | None:
        try:
            token = RUNNING.set(f"{WORKFLOW}{self.id}")
            try:
                for happening in inbox:
                    if not self.over:
                        happening()
            finally:
                RUNNING.reset(token)
            if not self.over:
                return self._act(self._run().collect())
        except Lost as lost:
            log.info("%s", lost, extra={"action": "lost", "promise_id": self.id, "task_version": self.version})
            self._lost()
        except BaseException as error:  # without an end here the run would keep its lease and never go on
            log.exception("run %s stopped by an internal error", self.id)
            self._engine.refuse(self, f"internal error: {type(error).__name__}: {error}")
            if not isinstance(error, Exception):
                raise
        if self.over and self._granted is not None:  # resumed too late: its generator is gone, a new attempt replays
            granted, self._granted = self._granted, None
            self._engine.give_back(self, granted)
        return None

    def _act(self, actions: Actions) -> Node | None:
        """Carry out what is to be done; return one body to run in this thread."""
        if actions.refusal is not None:
            self._engine.refuse(self, actions.refusal)
            return None
        for node in actions.deadlines:
            self._engine.at(node.timeout_at, self._expiry(node))
        if actions.send:
            self._send(actions.send)
        if self._run().finished:
            self._engine.finished(self)
            return None
        for node in actions.start[:-1]:
            self._engine.turns.spawn(lambda node=node: self._body_then_turn(node))  # type: ignore[misc]
        return actions.start[-1] if actions.start else None

    def _send(self, entries: list[Entry]) -> None:
        self.fulfilling = entries[-1].purpose == "fulfill"
        if entries[-1].purpose == "suspend":
            self.awaiting = self._run().awaited()
        try:
            if self.lease_until <= self._engine.clock.elapsed() and not self._engine.confirm_lease(self):
                return
        except StoreError:
            self._later(lambda: self._resend(entries))
            return
        batch = [entry.request for entry in entries]
        self._engine.server.post(batch, lambda answers: self.post(lambda: self._applied(entries, answers)))

    def _applied(self, entries: list[Entry], answers: Sequence[Response] | BaseException) -> None:
        if isinstance(answers, StoreUnavailable | StoreUnknown):
            log.warning("run %s waits for the store: %s", self.id, answers)
            self._later(lambda: self._resend(entries))
            return
        if isinstance(answers, StoreError):  # nobody knows what was written: a new attempt reads it
            log.warning("run %s starts over: %s", self.id, answers)
            self.close()
            self._engine.give_back(self, self.version)
            return
        if isinstance(answers, BaseException):
            raise answers
        fetch = self._run().applied(entries, answers)
        if self._run().suspended:
            self._engine.suspended(self)
        elif fetch:
            self.awaiting = None
            self._fetch(fetch)

    def _fetch(self, ids: tuple[str, ...]) -> None:
        try:
            found = self._engine.server.read(*(PromiseGet(id=id) for id in ids))
        except StoreError as error:
            log.warning("run %s waits for the store: %s", self.id, error)
            self._later(lambda: self.post(lambda: self._fetch(ids)))
            return
        self._run().settled([r.promise for r in found if r.promise is not None])

    def _later(self, work: Happening) -> None:
        self._engine.at(self._engine.clock.now() + RETRY_STORE_MS, work)

    def _resend(self, entries: list[Entry]) -> None:
        if not self.over:
            batch = [entry.request for entry in entries]
            self._engine.server.post(batch, lambda answers: self.post(lambda: self._applied(entries, answers)))

    def _lost(self) -> None:
        self.close()
        self._engine.lost(self)

    def _run(self) -> Execution:
        if self.execution is None:
            assert self._acquired is not None
            self.execution = self._engine.load(self._acquired)
            self._acquired = None
        return self.execution

    # Bodies, outside of the turn

    def _body(self, node: Node) -> Happening | None:
        try:
            return self._started(node)
        except Exception as error:
            fault = error

        def broken() -> None:
            raise fault

        return broken

    def _started(self, node: Node) -> Happening | None:
        try:
            if self.over or self._engine.stopping or not self._engine.confirm_lease(self):
                return None
        except StoreError as error:
            log.warning("a step of run %s waits for the store: %s", self.id, error)
            self._later(lambda: self._again(node))
            return None
        number = self._numbers[node.id] = self._numbers.get(node.id, 0) + 1
        self._engine.emit("step_started", self.id, step=node.command.name, attempt=number)
        announcer = self._engine.announcer
        if not node.sent:
            announcer.started(self, node)
        ctx = StepContext(
            id=node.id,
            key=node.command.key,
            attempt=number,
            dependencies=self._engine.dependencies,
            cancelled=lambda: self.over or node.settled or node.id not in self._run().bodies,
        )

        def late(verdict: Verdict) -> None:
            announcer.ended(node)
            self.post(lambda: self._verdict(node, number, verdict))

        verdict = self._engine.steps.run(node, ctx, late)
        if verdict is not None:
            announcer.ended(node)
        return None if verdict is None else lambda: self._verdict(node, number, verdict)

    def _verdict(self, node: Node, number: int, verdict: Verdict) -> None:
        if isinstance(verdict, Ended):
            self._numbers.pop(node.id, None)
            self._engine.emit("step_ended", self.id, step=node.command.name, attempt=number)
            self._run().body_ended(node, verdict.state, verdict.value)
            return
        self._engine.emit("step_failed", self.id, step=node.command.name, attempt=number, detail=verdict.error)
        self._run().attempt_failed(node, number, verdict.note)
        self._backing_off[node.id, number] = node
        self._engine.at(verdict.at, lambda: self._due(node.id, number))

    def _due(self, step: str, number: int) -> None:
        node = self._backing_off.pop((step, number), None)
        if node is not None:  # else it was begun before its time
            self._again(node)

    def _again(self, node: Node) -> None:
        if not self.over and node.id in self._run().bodies:
            self._engine.turns.spawn(lambda: self._body_then_turn(node))

    def _expiry(self, node: Node) -> Happening:
        def due() -> None:
            if self._engine.server.now() < node.timeout_at:  # the wall clock was set back meanwhile
                self._engine.at(node.timeout_at, due)
            else:
                self.post(lambda: self._run().expired(node))

        return due
