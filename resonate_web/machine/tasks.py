"""The task operations (protocol 3.2), each refused unless the caller's claim still holds (C4, C7, C10)."""

from __future__ import annotations

from resonate_web.machine import promises
from resonate_web.machine.checks import Refused, check_create, check_id, check_target, check_ttl, check_verdict
from resonate_web.machine.rows import (
    acquired,
    born,
    halted,
    held,
    is_live,
    judged,
    pending,
    refused,
    seen,
    settled,
    suspended,
    task_record,
    watched,
)
from resonate_web.machine.state import NOBODY, Outcome, PromiseRow, Snapshot, TaskRow, Write
from resonate_web.protocol.records import Promise, Task, TaskState
from resonate_web.protocol.requests import (
    Preload,
    PromiseCreate,
    Response,
    TaskAcquire,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
    TaskHeartbeat,
    TaskRelease,
    TaskSuspend,
)
from resonate_web.protocol.tags import BRANCH, is_external

DONE = Response(status=200)
PENDING, ACQUIRED, HALTED = TaskState.PENDING, TaskState.ACQUIRED, TaskState.HALTED


def get(request: TaskGet, snapshot: Snapshot, now: int) -> Outcome:
    """Answer the task."""
    check_id(request.id)
    task, promise = _pair(snapshot, request.id)
    return Outcome(Response(status=200, task=task_record(task, seen(promise.record, now))))


def create(request: TaskCreate, snapshot: Snapshot, now: int) -> Outcome:
    """Create a promise with its task already acquired, or acquire the pending task it has (T17)."""
    action = request.action
    check_create(action)
    check_target(action.tags)
    check_ttl(request.ttl)
    known = snapshot.promise(action.id)
    if known is None:
        return _born_acquired(request, now)
    task = snapshot.task(action.id)
    if task is None:
        raise Refused(422, f"{action.id!r} exists without a task")
    record = seen(known.record, now)
    view = task_record(task, record)
    if view.state is TaskState.FULFILLED:
        return Outcome(Response(status=200, task=view, promise=record))
    if view.state is not PENDING:
        raise Refused(409, f"task {action.id!r} is {view.state}")
    return _granted(request, task, record, snapshot, now)


def acquire(request: TaskAcquire, snapshot: Snapshot, now: int) -> Outcome:
    """Grant a pending task at its exact version, once."""
    check_id(request.id)
    check_ttl(request.ttl)
    task, promise = _pair(snapshot, request.id)
    if task.state is not PENDING or task.version != request.version or not is_live(promise.record, now):
        raise Refused(409, f"task {request.id!r} is not pending at version {request.version}")
    return _granted(request, task, promise.record, snapshot, now)


def fence(request: TaskFence, snapshot: Snapshot, now: int) -> Outcome:
    """Create or settle another promise while the claim holds; the inner answer has its own status."""
    action = request.action
    if action.id == request.id:
        raise Refused(400, "a task cannot write its own promise through its fence")
    check_id(request.id)
    task, promise = _claimed(snapshot, request.id, request.version, now)
    try:
        if isinstance(action, PromiseCreate):
            inner = promises.create(action, snapshot, now, request.id)
        else:
            inner = promises.settle(action, snapshot, now)
    except Refused as refusal:
        inner = Outcome(refusal.response())
    writes = inner.writes
    written = writes[0] if writes else None
    if written is not None and task.strikes:
        # A checkpoint was reached, so the holder's code is not what kills its process.
        writes = (*writes, held(task, expires_at=task.expires_at, resumes=task.resumes, strikes=0))
    children: tuple[Promise, ...] = ()
    if request.preload != "none":
        children = _preload(request.preload, promise.record, snapshot, now, written)
    return Outcome(Response(status=200, action=inner.response, preload=children), writes)


def heartbeat(request: TaskHeartbeat, snapshot: Snapshot, now: int) -> Outcome:
    """Extend each lease that this process still holds by the task's own ttl (T15); pass over the others.

    The answer lists the tasks still held (an extension: on the wire it is empty).
    """
    extended: dict[str, Write] = {}
    renewed: dict[str, Task] = {}
    for ref in request.tasks:
        task, promise = snapshot.task(ref.id), snapshot.promise(ref.id)
        if task is None or promise is None or task.ttl is None or task.state is not ACQUIRED:
            continue
        if task.version != ref.version or task.pid != request.pid or not is_live(promise.record, now):
            continue
        renewed[ref.id] = task_record(task, promise.record)
        if task.expires_at != now + task.ttl:
            extended[ref.id] = held(task, expires_at=now + task.ttl, resumes=task.resumes, strikes=task.strikes)
    return Outcome(Response(status=200, tasks=tuple(renewed.values())), tuple(extended.values()))


def suspend(request: TaskSuspend, snapshot: Snapshot, now: int) -> Outcome:
    """Park the task until one of the awaited settles; 300 keeps the lease because one already has (T5)."""
    awaited_ids = _check_awaited(request)
    task, promise = _claimed(snapshot, request.id, request.version, now)
    awaited = [_awaitable(snapshot, id) for id in awaited_ids]
    if not all(is_live(row.record, now) for row in awaited):
        children = _preload(request.preload, promise.record, snapshot, now)
        kept = held(task, expires_at=task.expires_at, resumes=NOBODY, strikes=task.strikes)
        return Outcome(Response(status=300, preload=children), (kept,) if task.resumes else ())
    waits = [watched(row, callback=request.id) for row in awaited if request.id not in row.callbacks]
    return Outcome(DONE, (*waits, suspended(task)))


def fulfill(request: TaskFulfill, snapshot: Snapshot, now: int) -> Outcome:
    """Settle the task's own promise and end the task."""
    action = request.action
    check_verdict(action.state)
    if action.id != request.id:
        raise Refused(400, "a task fulfils its own promise only")
    check_id(request.id)
    task, promise = _claimed(snapshot, request.id, request.version, now)
    record = judged(promise.record, action.state, action.value, now)
    return Outcome(Response(status=200, promise=record), settled(promise, record, task))


def release(request: TaskRelease, snapshot: Snapshot, now: int, retry_interval: int) -> Outcome:
    """Give the task back; after a refusal the next dispatch waits one interval, so that nothing spins."""
    check_id(request.id)
    task, _ = _claimed(snapshot, request.id, request.version, now)
    retry_at = now if request.refusal is None else now + retry_interval
    refusals = refused(task.refusals, request.refusal)
    return Outcome(DONE, (pending(task, retry_at, resumes=task.resumes, strikes=task.strikes, refusals=refusals),))


def halt(request: TaskHalt, snapshot: Snapshot, now: int) -> Outcome:
    """Stop the task, whoever holds it; its holder learns of it from its next fence."""
    check_id(request.id)
    task, promise = _pair(snapshot, request.id)
    if not is_live(promise.record, now):
        raise Refused(409, f"task {request.id!r} is fulfilled")
    refusals = refused(task.refusals, request.refusal)
    if task.state is HALTED and refusals == task.refusals:
        return Outcome(DONE)
    return Outcome(DONE, (halted(task, refusals),))


def continue_(request: TaskContinue, snapshot: Snapshot, now: int) -> Outcome:
    """Let a halted task run again, with a clean slate."""
    check_id(request.id)
    task, promise = _pair(snapshot, request.id)
    if task.state is not HALTED or not is_live(promise.record, now):
        raise Refused(409, f"task {request.id!r} is not halted")
    return Outcome(DONE, (pending(task, now, resumes=task.resumes, strikes=0, refusals=()),))


def _pair(snapshot: Snapshot, id: str) -> tuple[TaskRow, PromiseRow]:
    task, promise = snapshot.task(id), snapshot.promise(id)
    if task is None or promise is None:
        raise Refused(404, f"no task {id!r}")
    return task, promise


def _claimed(snapshot: Snapshot, id: str, version: int, now: int) -> tuple[TaskRow, PromiseRow]:
    task, promise = _pair(snapshot, id)
    if task.state is not ACQUIRED or task.version != version or not is_live(promise.record, now):
        raise Refused(409, f"task {id!r} is not held at version {version}")
    return task, promise


def _born_acquired(request: TaskCreate, now: int) -> Outcome:
    promise, task = born(request.action, now)
    assert task is not None  # the target was checked
    if task.state is PENDING:
        task = acquired(task, request.pid, request.ttl, now)
    response = Response(status=200, task=task_record(task, promise.record), promise=promise.record)
    return Outcome(response, (promise, task))


def _granted(
    request: TaskCreate | TaskAcquire, task: TaskRow, record: Promise, snapshot: Snapshot, now: int
) -> Outcome:
    granted = acquired(task, request.pid, request.ttl, now)
    children = _preload(request.preload, record, snapshot, now)
    response = Response(status=200, task=task_record(granted, record), promise=record, preload=children)
    return Outcome(response, (granted,))


def _preload(
    preload: Preload, parent: Promise, snapshot: Snapshot, now: int, written: Write | None = None
) -> tuple[Promise, ...]:
    """Return the children of the task of `parent`, the one that this very step writes included."""
    if preload == "none" or (preload == "branch" and BRANCH not in parent.tags):
        return ()
    rows = {row.record.id: row for row in snapshot.owned(parent.id)}
    if isinstance(written, PromiseRow) and written.owner == parent.id:
        rows[written.record.id] = written
    children = (rows[id].record for id in sorted(rows) if id != parent.id)
    if preload == "branch":
        children = (child for child in children if child.tags.get(BRANCH) == parent.tags[BRANCH])
    return tuple(seen(child, now) for child in children)


def _check_awaited(request: TaskSuspend) -> list[str]:
    awaited = [action.awaited for action in request.actions]
    if not awaited:
        raise Refused(400, "a suspension needs something to wait for")
    if request.id in awaited:
        raise Refused(400, "a task cannot await its own promise")
    if len(set(awaited)) < len(awaited):
        raise Refused(400, "a promise is awaited twice")
    check_id(request.id)
    for id in awaited:
        check_id(id, "awaited")
    return awaited


def _awaitable(snapshot: Snapshot, id: str) -> PromiseRow:
    row = snapshot.promise(id)
    if row is None or not is_external(row.record.tags):
        raise Refused(422, f"{id!r} cannot be awaited: it is missing or internal")
    return row
