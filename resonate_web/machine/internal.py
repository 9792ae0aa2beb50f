"""The internal steps (protocol 4): what the server does on its own initiative.

Each re-checks its own condition on the promise as seen now, so a time-out always wins: a dead promise's
task is neither revived nor offered (C5, C6).
"""

from __future__ import annotations

from resonate_web.machine.cleanup import cleanup, cleanup_id
from resonate_web.machine.rows import (
    born,
    drained,
    expired,
    fulfilled,
    is_live,
    judged,
    pending,
    resumed,
    seen,
    settled,
)
from resonate_web.machine.state import DeleteMessage, Message, Outcome, PromiseRow, Snapshot, TaskRow, Write
from resonate_web.machine.steps import Cascade, Delivered, Dispatch, Expire, Notify, Reclaim, Step, Timeout, Wake
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, TaskState
from resonate_web.protocol.requests import Response
from resonate_web.protocol.tags import is_external

DONE = Response(status=200)
NOTHING = Outcome(DONE)
"""The outcome of a step whose condition does not hold (any more)."""
ENDED_BADLY = frozenset({PromiseState.CANCELED, PromiseState.TIMEDOUT})


def enabled(row_promise: PromiseRow | None, row_task: TaskRow | None, now: int) -> tuple[Step, ...]:
    """List the internal steps that one object enables at `now` (ms)."""
    if row_promise is None:
        return ()
    record = row_promise.record
    if is_live(record, now):
        return () if row_task is None else _of_live_task(row_task, now)
    steps: list[Step] = []
    if record.state is PromiseState.PENDING and is_external(record.tags):
        steps.append(Timeout(id=record.id))
    steps += [Notify(id=record.id, address=address) for address in sorted(row_promise.listeners)]
    steps += [Wake(id=record.id, awaiter=awaiter) for awaiter in sorted(row_promise.callbacks)]
    return tuple(steps)


def next_instant(row_promise: PromiseRow | None, row_task: TaskRow | None) -> int | None:
    """Return the earliest instant (ms) at which time alone enables a step of this object; None when never."""
    if row_promise is None or row_promise.record.state is not PromiseState.PENDING:
        return None
    record = row_promise.record
    instants = [record.timeout_at] if is_external(record.tags) else []
    if row_task is not None:
        instants += [at for at in (row_task.retry_at, row_task.expires_at) if at is not None]
    return min(instants, default=None)


def timeout(step: Timeout, snapshot: Snapshot, now: int) -> Outcome:
    """R1: settle an external promise by its deadline, at its deadline (C1)."""
    row = snapshot.promise(step.id)
    if row is None or row.record.state is not PromiseState.PENDING or row.record.timeout_at > now:
        return NOTHING
    if not is_external(row.record.tags):
        return NOTHING
    return Outcome(DONE, settled(row, expired(row.record), snapshot.task(step.id)))


def notify(step: Notify, snapshot: Snapshot, now: int) -> Outcome:
    """R3: turn one listener of a settled promise into its message."""
    row = snapshot.promise(step.id)
    if row is None or is_live(row.record, now) or step.address not in row.listeners:
        return NOTHING
    record = seen(row.record, now)
    message = Message(key=f"{step.id}:notify:{step.address}", address=step.address, kind="unblock", promise=record)
    promise = drained(row, record, listener=step.address)
    return Outcome(DONE, (promise, *_ended(snapshot.task(step.id)), message))


def wake(step: Wake, snapshot: Snapshot, now: int) -> Outcome:
    """R4: turn one callback of a settled promise into a resume of its awaiter, unless that is dead too (C6)."""
    row = snapshot.promise(step.id)
    if row is None or is_live(row.record, now) or step.awaiter not in row.callbacks:
        return NOTHING
    promise = drained(row, seen(row.record, now), callback=step.awaiter)
    awaiter = _woken(step, snapshot, now)
    return Outcome(DONE, (promise, *_ended(snapshot.task(step.id)), *awaiter))


def expire(step: Expire, snapshot: Snapshot, now: int) -> Outcome:
    """R5: take back a task whose lease has run out."""
    task, promise = snapshot.task(step.id), snapshot.promise(step.id)
    if task is None or promise is None or task.state is not TaskState.ACQUIRED or not is_live(promise.record, now):
        return NOTHING
    if task.expires_at is None or task.expires_at > now:
        return NOTHING
    return _taken_back(task, now)


def reclaim(step: Reclaim, snapshot: Snapshot, now: int) -> Outcome:
    """Take back a task whose holder is known to be dead."""
    task, promise = snapshot.task(step.id), snapshot.promise(step.id)
    if task is None or promise is None or task.state is not TaskState.ACQUIRED or not is_live(promise.record, now):
        return NOTHING
    if task.pid != step.pid or task.version != step.version:
        return NOTHING
    return _taken_back(task, now)


def dispatch(step: Dispatch, snapshot: Snapshot, now: int, retry_interval: int) -> Outcome:
    """R6: offer a pending task to its target and arm the next offer."""
    task, promise = snapshot.task(step.id), snapshot.promise(step.id)
    if task is None or promise is None or task.state is not TaskState.PENDING or not is_live(promise.record, now):
        return NOTHING
    if task.retry_at is None or task.retry_at > now:
        return NOTHING
    armed = pending(task, now + retry_interval, resumes=task.resumes, strikes=task.strikes, refusals=task.refusals)
    message = Message(key=task.id, address=task.target, kind="execute", task_id=task.id, version=task.version)
    return Outcome(DONE, (armed, message))


def cascade(step: Cascade, snapshot: Snapshot, now: int) -> Outcome:
    """Cancel what is left below a settled promise, and start its cleanup if it ended badly."""
    row = snapshot.promise(step.id)
    if row is None or is_live(row.record, now):
        return NOTHING
    writes: list[Write] = []
    for child in snapshot.tree(step.id):
        if is_live(child.record, now):
            record = judged(child.record, PromiseState.CANCELED, EMPTY, now)
            writes += settled(child, record, snapshot.task(record.id))
    writes += _cleaned_up(seen(row.record, now), snapshot, now)
    return Outcome(DONE, tuple(writes))


def delivered(step: Delivered, snapshot: Snapshot, now: int) -> Outcome:
    """Remove a message that its address took."""
    return Outcome(DONE, (DeleteMessage(key=step.key),))


def _of_live_task(task: TaskRow, now: int) -> tuple[Step, ...]:
    if task.state is TaskState.ACQUIRED and task.expires_at is not None and task.expires_at <= now:
        return (Expire(id=task.id),)
    if task.state is TaskState.PENDING and task.retry_at is not None and task.retry_at <= now:
        return (Dispatch(id=task.id),)
    return ()


def _ended(task: TaskRow | None) -> tuple[Write, ...]:
    # The promise may be settled by its deadline only as seen, not yet as stored; its task ends with it.
    return () if task is None or task.state is TaskState.FULFILLED else (fulfilled(task),)


def _woken(step: Wake, snapshot: Snapshot, now: int) -> tuple[Write, ...]:
    task, promise = snapshot.task(step.awaiter), snapshot.promise(step.awaiter)
    if task is None or promise is None or task.state is TaskState.FULFILLED:
        return ()
    if not is_live(promise.record, now):
        return settled(promise, seen(promise.record, now), task)
    if task.state is not TaskState.SUSPENDED and step.id in task.resumes:
        return ()
    return (resumed(task, step.id, now),)


def _taken_back(task: TaskRow, now: int) -> Outcome:
    back = pending(task, now, resumes=task.resumes, strikes=task.strikes + 1, refusals=task.refusals)
    return Outcome(DONE, (back,))


def _cleaned_up(root: Promise, snapshot: Snapshot, now: int) -> tuple[Write, ...]:
    if root.state not in ENDED_BADLY or snapshot.promise(cleanup_id(root.id)) is not None:
        return ()
    action = cleanup(root, now)
    if action is None:
        return ()
    promise, task = born(action, now)
    return (promise,) if task is None else (promise, task)
