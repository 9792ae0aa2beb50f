"""The promise operations (protocol 3.1)."""

from __future__ import annotations

from resonate_web.machine.checks import Refused, check_address, check_create, check_id, check_verdict
from resonate_web.machine.rows import born, is_live, judged, seen, settled, watched
from resonate_web.machine.state import Outcome, PromiseRow, Snapshot
from resonate_web.protocol.records import PromiseState
from resonate_web.protocol.requests import (
    PromiseCreate,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSettle,
    Response,
)
from resonate_web.protocol.tags import is_external, is_targeted


def get(request: PromiseGet, snapshot: Snapshot, now: int) -> Outcome:
    """Answer the promise."""
    check_id(request.id)
    return Outcome(Response(status=200, promise=seen(stored(snapshot, request.id).record, now)))


def create(request: PromiseCreate, snapshot: Snapshot, now: int, owner: str | None = None) -> Outcome:
    """Create the promise, or answer the one that has the id, whatever its other fields."""
    check_create(request)
    known = snapshot.promise(request.id)
    if known is not None:
        return Outcome(Response(status=200, promise=seen(known.record, now)))
    promise, task = born(request, now, owner)
    response = Response(status=200, promise=promise.record)
    return Outcome(response, (promise,) if task is None else (promise, task))


def settle(request: PromiseSettle, snapshot: Snapshot, now: int) -> Outcome:
    """Settle the promise and fulfil its task, whoever holds it (T11); a late verdict gets the first one (T4)."""
    check_verdict(request.state)
    check_id(request.id)
    row = stored(snapshot, request.id)
    record = seen(row.record, now)
    if record.state is not PromiseState.PENDING:
        return Outcome(Response(status=200, promise=record))
    record = judged(record, request.state, request.value, now)
    return Outcome(Response(status=200, promise=record), settled(row, record, snapshot.task(request.id)))


def register_callback(request: PromiseRegisterCallback, snapshot: Snapshot, now: int) -> Outcome:
    """Let a task wait for an external promise (C2); a settled one gains nothing (C11)."""
    if request.awaited == request.awaiter:
        raise Refused(400, "a promise cannot await itself")
    check_id(request.awaited, "awaited")
    check_id(request.awaiter, "awaiter")
    awaited = stored(snapshot, request.awaited)
    awaiter = snapshot.promise(request.awaiter)
    if awaiter is None:
        raise Refused(422, f"no awaiter {request.awaiter!r}")
    if not is_targeted(awaiter.record.tags):
        raise Refused(422, f"{request.awaiter!r} has no task that could wait")
    _check_external(awaited)
    response = Response(status=200, promise=seen(awaited.record, now))
    both_live = is_live(awaited.record, now) and is_live(awaiter.record, now)
    if not both_live or request.awaiter in awaited.callbacks:
        return Outcome(response)
    return Outcome(response, (watched(awaited, callback=request.awaiter),))


def register_listener(request: PromiseRegisterListener, snapshot: Snapshot, now: int) -> Outcome:
    """Let an address hear of an external promise (C3); a settled one gains nothing (C11)."""
    check_address(request.address)
    check_id(request.awaited, "awaited")
    awaited = stored(snapshot, request.awaited)
    _check_external(awaited)
    response = Response(status=200, promise=seen(awaited.record, now))
    if not is_live(awaited.record, now) or request.address in awaited.listeners:
        return Outcome(response)
    return Outcome(response, (watched(awaited, listener=request.address),))


def stored(snapshot: Snapshot, id: str) -> PromiseRow:
    """Return the promise's row or refuse with 404."""
    row = snapshot.promise(id)
    if row is None:
        raise Refused(404, f"no promise {id!r}")
    return row


def _check_external(row: PromiseRow) -> None:
    if not is_external(row.record.tags):
        raise Refused(422, f"{row.record.id!r} is internal: nothing would ever tell who waits for it")
