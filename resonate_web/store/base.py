"""The seam of a store and the values that cross it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from resonate_web.machine.state import Keys, Message, PromiseRow, ScheduleRow, TaskRow, Write
from resonate_web.machine.steps import Step
from resonate_web.protocol.records import PromiseState, TaskState


@dataclass(slots=True, kw_only=True)
class Rows:
    """Rows by id, each with its revision. `owned` and `trees` list promise ids, sorted, for every key asked for.

    The rows of these ids, and those of all spans, are in `promises` and `tasks` too. A key that was asked for and is
    missing does not exist.
    """

    promises: dict[str, tuple[PromiseRow, int]] = field(default_factory=dict)
    tasks: dict[str, tuple[TaskRow, int]] = field(default_factory=dict)
    schedules: dict[str, tuple[ScheduleRow, int]] = field(default_factory=dict)
    owned: dict[str, tuple[str, ...]] = field(default_factory=dict)
    trees: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row to write.

    `expects` is the revision the stored row must have, None when it must not exist yet; the row is stored with
    the next revision (1 when new). `fence` names a task and the revision it must have before this `apply`, although
    this change does not write it. Both are ignored for messages: those are replaced by key, in their old place of
    the queue. Of a promise, only state, value, settled_at, callbacks and listeners may change, of a task all but
    id and target.
    """

    write: Write
    expects: int | None = None
    fence: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Internal steps that are enabled, and the next instant (ms) at which to ask again; None if nothing is planned."""

    steps: tuple[Step, ...] = ()
    next_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A task in somebody's hands."""

    id: str
    version: int
    pid: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of an examination: how it is, what was looked at, what was found and what to do."""

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str


Trace = tuple[int, ...]
"""Figures about the rows of a run, to be compared with earlier ones of the same store."""


class Transaction(Protocol):
    """A write transaction: what was read in it stays true until it ends."""

    def load(self, keys: Keys) -> Rows:
        """Return the rows named by `keys`, locked in id order until the end."""
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """Write all changes or none.

        A row may be written several times, each change expecting the revision that the one before left. After an
        error the transaction can only end, and nothing of it stays.
        Raises: StoreConflict when a revision or a fence differs, StoreUnavailable when the store cannot be written,
        StoreError when a value cannot be stored.
        """
        ...

    def delete(self, revisions: Mapping[str, int]) -> None:
        """Delete promises, each at the revision given, together with their tasks; all or none.

        After an error the transaction can only end. Raises: StoreConflict, StoreUnavailable.
        """
        ...


class Store(Protocol):
    """Where rows rest. Every method may be called from any thread."""

    def transact(self) -> AbstractContextManager[Transaction]:
        """Open the write transaction; it commits when the block ends and rolls back when it raises.

        The commit is durable when the block has ended. Raises: StoreUnavailable when nothing was written,
        StoreUnknown when the commit failed and its outcome is unknown.
        """
        ...

    def read(self, keys: Keys) -> Rows:
        """Return rows without waiting for writers."""
        ...

    def due(self, now: int, targets: Sequence[str], limit: int) -> Due:
        """List at most `limit` internal steps enabled at `now`, and the next instant (ms) at which one may be.

        In this order: Timeout of external promises, Wake and Notify of settled ones, Expire, Dispatch, Fire; each
        by time. Dispatch, and the instants of later ones, only for pending tasks whose target is one of `targets`
        or lies below it (`poll://any@group` covers `poll://any@group/pid`). If the limit cut something off, the
        next instant is `now`. Rows are taken as stored: each step re-checks its condition.
        """
        ...

    def messages(self, addresses: Sequence[str], limit: int) -> Sequence[Message]:
        """List messages in the outbox for these addresses and those below them, oldest key first."""
        ...

    def search_promises(
        self, *, now: int, state: PromiseState | None, tags: Mapping[str, str], after: str | None, limit: int
    ) -> Sequence[PromiseRow]:
        """List promises by id: id > `after`, all `tags` equal, and `state` as seen at `now` (deadlines applied).

        The rows are as stored.
        """
        ...

    def search_tasks(
        self, *, now: int, state: TaskState | None, after: str | None, limit: int
    ) -> Sequence[tuple[TaskRow, PromiseRow]]:
        """List tasks by id with their promises: id > `after`, `state` as seen at `now`.

        A task whose promise is past its deadline is seen fulfilled. The rows are as stored.
        """
        ...

    def search_schedules(self, *, tags: Mapping[str, str], after: str | None, limit: int) -> Sequence[ScheduleRow]:
        """List schedules by id: id > `after`, all `tags` among the promise tags."""
        ...

    def held(self) -> Sequence[Held]:
        """List acquired tasks with their holders."""
        ...

    def halted(self) -> Sequence[TaskRow]:
        """List halted tasks that carry a refusal."""
        ...

    def settled_roots(self, *, before: int, after: str, limit: int) -> Sequence[PromiseRow]:
        """List promises by id: id > `after`, settled at `before` (ms) or earlier, without an owner or detached."""
        ...

    def awaited(self) -> frozenset[str]:
        """Return the ids by which pending, acquired and halted tasks were resumed: they have not acted on it yet."""
        ...

    def traces(self, roots: Sequence[str]) -> Mapping[str, Trace]:
        """Return for each root id what differs after a promise or task of its run was written, without being exact.

        Of the run are the root itself, ids that begin with `<root>:`, and those of later tries, `<root>~`. Callbacks
        and listeners do not count. Cheap enough to poll.
        """
        ...

    def watch(self) -> int:
        """Return a number that changes when a commit happened, in this or another process; cheap enough to poll.

        Numbers of different processes cannot be compared.
        """
        ...

    def examine(self) -> Sequence[Finding]:
        """Look at what the store rests on. A store that cannot be used is an error among the findings, never raised."""
        ...

    def secret(self) -> bytes:
        """Return the 32 random bytes made with the schema: the signing key of last resort."""
        ...

    def close(self) -> None:
        """Close every connection; harmless when repeated."""
        ...
