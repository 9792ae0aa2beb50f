"""The stored rows, what a transition may read of them, and what it returns.

A row is the record that clients see plus what the server keeps for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from resonate_web.protocol.records import Promise, Schedule, TaskState
from resonate_web.protocol.requests import Refusal, Response

NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseRow:
    """A promise as stored.

    `callbacks` are ids of tasks that wait for it, `listeners` addresses to notify; both are drained after
    settlement. `owner` is the id of the task through whose fence it was created: a run's children.
    """

    record: Promise
    callbacks: frozenset[str] = NOBODY
    listeners: frozenset[str] = NOBODY
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task as stored.

    `target` repeats the promise's target tag. `strikes` counts how often its holder died since the last
    checkpoint, `refusals` who could not proceed with it and why (both extensions, never on the wire).
    """

    id: str
    state: TaskState
    version: int
    target: str
    pid: str | None = None
    ttl: int | None = None
    expires_at: int | None = None
    retry_at: int | None = None
    resumes: frozenset[str] = NOBODY
    strikes: int = 0
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A schedule as stored."""

    record: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A hint to a worker, keyed so that a newer one replaces the older (protocol 1.5).

    `execute` quotes a task and its version, `unblock` carries a settled promise.
    """

    key: str
    address: str
    kind: Literal["execute", "unblock"]
    task_id: str | None = None
    version: int | None = None
    promise: Promise | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSchedule:
    """Remove a schedule's row."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteMessage:
    """Remove a message from the outbox: it was delivered."""

    key: str


Write = PromiseRow | TaskRow | ScheduleRow | Message | DeleteSchedule | DeleteMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What a transition reads.

    `ids` name promises together with their tasks; `schedules` name schedules; `owned` ask for every
    promise that these tasks created; `trees` ask for every attached descendant of these promises, with its task;
    `spans` for the promises of whole ranges of ids, each from the first up to but without the last.
    """

    ids: frozenset[str] = NOBODY
    schedules: frozenset[str] = NOBODY
    owned: frozenset[str] = NOBODY
    trees: frozenset[str] = NOBODY
    spans: frozenset[tuple[str, str]] = frozenset()


class Snapshot(Protocol):
    """The state before a transition, restricted to its `Keys`."""

    def promise(self, id: str) -> PromiseRow | None:
        """Return the stored promise."""
        ...

    def task(self, id: str) -> TaskRow | None:
        """Return the stored task."""
        ...

    def schedule(self, id: str) -> ScheduleRow | None:
        """Return the stored schedule."""
        ...

    def owned(self, task_id: str) -> Sequence[PromiseRow]:
        """Return the promises created through this task's fence, by id."""
        ...

    def tree(self, id: str) -> Sequence[PromiseRow]:
        """Return the attached descendants of a promise: not those below a detached one."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transition answers and writes; `writes` is empty when nothing changes."""

    response: Response
    writes: tuple[Write, ...] = ()
