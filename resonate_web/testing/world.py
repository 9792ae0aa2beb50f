"""The machine's whole state in dicts: a server without store, threads or clock.

A world applies one request or internal step at a time and holds every transition to what it declared to
read, so a test on worlds also proves `reads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from resonate_web.machine.internal import enabled, next_instant
from resonate_web.machine.schedules import firing
from resonate_web.machine.state import (
    DeleteMessage,
    DeleteSchedule,
    Keys,
    Message,
    Outcome,
    PromiseRow,
    ScheduleRow,
    Snapshot,
    TaskRow,
    Write,
)
from resonate_web.machine.steps import Step
from resonate_web.machine.transition import reads, transition
from resonate_web.protocol.requests import Request, Response
from resonate_web.protocol.tags import is_detached


class Machine(Protocol):
    """What a world is driven by: `transition`, or a version of it that a test has broken."""

    def __call__(self, request: Request | Step, snapshot: Snapshot, now: int, *, retry_interval: int) -> Outcome:
        """Decide one request or step."""
        ...


class World:
    """Every row there is; implements `Snapshot`."""

    def __init__(self, retry_interval: int = 5000, machine: Machine = transition) -> None:
        self.retry_interval = retry_interval
        """Time between two offers of an unclaimed task, in ms."""
        self.machine = machine
        self.promises: dict[str, PromiseRow] = {}
        self.tasks: dict[str, TaskRow] = {}
        self.schedules: dict[str, ScheduleRow] = {}
        self.messages: dict[str, Message] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, World):
            return NotImplemented
        mine = (self.promises, self.tasks, self.schedules, self.messages)
        return mine == (other.promises, other.tasks, other.schedules, other.messages)

    def copy(self) -> World:
        """Return an independent world with the same rows."""
        twin = World(self.retry_interval, self.machine)
        twin.promises, twin.tasks = self.promises.copy(), self.tasks.copy()
        twin.schedules, twin.messages = self.schedules.copy(), self.messages.copy()
        return twin

    def promise(self, id: str) -> PromiseRow | None:
        """Return the stored promise."""
        return self.promises.get(id)

    def task(self, id: str) -> TaskRow | None:
        """Return the stored task."""
        return self.tasks.get(id)

    def schedule(self, id: str) -> ScheduleRow | None:
        """Return the stored schedule."""
        return self.schedules.get(id)

    def owned(self, task_id: str) -> Sequence[PromiseRow]:
        """Return the promises created through this task's fence, by id."""
        return [self.promises[id] for id in sorted(self.promises) if self.promises[id].owner == task_id]

    def tree(self, id: str) -> Sequence[PromiseRow]:
        """Return the attached descendants of a promise by id."""
        found: dict[str, PromiseRow] = {}
        waiting = [id]
        while waiting:
            for child in self.owned(waiting.pop()):
                if child.record.id not in found and child.record.id != id and not is_detached(child.record.tags):
                    found[child.record.id] = child
                    waiting.append(child.record.id)
        return [found[child] for child in sorted(found)]

    def decide(self, request: Request | Step, now: int) -> Outcome:
        """Return what a request or step would do at `now` (ms), without doing it."""
        return self.machine(request, Declared(self, reads(request)), now, retry_interval=self.retry_interval)

    def submit(self, request: Request | Step, now: int) -> Response:
        """Apply a request or step at `now` (ms)."""
        outcome = self.decide(request, now)
        for write in outcome.writes:
            self.write(write)
        return outcome.response

    def write(self, write: Write) -> None:
        """Store one write."""
        match write:
            case PromiseRow():
                self.promises[write.record.id] = write
            case TaskRow():
                self.tasks[write.id] = write
            case ScheduleRow():
                self.schedules[write.record.id] = write
            case Message():
                self.messages[write.key] = write
            case DeleteSchedule():
                self.schedules.pop(write.id, None)
            case DeleteMessage():
                self.messages.pop(write.key, None)

    def enabled(self, now: int) -> list[Step]:
        """List every internal step that is enabled at `now` (ms)."""
        steps = [step for id, row in self.promises.items() for step in enabled(row, self.tasks.get(id), now)]
        fires = [firing(row, now) for row in self.schedules.values()]
        return [*steps, *(fire for fire in fires if fire is not None)]

    def next_instant(self) -> int | None:
        """Return the earliest instant (ms) at which time alone enables a step."""
        instants = [next_instant(row, self.tasks.get(id)) for id, row in self.promises.items()]
        instants += [row.record.next_run_at for row in self.schedules.values()]
        return min((instant for instant in instants if instant is not None), default=None)

    def settle_down(self, now: int) -> None:
        """Apply enabled steps at `now` (ms) until none is left."""
        while steps := self.enabled(now):
            for step in steps:
                self.submit(step, now)


class Declared:
    """A snapshot of the rows that were asked for; reading another is an error of the transition."""

    def __init__(self, snapshot: Snapshot, keys: Keys) -> None:
        self._snapshot = snapshot
        self._owned, self._trees = keys.owned, keys.trees
        below = [row.record.id for root in keys.trees for row in snapshot.tree(root)]
        self._ids = keys.ids.union(below)
        self._schedules = keys.schedules

    def promise(self, id: str) -> PromiseRow | None:
        """Return the stored promise."""
        return self._snapshot.promise(_declared(id, self._ids))

    def task(self, id: str) -> TaskRow | None:
        """Return the stored task."""
        return self._snapshot.task(_declared(id, self._ids))

    def schedule(self, id: str) -> ScheduleRow | None:
        """Return the stored schedule."""
        return self._snapshot.schedule(_declared(id, self._schedules))

    def owned(self, task_id: str) -> Sequence[PromiseRow]:
        """Return the promises created through this task's fence."""
        return self._snapshot.owned(_declared(task_id, self._owned))

    def tree(self, id: str) -> Sequence[PromiseRow]:
        """Return the attached descendants of a promise."""
        return self._snapshot.tree(_declared(id, self._trees))


def _declared(id: str, keys: frozenset[str]) -> str:
    if id not in keys:
        raise AssertionError(f"read {id!r}, which is not among the declared keys {sorted(keys)}")
    return id
