"""The rows of one group while its transitions run: read from cache or store, written at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from resonate_web.errors import StoreConflict
from resonate_web.machine.state import (
    DeleteMessage,
    DeleteSchedule,
    Keys,
    Message,
    PromiseRow,
    ScheduleRow,
    TaskRow,
    Write,
)
from resonate_web.protocol.tags import is_detached
from resonate_web.server.cache import RowCache
from resonate_web.store.base import Change, Rows

_Undo = list[tuple[dict[Any, Any], Any, Any]]
_ABSENT = object()


class Doubt(StoreConflict):
    """An answer would rest on cached rows that no write of the group verifies: read them and redo."""


class WorkingSet:
    """A `Snapshot` over cached, presumed and loaded rows that takes in writes.

    With a `cache`, held rows come from it and rows to be born are presumed absent; every change then names the
    revision that it rests on. Without one, everything is loaded.
    """

    def __init__(self, load: Callable[[Keys], Rows], cache: RowCache | None, now: int = 0) -> None:
        self._load = load
        self._cache = cache
        self._now = now
        self._promises: dict[str, PromiseRow | None] = {}
        self._tasks: dict[str, TaskRow | None] = {}
        self._schedules: dict[str, ScheduleRow | None] = {}
        self._messages: dict[str, Message | DeleteMessage] = {}
        self._base: dict[tuple[str, str], int | None] = {}
        self._dirty: dict[tuple[str, str], tuple[str, int] | None] = {}
        self._owned: dict[str, tuple[str, ...]] = {}
        self._trees: dict[str, tuple[str, ...]] = {}
        self._guessed: set[str] = set()
        self._fences: dict[str, int] = {}
        self._undo: _Undo = []
        self.touched: list[str] = []
        """Ids written since this list was last taken."""

    # Snapshot

    def promise(self, id: str) -> PromiseRow | None:
        """Return the promise as the group has made it so far."""
        return self._promises.get(id)

    def task(self, id: str) -> TaskRow | None:
        """Return the task as the group has made it so far."""
        return self._tasks.get(id)

    def schedule(self, id: str) -> ScheduleRow | None:
        """Return the schedule as the group has made it so far."""
        return self._schedules.get(id)

    def owned(self, task_id: str) -> Sequence[PromiseRow]:
        """Return the promises created through this task's fence, by id."""
        mine = set(self._owned.get(task_id, ()))
        mine.update(id for kind, id in self._dirty if kind == "promise" and self._owner(id) == task_id)
        return [row for id in sorted(mine) if (row := self._promises.get(id)) is not None]

    def tree(self, id: str) -> Sequence[PromiseRow]:
        """Return the attached descendants of a promise."""
        found = dict.fromkeys(self._trees.get(id, ()))
        fresh = [key for kind, key in self._dirty if kind == "promise" and key not in found]
        for child in fresh:  # in the order of their creation: parents first
            owner, row = self._owner(child), self._promises.get(child)
            if (owner == id or owner in found) and row is not None and not is_detached(row.record.tags):
                found[child] = None
        return [row for child in found if (row := self._promises.get(child)) is not None]

    # Reading

    def prepare(self, keys: Keys, born: frozenset[str]) -> None:
        """Have the rows of `keys` at hand; those of `born` may be presumed absent."""
        missing = [id for id in keys.ids if id not in self._promises and not self._recall(id, born)]
        schedules = keys.schedules - self._schedules.keys()
        # A tree or a list of children may have grown within this group: it is read with the rows locked.
        if missing or schedules or keys.owned or keys.trees:
            wanted = Keys(ids=frozenset(missing), schedules=schedules, owned=keys.owned, trees=keys.trees)
            self._take(wanted, self._load(wanted))

    def _recall(self, id: str, born: frozenset[str]) -> bool:
        if self._cache is None:
            return False
        promise = self._cache.promises.get(id)
        task = self._cache.tasks.get(id)
        if task is not None and (task[0].expires_at or 0) <= self._now:
            return False  # somebody else may have ended the run, and it may have been pruned and started anew
        if promise is not None and (task is not None or not _targeted(promise[0])):
            self._promises[id], self._base["promise", id] = promise
            self._tasks[id], self._base["task", id] = task or (None, None)
        elif id in born:
            self._promises[id] = self._tasks[id] = None
            self._base["promise", id] = self._base["task", id] = None
        else:
            return False
        self._guessed.add(id)
        return True

    def _take(self, wanted: Keys, rows: Rows) -> None:
        for id in wanted.ids:
            self._promises.setdefault(id, None)
            self._tasks.setdefault(id, None)
        for id in wanted.schedules:
            self._schedules[id] = None
        for id, (promise, revision) in rows.promises.items():
            if self._promises.get(id) is None:
                self._promises[id], self._base["promise", id] = promise, revision
        for id, (task, revision) in rows.tasks.items():
            if self._tasks.get(id) is None:
                self._tasks[id], self._base["task", id] = task, revision
        for id, (schedule, revision) in rows.schedules.items():
            self._schedules[id], self._base["schedule", id] = schedule, revision
        self._owned.update(rows.owned)
        self._trees.update(rows.trees)

    # Writing

    def write(self, keys: Keys, writes: Sequence[Write]) -> None:
        """Take in what one transition wrote.

        Raises: Doubt when its answer rests on unverified rows.
        """
        fence = self._fence(keys, writes)
        if not writes and any(id in self._guessed for id in keys.ids):
            raise Doubt("an answer rests on cached rows")
        for row in writes:
            self._put(row, fence)

    def _fence(self, keys: Keys, writes: Sequence[Write]) -> tuple[str, int] | None:
        written = {w.id for w in writes if isinstance(w, TaskRow)}
        fence: tuple[str, int] | None = None
        for id in keys.ids:
            if id not in self._guessed or id in written or ("task", id) in self._dirty:
                continue
            revision = self._base.get(("task", id))
            if self._tasks.get(id) is not None and revision is not None and writes:
                fence = (id, revision)
                self._set(self._fences, id, revision)
        return fence

    def _put(self, row: Write, fence: tuple[str, int] | None) -> None:
        if isinstance(row, PromiseRow):
            self._mark(self._promises, "promise", row.record.id, row, fence)
        elif isinstance(row, TaskRow):
            self._mark(self._tasks, "task", row.id, row, fence)
        elif isinstance(row, ScheduleRow):
            self._mark(self._schedules, "schedule", row.record.id, row, None)
        elif isinstance(row, DeleteSchedule):
            self._mark(self._schedules, "schedule", row.id, None, None)
        else:
            self._set(self._messages, row.key, row)

    def _mark(self, rows: dict[str, Any], kind: str, id: str, row: Any, fence: tuple[str, int] | None) -> None:
        self._set(rows, id, row)
        key = (kind, id)
        if self._dirty.get(key) is None:
            self._set(self._dirty, key, fence)
        if kind in ("promise", "task"):
            self.touched.append(id)

    def _set(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((table, key, table.get(key, _ABSENT)))
        table[key] = value

    # Batches within the group

    def mark(self) -> int:
        """Return a point to which `rollback` can return."""
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        """Undo what was written since `mark`."""
        while len(self._undo) > mark:
            table, key, value = self._undo.pop()
            if value is _ABSENT:
                table.pop(key, None)
            else:
                table[key] = value

    # The end

    def changes(self) -> list[Change]:
        """Return what to write. Raises: Doubt when a fence found no change to travel with."""
        changes = [self._change(kind, id, fence) for (kind, id), fence in self._dirty.items()]
        changes += [Change(write=message) for message in self._messages.values()]
        carried = {c.fence[0] for c in changes if c.fence is not None}
        carried.update(id for kind, id in self._dirty if kind == "task")
        if not self._fences.keys() <= carried:
            raise Doubt("a fence has no change to travel with")
        return changes

    def _change(self, kind: str, id: str, fence: tuple[str, int] | None) -> Change:
        tables: dict[str, dict[str, Any]] = {
            "promise": self._promises, "task": self._tasks, "schedule": self._schedules
        }  # fmt: skip
        row = tables[kind][id]
        write: Write = DeleteSchedule(id=id) if row is None else row
        if fence is not None and ("task", fence[0]) in self._dirty:
            fence = None  # the task's own change names the same revision
        return Change(write=write, expects=self._base.get((kind, id)), fence=fence)

    def messages(self) -> Iterable[Message]:
        """Return the messages that the group has put, without those that it removed."""
        return [m for m in self._messages.values() if isinstance(m, Message)]

    def offered(self, task_id: str) -> bool:
        """Tell whether the group has put an offer of this task."""
        return isinstance(self._messages.get(task_id), Message)

    def discard_message(self, key: str) -> None:
        """Leave a message out: it is delivered in this process."""
        self._messages.pop(key, None)

    def committed(self) -> Iterable[tuple[PromiseRow | TaskRow, int]]:
        """Return the rows written, with their new revisions; tasks first."""
        for kind, id in self._dirty:
            if kind == "task" and (task := self._tasks.get(id)) is not None:
                yield task, (self._base.get(("task", id)) or 0) + 1
        for kind, id in self._dirty:
            if kind == "promise" and (promise := self._promises.get(id)) is not None:
                yield promise, (self._base.get(("promise", id)) or 0) + 1

    def _owner(self, id: str) -> str | None:
        row = self._promises.get(id)
        return row.owner if row is not None else None


def _targeted(row: PromiseRow) -> bool:
    return "resonate:target" in row.record.tags
