"""Rows and shorthands for tests of stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from resonate_web.errors import StoreConflict
from resonate_web.machine.state import Keys, PromiseRow, ScheduleRow, TaskRow, Write
from resonate_web.machine.steps import Step
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Schedule, TaskState, Value
from resonate_web.store.base import Change, Due, Rows, Store

GROUP = "poll://any@g"
ALL = 1_000_000
"""A limit that cuts nothing off in a test."""


def promise(
    id: str,
    *,
    state: PromiseState = PromiseState.PENDING,
    tags: dict[str, str] | None = None,
    timeout_at: int = 1000,
    settled_at: int | None = None,
    value: Value = EMPTY,
    owner: str | None = None,
    callbacks: Sequence[str] = (),
    listeners: Sequence[str] = (),
) -> PromiseRow:
    """Return a promise row; a settled one is settled at 5 unless told otherwise."""
    if settled_at is None and state is not PromiseState.PENDING:
        settled_at = 5
    record = Promise(
        id=id,
        state=state,
        param=Value(data=f"param of {id}"),
        value=value,
        tags=tags or {},
        timeout_at=timeout_at,
        created_at=1,
        settled_at=settled_at,
    )
    return PromiseRow(record=record, callbacks=frozenset(callbacks), listeners=frozenset(listeners), owner=owner)


def task(id: str, state: TaskState = TaskState.PENDING, *, at: int = 10, target: str = GROUP, **more: Any) -> TaskRow:
    """Return a task row whose next dispatch or lease end is `at`."""
    if state is TaskState.ACQUIRED:
        more = {"pid": "p", "ttl": 5, "expires_at": at, **more}
    elif state is TaskState.PENDING:
        more = {"retry_at": at, **more}
    return TaskRow(id=id, state=state, version=more.pop("version", 0), target=target, **more)


def schedule(
    id: str,
    *,
    at: int = 10,
    cron: str = "* * * * *",
    tags: dict[str, str] | None = None,
    param: Value = EMPTY,
    last_run_at: int | None = None,
) -> ScheduleRow:
    """Return a schedule row that fires at `at`."""
    record = Schedule(
        id=id,
        cron=cron,
        promise_id="{{.id}}.{{.timestamp}}",
        promise_timeout=5,
        promise_param=param,
        promise_tags=tags or {},
        created_at=1,
        next_run_at=at,
        last_run_at=last_run_at,
    )
    return ScheduleRow(record=record)


def write(store: Store, *changes: Change | Write) -> None:
    """Write in one transaction; a bare row is a new one."""
    with store.transact() as transaction:
        transaction.apply([c if isinstance(c, Change) else Change(write=c) for c in changes])


def load(store: Store, *ids: str) -> Rows:
    """Read promises and tasks."""
    return store.read(Keys(ids=frozenset(ids)))


def snapshot(store: Store, addresses: Sequence[str] = (GROUP,)) -> dict[str, Any]:
    """Return everything that a store holds, comparable with the snapshot of any other store."""
    promises = store.search_promises(now=0, state=None, tags={}, after=None, limit=ALL)
    schedules = store.search_schedules(tags={}, after=None, limit=ALL)
    keys = Keys(
        ids=frozenset(row.record.id for row in promises),
        schedules=frozenset(row.record.id for row in schedules),
        owned=frozenset(row.record.id for row in promises),
        trees=frozenset(row.record.id for row in promises),
    )
    rows = store.read(keys)
    return {
        "promises": [rows.promises[row.record.id] for row in promises],
        "tasks": sorted(rows.tasks.items()),
        "schedules": sorted(rows.schedules.items()),
        "owned": {id: ids for id, ids in rows.owned.items() if ids},
        "trees": {id: ids for id, ids in rows.trees.items() if ids},
        "messages": list(store.messages(addresses, ALL)),
        "held": list(store.held()),
        "halted": list(store.halted()),
    }


@contextmanager
def conflict() -> Iterator[None]:
    """Expect a StoreConflict."""
    try:
        yield
    except StoreConflict:
        return
    raise AssertionError("expected a StoreConflict")


def due(*steps: Step, next_at: int | None = None) -> Due:
    """Return what `Store.due` should answer."""
    return Due(steps=steps, next_at=next_at)
