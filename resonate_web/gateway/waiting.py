"""Waiting for a run: as long as a client prefers, the server allows, and there is a place to wait."""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.errors import WrongCall
from resonate_web.flow import Flow, News, Read, Seat, Until
from resonate_web.gateway.messages import Request
from resonate_web.resonate import Resonate


def ended(resonate: Resonate, request: Request, id: str, wait_ms: int) -> Flow[bool]:
    """Wait for the end of a run; tell whether there was a wait at all, however it went."""
    ms = min(wait_ms, request.patience_ms)
    if ms <= 0 or not (yield Seat()):
        return False
    try:
        future = yield Read(lambda: resonate.settlement(id))
    except WrongCall:  # the engine is off and nobody would notice the end
        return False
    try:
        yield Until(future, ms)
    finally:
        future.cancel()  # whoever gives up waiting is not kept in mind until the run ends
    return True


def changed(resonate: Resonate, request: Request, id: str, wait_ms: int, same: Callable[[], bool]) -> Flow[bool]:
    """Wait for a change of a run after which `same` (a look at the store) is false.

    Tells whether there was a wait at all, however it went.
    """
    ms = min(wait_ms, request.patience_ms)
    if ms <= 0 or not (yield Seat()):
        return False
    deadline = resonate.now() + ms
    while True:
        change = yield from notice(resonate, id)
        if change is None:
            return False
        try:
            if not (yield Read(same)):
                return True
            if not (yield Until(change, deadline - resonate.now())):
                return True  # the time is over, or the server wants to end
        finally:
            change.cancel()


def notice(resonate: Resonate, id: str) -> Flow[News | None]:
    """Return a future of the next change of a run, None where nobody would notice one: the engine is off."""
    try:
        return (yield Read(lambda: resonate.changes(id)))  # type: ignore[no-any-return]
    except WrongCall:
        return None
