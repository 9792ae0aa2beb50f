"""The store in an SQL database.

Writes go through one connection per process and are grouped by table and kind, so that a group of
changes costs one `executemany` per kind whatever its size. A revision that is not as expected shows
in the number of rows written; fences are compared once per group before anything is written.
Reads use connections of their own and never wait for a writer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from types import TracebackType
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
)
from resonate_web.machine.steps import Dispatch, Expire, Fire, Notify, Step, Timeout, Wake
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.store import sql_rows as rows_of
from resonate_web.store import sql_text
from resonate_web.store.agenda import Agenda, widest
from resonate_web.store.base import Change, Due, Finding, Held, Rows, Trace
from resonate_web.store.sql_rows import PROMISE_WIDTH, Columns
from resonate_web.store.sql_text import Texts
from resonate_web.store.sqlite import Handles, SqliteFile


class SqlStore:
    """A store on the connections of `database`. Nothing is opened before the first use."""

    def __init__(self, database: SqliteFile) -> None:
        self.database = database
        self._texts = sql_text.texts(database.dialect)
        self._secret: bytes | None = None

    def transact(self) -> _SqlTransaction:
        """Open the write transaction; see `Store.transact`."""
        return _SqlTransaction(self.database, self._texts)

    def read(self, keys: Keys) -> Rows:
        """Return rows without waiting for writers; see `Store.read`."""
        with self.database.reading() as connection:
            if sum(map(bool, (keys.ids, keys.schedules, keys.owned, keys.trees))) + len(keys.spans) < 2:
                return _load(connection, self._texts, keys)
            connection.execute("BEGIN")  # one snapshot for all statements
            found = _load(connection, self._texts, keys)
            connection.execute("COMMIT")
            return found

    def due(self, now: int, targets: Sequence[str], limit: int) -> Due:
        """List what is due; see `Store.due`."""
        texts, agenda = self._texts, Agenda(now, limit)
        with self.database.reading() as connection:

            def take(make: Any, text: str, *parameters: Any) -> None:
                with closing(connection.execute(text, (*parameters, agenda.wanted))) as rows:
                    agenda.take((at or 0, make(id=id)) for at, id in rows)

            take(Timeout, texts.armed)
            with closing(connection.execute(texts.owed, (agenda.wanted,))) as rows:
                agenda.take((now, step) for step in _obligations(rows))
            take(Expire, texts.held)
            for target in widest(targets):
                take(Dispatch, texts.offered, target)
                take(Dispatch, texts.offered_below, *_below(target))
            take(Fire, texts.firing)
        return agenda.due()

    def messages(self, addresses: Sequence[str], limit: int) -> Sequence[Message]:
        """List messages for these addresses; see `Store.messages`."""
        found: list[Columns] = []
        with self.database.reading() as connection:
            for address in widest(addresses):
                found += connection.execute(self._texts.mail, (address, limit)).fetchall()
                found += connection.execute(self._texts.mail_below, (*_below(address), limit)).fetchall()
        found.sort()
        return [rows_of.message(columns[1:]) for columns in found[:limit]]

    def search_promises(
        self, *, now: int, state: PromiseState | None, tags: Mapping[str, str], after: str | None, limit: int
    ) -> Sequence[PromiseRow]:
        """List promises by id; see `Store.search_promises`."""
        text = sql_text.search_promises(self.database.dialect, state, len(tags))
        parts = [rows_of.tag_part(name, value) for name, value in tags.items()]
        instant = [now] if sql_text.needs_now(state) else []
        return [rows_of.promise_row(c) for c in self._all(text, after or "", *parts, *instant, limit)]

    def search_tasks(
        self, *, now: int, state: TaskState | None, after: str | None, limit: int
    ) -> Sequence[tuple[TaskRow, PromiseRow]]:
        """List tasks by id with their promises; see `Store.search_tasks`."""
        text = sql_text.search_tasks(self.database.dialect, state)
        instant = [] if state is None else [now]
        found = self._all(text, after or "", *instant, limit)
        return [(rows_of.task_row(c), rows_of.promise_row(c[-PROMISE_WIDTH:])) for c in found]

    def search_schedules(self, *, tags: Mapping[str, str], after: str | None, limit: int) -> Sequence[ScheduleRow]:
        """List schedules by id; see `Store.search_schedules`."""
        text = sql_text.search_schedules(self.database.dialect, len(tags))
        parts = [rows_of.tag_part(name, value) for name, value in tags.items()]
        return [rows_of.schedule_row(c) for c in self._all(text, after or "", *parts, limit)]

    def held(self) -> Sequence[Held]:
        """List acquired tasks with their holders."""
        return [
            Held(id=id, version=version, pid=pid or "") for id, version, pid in sorted(self._all(self._texts.holders))
        ]

    def halted(self) -> Sequence[TaskRow]:
        """List halted tasks that carry a refusal."""
        return [rows_of.task_row(c) for c in self._all(self._texts.halted)]

    def settled_roots(self, *, before: int, after: str, limit: int) -> Sequence[PromiseRow]:
        """List settled promises that nothing owns, and detached ones; see `Store.settled_roots`."""
        return [rows_of.promise_row(c) for c in self._all(self._texts.settled_roots, after, before, limit)]

    def awaited(self) -> frozenset[str]:
        """Return the ids by which tasks were resumed; see `Store.awaited`."""
        return frozenset(id for (resumes,) in self._all(self._texts.awaited) for id in rows_of.members(resumes))

    def traces(self, roots: Sequence[str]) -> Mapping[str, Trace]:
        """Return what tells whether runs were written to; see `Store.traces`."""
        listed = rows_of.ids(roots)
        found: dict[str, Trace] = dict.fromkeys(roots, ())
        for text in (self._texts.promise_traces, self._texts.task_traces):
            for root, *figures in self._all(text, listed):
                found[root] += tuple(figures)
        return found

    def watch(self) -> int:
        """Return a number that differs after every commit of any process, this one included."""
        return self.database.version()

    def examine(self) -> Sequence[Finding]:
        """Look at the file and the library."""
        return self.database.examine()

    def secret(self) -> bytes:
        """Return the 32 random bytes made with the schema."""
        if self._secret is None:
            self._secret = bytes(self._all(self._texts.secret)[0][0])
        return self._secret

    def close(self) -> None:
        """Close every connection; harmless when repeated."""
        self.database.close()

    def _all(self, text: str, *parameters: Any) -> list[Columns]:
        with self.database.reading() as connection:
            return connection.execute(text, parameters).fetchall()


class _SqlTransaction:
    """The write transaction; a refused write dooms it."""

    __slots__ = ("_database", "_failed", "_handles", "_texts")

    def __init__(self, database: SqliteFile, texts: Texts) -> None:
        self._database = database
        self._texts = texts
        self._failed = False
        self._handles: Handles | None = None

    def __enter__(self) -> _SqlTransaction:
        self._handles = self._database.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        handles, self._handles = self._handles, None
        assert handles is not None
        if kind is None and not self._failed:
            self._database.commit(handles)
            return
        self._database.roll_back(handles)
        if kind is None:
            raise StoreConflict("a transaction cannot be committed after a refused write")

    def load(self, keys: Keys) -> Rows:
        """Return the rows named by `keys`, with what this transaction wrote."""
        connection = self._connection()
        try:
            return _load(connection, self._texts, keys)
        except self._database.failures as error:
            self._failed = True
            raise self._database.failed(error) from error

    def apply(self, changes: Sequence[Change]) -> None:
        """Write all changes or none. Raises: StoreConflict, StoreUnavailable."""
        connection = self._connection()
        try:
            _Batch(changes).write(connection, self._texts)
        except self._database.failures as error:
            self._failed = True
            raise self._database.failed(error) from error
        except BaseException:
            self._failed = True
            raise

    def delete(self, revisions: Mapping[str, int]) -> None:
        """Delete promises and their tasks. Raises: StoreConflict, StoreUnavailable."""
        connection = self._connection()
        try:
            deleted = connection.executemany(self._texts.delete_promise, list(revisions.items())).rowcount
            connection.executemany(self._texts.delete_task, [(id,) for id in revisions])
        except self._database.failures as error:
            self._failed = True
            raise self._database.failed(error) from error
        if revisions and deleted != len(revisions):
            self._failed = True
            raise StoreConflict(f"a promise among {len(revisions)} to be deleted is not at the expected revision")

    def _connection(self) -> Any:
        assert self._handles is not None, "a transaction is used only inside its with block"
        return self._database.writing(self._handles)


class _Batch:
    """Changes sorted by table and kind.

    A fence names a revision before the batch, so it is compared before tasks are written, and once: it travels with
    the first new promise that has it, and only one without any is looked up on its own. A schedule may be deleted
    and made anew in one batch, so those keep their order; of several messages with one key the last one stays.
    """

    __slots__ = ("fenced", "fences", "messages", "new_promises", "new_tasks", "promises", "schedules", "tasks")

    def __init__(self, changes: Sequence[Change]) -> None:
        self.fenced: dict[tuple[str, int], Columns] = {}
        self.fences: set[tuple[str, int]] = set()
        self.new_promises: list[Columns] = []
        self.promises: list[Columns] = []
        self.new_tasks: list[Columns] = []
        self.tasks: list[Columns] = []
        self.schedules: list[tuple[ScheduleRow | DeleteSchedule, int | None]] = []
        self.messages: dict[str, Message | DeleteMessage] = {}
        for change in changes:
            write, expects = change.write, change.expects
            kind = type(write)
            if kind is PromiseRow:
                if expects is None:
                    columns = rows_of.promise_columns(write)  # type: ignore[arg-type]
                    if change.fence is not None and change.fence not in self.fenced:
                        self.fenced[change.fence] = (*columns, *change.fence)
                    else:
                        self.new_promises.append(columns)
                else:
                    self.promises.append(rows_of.promise_changes(write, expects))  # type: ignore[arg-type]
            elif isinstance(write, TaskRow):
                if expects is None:
                    self.new_tasks.append(rows_of.task_columns(write))
                else:
                    self.tasks.append(rows_of.task_changes(write, expects))
            elif isinstance(write, Message | DeleteMessage):
                self.messages[write.key] = write
                continue
            else:
                self.schedules.append((write, expects))  # type: ignore[arg-type]
            if change.fence is not None:
                self.fences.add(change.fence)

    def write(self, connection: Any, texts: Texts) -> None:
        """Write everything. Raises: StoreConflict, what the driver raises."""
        self.fences -= self.fenced.keys()
        if self.fences:
            self._check_fences(connection, texts)
        for text, columns, what in (
            (texts.insert_fenced, list(self.fenced.values()), "promise or a fence"),
            (texts.insert_promise, self.new_promises, "promise"),
            (texts.update_promise, self.promises, "promise"),
            (texts.insert_task, self.new_tasks, "task"),
            (texts.update_task, self.tasks, "task"),
        ):
            if columns and connection.executemany(text, columns).rowcount != len(columns):
                raise StoreConflict(f"a {what} among {len(columns)} is not at the expected revision")
        for write, expects in self.schedules:
            _write_schedule(connection, texts, write, expects)
        if self.messages:
            put = [rows_of.message_columns(m) for m in self.messages.values() if isinstance(m, Message)]
            gone = [(m.key,) for m in self.messages.values() if isinstance(m, DeleteMessage)]
            connection.executemany(texts.put_message, put)
            connection.executemany(texts.delete_message, gone)

    def _check_fences(self, connection: Any, texts: Texts) -> None:
        ids = rows_of.ids(id for id, _ in self.fences)
        if set(connection.execute(texts.fences, (ids,)).fetchall()) != self.fences:
            raise StoreConflict("a task is not at the revision that a fence names")


def _write_schedule(connection: Any, texts: Texts, write: ScheduleRow | DeleteSchedule, expects: int | None) -> None:
    id = write.id if isinstance(write, DeleteSchedule) else write.record.id
    if expects is None and isinstance(write, DeleteSchedule):
        fits = connection.execute(texts.schedules, (rows_of.ids([id]),)).fetchone() is None
    elif isinstance(write, DeleteSchedule):
        fits = connection.execute(texts.delete_schedule, (id, expects)).rowcount == 1
    elif expects is None:
        fits = connection.execute(texts.insert_schedule, rows_of.schedule_columns(write)).rowcount == 1
    else:
        fits = connection.execute(texts.update_schedule, rows_of.schedule_changes(write, expects)).rowcount == 1
    if not fits:
        raise StoreConflict(f"schedule {id!r} is not at revision {expects}")


def _load(connection: Any, texts: Texts, keys: Keys) -> Rows:
    found = Rows()
    if keys.ids:
        for columns in connection.execute(texts.rows, (rows_of.ids(keys.ids),)).fetchall():
            _add(found, columns)
    if keys.owned:
        owned: dict[str, list[str]] = defaultdict(list)
        for columns in connection.execute(texts.owned, (rows_of.ids(keys.owned),)).fetchall():
            owned[_add(found, columns).owner or ""].append(columns[0])
        found.owned.update((id, tuple(sorted(owned[id]))) for id in keys.owned)
    if keys.trees:
        trees: dict[str, list[str]] = defaultdict(list)
        for root, *columns in connection.execute(texts.trees, (rows_of.ids(keys.trees),)).fetchall():
            trees[root].append(columns[0])
            _add(found, columns)
        found.trees.update((id, tuple(sorted(trees[id]))) for id in keys.trees)
    for span in keys.spans:
        for columns in connection.execute(texts.span, span).fetchall():
            _add(found, columns)
    if keys.schedules:
        for columns in connection.execute(texts.schedules, (rows_of.ids(keys.schedules),)).fetchall():
            found.schedules[columns[0]] = (rows_of.schedule_row(columns), columns[-1])
    return found


def _add(found: Rows, columns: Sequence[Any]) -> PromiseRow:
    """Add a promise and its task, if it has one."""
    row = rows_of.promise_row(columns)
    found.promises[row.record.id] = (row, columns[PROMISE_WIDTH - 1])
    if columns[PROMISE_WIDTH] is not None:
        found.tasks[row.record.id] = (rows_of.task_row(columns[PROMISE_WIDTH:]), columns[-1])
    return row


def _obligations(rows: Iterator[Columns]) -> Iterator[Step]:
    for id, callbacks, listeners in rows:
        yield from (Wake(id=id, awaiter=awaiter) for awaiter in rows_of.members(callbacks))
        yield from (Notify(id=id, address=address) for address in rows_of.members(listeners))


def _below(address: str) -> tuple[str, str]:
    """Return the range of what lies below an address: '0' is the character after '/'."""
    return f"{address}/", f"{address}0"
