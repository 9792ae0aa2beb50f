"""The store in one process's memory: the reference that every other store is compared with.

Rows are the frozen values themselves, held in dicts under one lock. A transaction keeps what it
replaced and puts it back when it fails. Nothing survives the process, and a forked child has a
copy of its own.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

from resonate_web.errors import StoreConflict
from resonate_web.machine.state import (
    DeleteMessage,
    DeleteSchedule,
    Keys,
    Message,
    PromiseRow,
    ScheduleRow,
    TaskRow,
)
from resonate_web.machine.steps import Dispatch, Expire, Fire, Notify, Step, Timeout, Wake
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.protocol.tags import is_detached, is_external, is_timer
from resonate_web.store.agenda import Agenda, serves, widest
from resonate_web.store.base import Change, Due, Finding, Held, Rows, Trace
from resonate_web.store.forks import ForkAware, watch_forks

PENDING = PromiseState.PENDING
Row = TypeVar("Row")


class MemoryStore(ForkAware):
    """A store that forgets everything when the process ends."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._lock = threading.RLock()
        self._commits = 0
        self._promises: dict[str, tuple[PromiseRow, int]] = {}
        self._tasks: dict[str, tuple[TaskRow, int]] = {}
        self._schedules: dict[str, tuple[ScheduleRow, int]] = {}
        self._messages: dict[str, tuple[int, Message]] = {}
        self._message_count = 0
        self._by_owner: dict[str, set[str]] = {}
        self._armed: set[str] = set()
        self._owed: set[str] = set()
        self._live: set[str] = set()
        watch_forks(self)

    def after_fork_in_child(self) -> None:
        """Make a new lock: the old one may be held by a thread that exists only in the parent."""
        self._lock = threading.RLock()

    def transact(self) -> _MemoryTransaction:
        """Open the write transaction; see `Store.transact`."""
        return _MemoryTransaction(self)

    def read(self, keys: Keys) -> Rows:
        """Return the rows named by `keys`; see `Store.read`."""
        with self._lock:
            rows = Rows()
            for task_id in keys.owned:
                rows.owned[task_id] = tuple(sorted(self._by_owner.get(task_id, ())))
            for root in keys.trees:
                rows.trees[root] = tuple(sorted(self._descendants(root)))
            wanted = set(keys.ids).union(*rows.owned.values(), *rows.trees.values())
            for first, last in keys.spans:
                wanted.update(id for id in self._promises if first <= id < last)
            rows.promises.update((id, self._promises[id]) for id in wanted if id in self._promises)
            rows.tasks.update((id, self._tasks[id]) for id in wanted if id in self._tasks)
            rows.schedules.update((id, self._schedules[id]) for id in keys.schedules if id in self._schedules)
            return rows

    def due(self, now: int, targets: Sequence[str], limit: int) -> Due:
        """List what is due; see `Store.due`."""
        with self._lock:
            agenda = Agenda(now, limit)
            agenda.take(_in_time(Timeout, ((self._promises[id][0].record.timeout_at, id) for id in self._armed)))
            agenda.take((now, step) for step in self._obligations())
            tasks = [self._tasks[id][0] for id in self._live]
            held = (t for t in tasks if t.state is TaskState.ACQUIRED)
            agenda.take(_in_time(Expire, ((t.expires_at or 0, t.id) for t in held)))
            for target in widest(targets):
                offers = [t for t in tasks if t.state is TaskState.PENDING and serves((target,), t.target)]
                agenda.take(_in_time(Dispatch, ((t.retry_at or 0, t.id) for t in offers)))
            agenda.take(_in_time(Fire, ((s.record.next_run_at, id) for id, (s, _) in self._schedules.items())))
            return agenda.due()

    def messages(self, addresses: Sequence[str], limit: int) -> Sequence[Message]:
        """List messages for these addresses; see `Store.messages`."""
        with self._lock:
            rows = sorted(self._messages.values(), key=lambda row: row[0])
            return [m for _, m in rows if serves(addresses, m.address)][:limit]

    def search_promises(
        self, *, now: int, state: PromiseState | None, tags: Mapping[str, str], after: str | None, limit: int
    ) -> Sequence[PromiseRow]:
        """List promises by id; see `Store.search_promises`."""

        def fits(row: PromiseRow) -> bool:
            return (state is None or _seen(row, now) is state) and _tagged(row.record.tags, tags)

        with self._lock:
            return _page(self._promises, after, limit, fits)

    def search_tasks(
        self, *, now: int, state: TaskState | None, after: str | None, limit: int
    ) -> Sequence[tuple[TaskRow, PromiseRow]]:
        """List tasks by id with their promises; see `Store.search_tasks`."""

        def fits(row: TaskRow) -> bool:
            promise = self._promises[row.id][0]
            dead = promise.record.state is PENDING and _seen(promise, now) is not PENDING
            return state is None or (TaskState.FULFILLED if dead else row.state) is state

        with self._lock:
            return [(row, self._promises[row.id][0]) for row in _page(self._tasks, after, limit, fits)]

    def search_schedules(self, *, tags: Mapping[str, str], after: str | None, limit: int) -> Sequence[ScheduleRow]:
        """List schedules by id; see `Store.search_schedules`."""
        with self._lock:
            return _page(self._schedules, after, limit, lambda row: _tagged(row.record.promise_tags, tags))

    def held(self) -> Sequence[Held]:
        """List acquired tasks with their holders."""
        with self._lock:
            rows = [self._tasks[id][0] for id in sorted(self._live)]
            return [Held(id=t.id, version=t.version, pid=t.pid or "") for t in rows if t.state is TaskState.ACQUIRED]

    def halted(self) -> Sequence[TaskRow]:
        """List halted tasks that carry a refusal."""
        with self._lock:
            rows = [self._tasks[id][0] for id in sorted(self._live)]
            return [t for t in rows if t.state is TaskState.HALTED and t.refusals]

    def settled_roots(self, *, before: int, after: str, limit: int) -> Sequence[PromiseRow]:
        """List settled promises that nothing owns, and detached ones; see `Store.settled_roots`."""

        def fits(row: PromiseRow) -> bool:
            at = row.record.settled_at
            return at is not None and at <= before and (row.owner is None or is_detached(row.record.tags))

        with self._lock:
            return _page(self._promises, after, limit, fits)

    def awaited(self) -> frozenset[str]:
        """Return the ids by which tasks were resumed; see `Store.awaited`."""
        with self._lock:
            tasks = [self._tasks[id][0] for id in self._live]
            return frozenset().union(*(t.resumes for t in tasks if t.state is not TaskState.SUSPENDED))

    def traces(self, roots: Sequence[str]) -> Mapping[str, Trace]:
        """Return what tells whether runs were written to; see `Store.traces`."""
        with self._lock:
            return {root: self._trace(root) for root in roots}

    def watch(self) -> int:
        """Return the number of commits that wrote something."""
        return self._commits

    def examine(self) -> Sequence[Finding]:
        """Tell what this store is not made for."""
        text = "memory:// forgets everything when the process ends, and no other process sees it: for tests only"
        return [Finding("warning", "store", text)]

    def secret(self) -> bytes:
        """Return 32 random bytes, the same for the life of this store."""
        return self._secret

    def close(self) -> None:
        """Do nothing: there is nothing to close, and a test may look at the rows afterwards."""

    def _trace(self, root: str) -> Trace:
        mine = [id for id in self._promises if id == root or id.startswith((f"{root}:", f"{root}~"))]
        records = [self._promises[id][0].record for id in mine]
        settled = sum(record.settled_at is not None for record in records)
        writes = sum(self._tasks[id][1] for id in mine if id in self._tasks)
        return (len(mine), settled, max((record.created_at for record in records), default=0), writes)

    def _descendants(self, root: str) -> set[str]:
        found: set[str] = set()
        queue = [root]
        while queue:
            for id in self._by_owner.get(queue.pop(), ()):
                if id != root and id not in found and not is_detached(self._promises[id][0].record.tags):
                    found.add(id)
                    queue.append(id)
        return found

    def _obligations(self) -> Iterator[Step]:
        rows = [self._promises[id][0] for id in self._owed]
        for row in sorted(rows, key=lambda r: (r.record.settled_at or 0, r.record.id)):
            yield from (Wake(id=row.record.id, awaiter=awaiter) for awaiter in sorted(row.callbacks))
            yield from (Notify(id=row.record.id, address=address) for address in sorted(row.listeners))

    def _put_promise(self, id: str, stored: tuple[PromiseRow, int] | None) -> None:
        old = self._promises.pop(id, None) if stored is None else self._promises.get(id)
        if old and old[0].owner is not None:
            self._by_owner[old[0].owner].discard(id)
        self._armed.discard(id)
        self._owed.discard(id)
        if stored is None:
            return
        row = stored[0]
        self._promises[id] = stored
        if row.owner is not None:
            self._by_owner.setdefault(row.owner, set()).add(id)
        if row.record.state is not PENDING:
            if row.callbacks or row.listeners:
                self._owed.add(id)
        elif is_external(row.record.tags):
            self._armed.add(id)

    def _put_task(self, id: str, stored: tuple[TaskRow, int] | None) -> None:
        self._live.discard(id)
        _put(self._tasks, id, stored)
        if stored and stored[0].state is not TaskState.FULFILLED:
            self._live.add(id)


class _MemoryTransaction:
    """Writes at once and remembers how to undo it."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._lock = store._lock
        self._undo: list[Callable[[], None]] = []
        self._failed = False

    def __enter__(self) -> _MemoryTransaction:
        self._lock.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None or self._failed:
                self._roll_back()
            elif self._undo:
                self._store._commits += 1
        finally:
            self._lock.release()
        if self._failed and kind is None:
            raise StoreConflict("a transaction cannot be committed after a refused write")

    def load(self, keys: Keys) -> Rows:
        """Return the rows named by `keys`, with what this transaction wrote."""
        return self._store.read(keys)

    def apply(self, changes: Sequence[Change]) -> None:
        """Write all changes or none. Raises: StoreConflict."""
        try:
            guarded = (c for c in changes if not isinstance(c.write, Message | DeleteMessage))
            for fence in {c.fence for c in guarded if c.fence is not None}:
                _check(self._store._tasks.get(fence[0]), fence[1], "task", fence[0])
            for change in changes:
                self._write(change)
        except BaseException:
            self._failed = True
            raise

    def delete(self, revisions: Mapping[str, int]) -> None:
        """Delete promises and their tasks. Raises: StoreConflict."""
        store = self._store
        try:
            for id, revision in revisions.items():
                _check(store._promises.get(id), revision, "promise", id)
                self._swap(store._promises, id, None, store._put_promise)
                if id in store._tasks:
                    self._swap(store._tasks, id, None, store._put_task)
        except BaseException:
            self._failed = True
            raise

    def _write(self, change: Change) -> None:
        store, write = self._store, change.write
        if isinstance(write, Message):
            store._message_count += 1
            place = store._messages.get(write.key, (store._message_count,))[0]
            self._swap(store._messages, write.key, (place, write), lambda id, row: _put(store._messages, id, row))
        elif isinstance(write, DeleteMessage):
            self._swap(store._messages, write.key, None, lambda id, row: _put(store._messages, id, row))
        elif isinstance(write, PromiseRow):
            id = write.record.id
            stored = store._promises.get(id)
            _check(stored, change.expects, "promise", id)
            if stored is not None:
                _check_unchanging(stored[0], write)
            self._swap(store._promises, id, (write, (change.expects or 0) + 1), store._put_promise)
        elif isinstance(write, TaskRow):
            known = store._tasks.get(write.id)
            _check(known, change.expects, "task", write.id)
            if known is not None and known[0].target != write.target:
                raise ValueError(f"task {write.id!r}: its target never changes")
            self._swap(store._tasks, write.id, (write, (change.expects or 0) + 1), store._put_task)
        else:
            gone = isinstance(write, DeleteSchedule)
            id = write.id if isinstance(write, DeleteSchedule) else write.record.id
            _check(store._schedules.get(id), change.expects, "schedule", id)
            new = None if gone else (write, (change.expects or 0) + 1)
            self._swap(store._schedules, id, new, lambda id, row: _put(store._schedules, id, row))

    def _swap(self, table: dict[str, Any], id: str, new: Any, put: Callable[[str, Any], None]) -> None:
        old = table.get(id)
        self._undo.append(lambda: put(id, old))
        put(id, new)

    def _roll_back(self) -> None:
        while self._undo:
            self._undo.pop()()


def _put(table: dict[str, Any], id: str, stored: Any) -> None:
    if stored is None:
        table.pop(id, None)
    else:
        table[id] = stored


def _check(stored: tuple[object, int] | None, expects: int | None, what: str, id: str) -> None:
    if (stored[1] if stored else None) != expects:
        raise StoreConflict(f"{what} {id!r} is not at revision {expects}")


def _check_unchanging(old: PromiseRow, new: PromiseRow) -> None:
    a, b = old.record, new.record
    if (a.param, a.tags, a.timeout_at, a.created_at, old.owner) != (
        b.param,
        b.tags,
        b.timeout_at,
        b.created_at,
        new.owner,
    ):
        raise ValueError(f"promise {a.id!r}: param, tags, timeout_at, created_at and owner never change")


def _in_time(step: Callable[..., Step], instants: Iterable[tuple[int, str]]) -> list[tuple[int, Step]]:
    return [(at, step(id=id)) for at, id in sorted(instants)]


def _seen(row: PromiseRow, now: int) -> PromiseState:
    record = row.record
    if record.state is PENDING and record.timeout_at <= now:
        return PromiseState.RESOLVED if is_timer(record.tags) else PromiseState.TIMEDOUT
    return record.state


def _tagged(tags: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(tags.get(name) == value for name, value in wanted.items())


def _page(
    table: Mapping[str, tuple[Row, int]], after: str | None, limit: int, fits: Callable[[Row], bool]
) -> list[Row]:
    ids = sorted(id for id in table if after is None or id > after)
    return list(islice((table[id][0] for id in ids if fits(table[id][0])), limit))
