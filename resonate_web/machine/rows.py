"""How rows are seen at an instant, and the only ways in which they change.

Rows are constructed whole rather than copied with changes: whoever adds a field to a row must
decide here, once per edge, what becomes of it.
"""

from __future__ import annotations

from resonate_web.machine.state import PromiseRow, TaskRow, Write
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Task, TaskState, Value
from resonate_web.protocol.requests import PromiseCreate, Refusal
from resonate_web.protocol.tags import DELAY, TARGET, is_timer

PENDING = PromiseState.PENDING


def seen(record: Promise, now: int) -> Promise:
    """Return the promise as every client sees it at `now` (ms): a passed deadline has settled it (C8, T1)."""
    if record.state is not PENDING or record.timeout_at > now:
        return record
    return expired(record)


def expired(record: Promise) -> Promise:
    """Return the promise settled by its deadline, at its deadline."""
    return Promise(
        id=record.id,
        state=PromiseState.RESOLVED if is_timer(record.tags) else PromiseState.TIMEDOUT,
        param=record.param,
        value=record.value,
        tags=record.tags,
        timeout_at=record.timeout_at,
        created_at=record.created_at,
        settled_at=record.timeout_at,
    )


def is_live(record: Promise, now: int) -> bool:
    """Tell whether the promise is unsettled at `now` (ms)."""
    return record.state is PENDING and record.timeout_at > now


def judged(record: Promise, state: PromiseState, value: Value, now: int) -> Promise:
    """Return the promise settled by a client's verdict at `now` (ms)."""
    return Promise(
        id=record.id,
        state=state,
        param=record.param,
        value=value,
        tags=record.tags,
        timeout_at=record.timeout_at,
        created_at=record.created_at,
        settled_at=now,
    )


def settled(row: PromiseRow, record: Promise, task: TaskRow | None) -> tuple[Write, ...]:
    """Store a settled record and, in the same step, fulfil its task; obligations wait for their drain."""
    promise = PromiseRow(record=record, callbacks=row.callbacks, listeners=row.listeners, owner=row.owner)
    if task is None or task.state is TaskState.FULFILLED:
        return (promise,)
    return (promise, fulfilled(task))


def born(request: PromiseCreate, now: int, owner: str | None = None) -> tuple[PromiseRow, TaskRow | None]:
    """Make a promise and, if it has a target, its task, at `now` (ms); one past its deadline is born settled (T10)."""
    tags = request.tags
    live = request.timeout_at > now
    if live:
        state, created_at, settled_at = PENDING, now, None
    else:
        state = PromiseState.RESOLVED if is_timer(tags) else PromiseState.TIMEDOUT
        created_at = settled_at = request.timeout_at
    record = Promise(
        id=request.id,
        state=state,
        param=request.param,
        value=EMPTY,
        tags=tags,
        timeout_at=request.timeout_at,
        created_at=created_at,
        settled_at=settled_at,
    )
    promise = PromiseRow(record=record, owner=owner)
    if TARGET not in tags:
        return promise, None
    task = TaskRow(
        id=request.id,
        state=TaskState.PENDING if live else TaskState.FULFILLED,
        version=0,
        target=tags[TARGET],
        retry_at=max(int(tags.get(DELAY, "0")), now) if live else None,
    )
    return promise, task


def watched(row: PromiseRow, *, callback: str | None = None, listener: str | None = None) -> PromiseRow:
    """Return the promise with one more obligation."""
    return PromiseRow(
        record=row.record,
        callbacks=row.callbacks if callback is None else row.callbacks | {callback},
        listeners=row.listeners if listener is None else row.listeners | {listener},
        owner=row.owner,
    )


def drained(
    row: PromiseRow, record: Promise, *, callback: str | None = None, listener: str | None = None
) -> PromiseRow:
    """Return the settled promise with one obligation less."""
    return PromiseRow(
        record=record,
        callbacks=row.callbacks if callback is None else row.callbacks - {callback},
        listeners=row.listeners if listener is None else row.listeners - {listener},
        owner=row.owner,
    )


def acquired(task: TaskRow, pid: str, ttl: int, now: int) -> TaskRow:
    """Grant the task: the only edge that moves the version (C10)."""
    return TaskRow(
        id=task.id,
        state=TaskState.ACQUIRED,
        version=task.version + 1,
        target=task.target,
        pid=pid,
        ttl=ttl,
        expires_at=now + ttl,
        strikes=task.strikes,
        refusals=task.refusals,
    )


def held(task: TaskRow, *, expires_at: int | None, resumes: frozenset[str], strikes: int) -> TaskRow:
    """Return an acquired task that stays with its holder."""
    return TaskRow(
        id=task.id,
        state=TaskState.ACQUIRED,
        version=task.version,
        target=task.target,
        pid=task.pid,
        ttl=task.ttl,
        expires_at=expires_at,
        resumes=resumes,
        strikes=strikes,
        refusals=task.refusals,
    )


def pending(
    task: TaskRow, retry_at: int, *, resumes: frozenset[str], strikes: int, refusals: tuple[Refusal, ...]
) -> TaskRow:
    """Return the task waiting to be dispatched at `retry_at` (ms)."""
    return TaskRow(
        id=task.id,
        state=TaskState.PENDING,
        version=task.version,
        target=task.target,
        retry_at=retry_at,
        resumes=resumes,
        strikes=strikes,
        refusals=refusals,
    )


def suspended(task: TaskRow) -> TaskRow:
    """Park the task until one of its awaited promises settles."""
    return TaskRow(id=task.id, state=TaskState.SUSPENDED, version=task.version, target=task.target)


def halted(task: TaskRow, refusals: tuple[Refusal, ...]) -> TaskRow:
    """Stop the task until somebody continues it."""
    return TaskRow(
        id=task.id,
        state=TaskState.HALTED,
        version=task.version,
        target=task.target,
        resumes=task.resumes,
        strikes=task.strikes,
        refusals=refusals,
    )


def fulfilled(task: TaskRow) -> TaskRow:
    """End the task; only its version survives."""
    return TaskRow(id=task.id, state=TaskState.FULFILLED, version=task.version, target=task.target)


def resumed(task: TaskRow, awaited: str, now: int) -> TaskRow:
    """Tell an unfulfilled task that an awaited promise is settled; only a suspended one starts moving (T8)."""
    if task.state is TaskState.SUSPENDED:
        alone = frozenset((awaited,))
        return pending(task, now, resumes=alone, strikes=task.strikes, refusals=task.refusals)
    return TaskRow(
        id=task.id,
        state=task.state,
        version=task.version,
        target=task.target,
        pid=task.pid,
        ttl=task.ttl,
        expires_at=task.expires_at,
        retry_at=task.retry_at,
        resumes=task.resumes | {awaited},
        strikes=task.strikes,
        refusals=task.refusals,
    )


def refused(refusals: tuple[Refusal, ...], refusal: Refusal | None) -> tuple[Refusal, ...]:
    """Add a refusal; a process has at most one."""
    if refusal is None:
        return refusals
    return (*(known for known in refusals if known.pid != refusal.pid), refusal)


def task_record(task: TaskRow, promise: Promise) -> Task:
    """Return the task as clients see it beside its promise as seen now: a dead promise has fulfilled it."""
    if promise.state is not PENDING:
        return Task(id=task.id, state=TaskState.FULFILLED, version=task.version)
    return Task(
        id=task.id, state=task.state, version=task.version, resumes=len(task.resumes), ttl=task.ttl, pid=task.pid
    )
