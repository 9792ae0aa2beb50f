"""The schedule operations (protocol 3.3) and what a schedule creates when it fires (R7)."""

from __future__ import annotations

from collections.abc import Iterator

from resonate_web.clock import FOREVER
from resonate_web.machine.checks import LATEST, LONGEST, Refused, check_id, check_tags
from resonate_web.machine.cron import next_after
from resonate_web.machine.rows import born
from resonate_web.machine.state import DeleteSchedule, Outcome, ScheduleRow, Snapshot, Write
from resonate_web.machine.steps import Fire
from resonate_web.protocol.records import Schedule
from resonate_web.protocol.requests import PromiseCreate, Response, ScheduleCreate, ScheduleDelete, ScheduleGet
from resonate_web.protocol.tags import BRANCH, ORIGIN, PARENT, SCHEDULE, is_targeted


def get(request: ScheduleGet, snapshot: Snapshot, now: int) -> Outcome:
    """Answer the schedule."""
    check_id(request.id)
    return Outcome(Response(status=200, schedule=_stored(snapshot, request.id).record))


def create(request: ScheduleCreate, snapshot: Snapshot, now: int) -> Outcome:
    """Create the schedule, or answer the one that has the id, whatever its other fields."""
    check_id(request.id)
    check_id(request.promise_id, "promiseId")
    if not 0 <= request.promise_timeout <= LONGEST:
        raise Refused(400, "promiseTimeout must be a non-negative integer")
    check_tags(request.promise_tags)
    next_run_at = next_after(request.cron, now)
    known = snapshot.schedule(request.id)
    if known is not None:
        return Outcome(Response(status=200, schedule=known.record))
    record = Schedule(
        id=request.id,
        cron=request.cron,
        promise_id=request.promise_id,
        promise_timeout=request.promise_timeout,
        promise_param=request.promise_param,
        promise_tags=request.promise_tags,
        created_at=now,
        next_run_at=next_run_at,
    )
    return Outcome(Response(status=200, schedule=record), (ScheduleRow(record=record),))


def delete(request: ScheduleDelete, snapshot: Snapshot, now: int) -> Outcome:
    """Remove the schedule; what it created stays."""
    check_id(request.id)
    _stored(snapshot, request.id)
    return Outcome(Response(status=200), (DeleteSchedule(id=request.id),))


def firing(row: ScheduleRow, now: int, limit: int = 100) -> Fire | None:
    """Plan the firing of at most `limit` occurrences due at `now` (ms), or None when none is due."""
    ids = tuple(dict.fromkeys(_promise_id(row.record, instant) for instant in _due(row.record, now, limit)))
    return Fire(id=row.record.id, limit=limit, ids=ids) if ids else None


def fire(step: Fire, snapshot: Snapshot, now: int) -> Outcome:
    """R7: create the promises of the due occurrences in order, as far as their ids were planned."""
    row = snapshot.schedule(step.id)
    if row is None:
        return Outcome(Response(status=404))
    made: dict[str, tuple[Write, ...]] = {}
    last = None
    for instant in _due(row.record, now, step.limit):
        action = _occurrence(row.record, instant)
        if action.id not in step.ids:
            break
        last = instant
        if action.id not in made and snapshot.promise(action.id) is None:
            # Judged at its own instant, so an occurrence that fires late is not born dead.
            promise, task = born(action, instant)
            made[action.id] = (promise,) if task is None else (promise, task)
    if last is None:
        return Outcome(Response(status=200))
    moved = ScheduleRow(record=_moved(row.record, last))
    return Outcome(Response(status=200), (*(write for writes in made.values() for write in writes), moved))


def _stored(snapshot: Snapshot, id: str) -> ScheduleRow:
    row = snapshot.schedule(id)
    if row is None:
        raise Refused(404, f"no schedule {id!r}")
    return row


def _due(schedule: Schedule, now: int, limit: int) -> Iterator[int]:
    instant = schedule.next_run_at
    for _ in range(limit):
        if instant > now:
            return
        yield instant
        instant = _next(schedule, instant)


def _next(schedule: Schedule, instant: int) -> int:
    try:
        return next_after(schedule.cron, instant)
    except Refused:
        # The calendar has no further day; the schedule stays, visibly idle.
        return instant + FOREVER


def _promise_id(schedule: Schedule, instant: int) -> str:
    return schedule.promise_id.replace("{{.id}}", schedule.id).replace("{{.timestamp}}", str(instant))


def _occurrence(schedule: Schedule, instant: int) -> PromiseCreate:
    id = _promise_id(schedule, instant)
    tags = {**schedule.promise_tags, SCHEDULE: schedule.id}
    if is_targeted(tags):
        tags |= {ORIGIN: id, BRANCH: id, PARENT: id}
    timeout_at = min(instant + schedule.promise_timeout, LATEST)
    return PromiseCreate(id=id, timeout_at=timeout_at, param=schedule.promise_param, tags=tags)


def _moved(schedule: Schedule, last: int) -> Schedule:
    return Schedule(
        id=schedule.id,
        cron=schedule.cron,
        promise_id=schedule.promise_id,
        promise_timeout=schedule.promise_timeout,
        promise_param=schedule.promise_param,
        promise_tags=schedule.promise_tags,
        created_at=schedule.created_at,
        next_run_at=_next(schedule, last),
        last_run_at=last,
    )
