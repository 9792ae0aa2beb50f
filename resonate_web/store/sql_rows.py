"""Rows to columns and back; the order of columns is that of the tables.

Mappings and sets rest as compact JSON text with sorted members (sets) or in their own order
(mappings). This is the hot half of the SQL store: plain tuples, no intermediate dicts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from resonate_web.machine.state import NOBODY, Message, PromiseRow, ScheduleRow, TaskRow
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Schedule, TaskState, Value
from resonate_web.protocol.requests import Refusal
from resonate_web.protocol.tags import DETACHED, is_external, is_timer

Columns = tuple[Any, ...]
PROMISE_WIDTH = 18
"""How many columns a promise has; in a joined row its task's follow."""

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_PROMISE_STATES = {state.value: state for state in PromiseState}
_TASK_STATES = {state.value: state for state in TaskState}
_PENDING = PromiseState.PENDING


@lru_cache(maxsize=1024)
def _tags(items: tuple[tuple[str, str], ...]) -> str:
    """Return tags as JSON; all steps of a run have the same."""
    return _encode(dict(items))


_tags_of = lru_cache(maxsize=1024)(_decode)
"""Tags from JSON; nobody changes a record's, so equal ones are shared."""


def promise_columns(row: PromiseRow) -> Columns:
    """Return the columns of a new promise."""
    record = row.record
    tags, param, value, state = record.tags, record.param, record.value, record.state
    return (
        record.id,
        state.value,
        record.timeout_at,
        record.created_at,
        record.settled_at,
        is_timer(tags),
        is_external(tags),
        tags.get(DETACHED) == "true",
        state is not _PENDING and bool(row.callbacks or row.listeners),
        row.owner,
        param.data,
        _map(param.headers),
        value.data,
        _map(value.headers),
        _tags(tuple(tags.items())),
        _set(row.callbacks),
        _set(row.listeners),
        1,
    )


def promise_changes(row: PromiseRow, rev: int) -> Columns:
    """Return what changes in a promise at `rev`, in the order of `Texts.update_promise`."""
    record, value = row.record, row.record.value
    return (
        record.state.value,
        record.settled_at,
        record.state is not _PENDING and bool(row.callbacks or row.listeners),
        value.data,
        _map(value.headers),
        _set(row.callbacks),
        _set(row.listeners),
        record.id,
        rev,
    )


def promise_row(c: Sequence[Any]) -> PromiseRow:
    """Return the promise in the first columns of `c`."""
    record = Promise(
        id=c[0],
        state=_PROMISE_STATES[c[1]],
        timeout_at=c[2],
        created_at=c[3],
        settled_at=c[4],
        param=_value(c[10], c[11]),
        value=_value(c[12], c[13]),
        tags=_tags_of(c[14]),
    )
    return PromiseRow(record=record, callbacks=_members(c[15]), listeners=_members(c[16]), owner=c[9])


def task_columns(row: TaskRow) -> Columns:
    """Return the columns of a new task."""
    state, version, *rest = task_changes(row, 1)
    return (row.id, state, version, row.target, *rest[:-2], 1)


def task_changes(row: TaskRow, rev: int) -> Columns:
    """Return what changes in a task at `rev`, in the order of `Texts.update_task`."""
    return (
        row.state.value,
        row.version,
        row.pid,
        row.ttl,
        row.expires_at,
        row.retry_at,
        _set(row.resumes),
        row.strikes,
        _encode([(r.pid, r.code, r.reason) for r in row.refusals]) if row.refusals else None,
        row.id,
        rev,
    )


def task_row(c: Sequence[Any]) -> TaskRow:
    """Return the task in columns `c`."""
    refusals = tuple(Refusal(pid=pid, code=code, reason=why) for pid, code, why in _decode(c[10])) if c[10] else ()
    return TaskRow(
        id=c[0],
        state=_TASK_STATES[c[1]],
        version=c[2],
        target=c[3],
        pid=c[4],
        ttl=c[5],
        expires_at=c[6],
        retry_at=c[7],
        resumes=_members(c[8]),
        strikes=c[9],
        refusals=refusals,
    )


def schedule_columns(row: ScheduleRow) -> Columns:
    """Return the columns of a new schedule."""
    *changing, id, rev = schedule_changes(row, 1)
    return (id, *changing, rev)


def schedule_changes(row: ScheduleRow, rev: int) -> Columns:
    """Return all columns of a schedule at `rev`, its id and revision last."""
    s = row.record
    return (
        s.cron,
        s.promise_id,
        s.promise_timeout,
        s.promise_param.data,
        _map(s.promise_param.headers),
        _encode(dict(s.promise_tags)),
        s.created_at,
        s.next_run_at,
        s.last_run_at,
        s.id,
        rev,
    )


def schedule_row(c: Sequence[Any]) -> ScheduleRow:
    """Return the schedule in columns `c`."""
    record = Schedule(
        id=c[0],
        cron=c[1],
        promise_id=c[2],
        promise_timeout=c[3],
        promise_param=_value(c[4], c[5]),
        promise_tags=_decode(c[6]),
        created_at=c[7],
        next_run_at=c[8],
        last_run_at=c[9],
    )
    return ScheduleRow(record=record)


def message_columns(message: Message) -> Columns:
    """Return the columns of a message; the promise it carries is quoted, so that it never reads another table."""
    promise = None if message.promise is None else _encode(_quoted(message.promise))
    return (message.key, message.address, message.kind, message.task_id, message.version, promise)


def message(c: Sequence[Any]) -> Message:
    """Return the message in columns `c` (without its place)."""
    promise = None if c[5] is None else _unquoted(_decode(c[5]))
    return Message(key=c[0], address=c[1], kind=c[2], task_id=c[3], version=c[4], promise=promise)


def ids(members: Iterable[str]) -> str:
    """Return ids as the JSON array that a list parameter is."""
    return _encode(list(members))


def members(text: str | None) -> list[str]:
    """Return the members of a stored set, sorted."""
    return _decode(text) if text else []


def tag_part(name: str, value: str) -> str:
    """Return the text that compact tags contain, after a comma, exactly when they hold this entry."""
    return f",{_encode(name)}:{_encode(value)}"


def _quoted(promise: Promise) -> list[Any]:
    return [
        promise.id,
        promise.state.value,
        promise.timeout_at,
        promise.created_at,
        promise.settled_at,
        [promise.param.data, _plain(promise.param.headers)],
        [promise.value.data, _plain(promise.value.headers)],
        dict(promise.tags),
    ]


def _unquoted(c: Sequence[Any]) -> Promise:
    return Promise(
        id=c[0],
        state=_PROMISE_STATES[c[1]],
        timeout_at=c[2],
        created_at=c[3],
        settled_at=c[4],
        param=Value(data=c[5][0], headers=c[5][1]),
        value=Value(data=c[6][0], headers=c[6][1]),
        tags=c[7],
    )


def _plain(headers: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if headers is None else dict(headers)


def _map(headers: Mapping[str, str] | None) -> str | None:
    return None if headers is None else _encode(dict(headers))


def _set(members: frozenset[str]) -> str | None:
    return _encode(sorted(members)) if members else None


def _value(data: str | None, headers: str | None) -> Value:
    if headers is not None:
        return Value(data=data, headers=_decode(headers))
    return EMPTY if data is None else Value(data=data)


def _members(text: str | None) -> frozenset[str]:
    return frozenset(_decode(text)) if text else NOBODY
