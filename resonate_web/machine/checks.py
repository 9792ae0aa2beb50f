"""What a request must look like before any state is read (T14): everything here answers 400.

A refusal is raised, so that a rule reads as a list of guards followed by its effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from resonate_web.protocol.records import SETTABLE, PromiseState
from resonate_web.protocol.requests import PromiseCreate, Response
from resonate_web.protocol.tags import DELAY, TARGET, is_targeted, is_timer

LATEST = 2**63 - 1
"""The last instant that every store can hold, in ms."""
LONGEST = 2**62
"""The longest duration in ms: added to any clock reading it stays below `LATEST`."""


class Refused(Exception):
    """A rule declines the request with this protocol status; nothing is written."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    def response(self) -> Response:
        """Return the answer that the client gets."""
        return Response(status=self.status, error=str(self))


@lru_cache(maxsize=8192)
def is_id(text: str) -> bool:
    """Tell whether every store can hold the text as an id."""
    return text != "" and "\0" not in text and (text.isascii() or _is_unicode(text))


def check_id(text: str, name: str = "id") -> None:
    """Refuse an id that is empty, contains NUL or is not Unicode text."""
    if not is_id(text):
        raise Refused(400, f"{name} must be non-empty text without NUL")


def check_create(request: PromiseCreate) -> None:
    """Refuse a promise that must not be born."""
    check_id(request.id)
    if not 0 <= request.timeout_at <= LATEST:
        raise Refused(400, "timeoutAt must be a non-negative integer of 63 bits")
    tags = request.tags
    check_tags(tags)
    if DELAY in tags and int(tags[DELAY]) >= request.timeout_at:
        raise Refused(400, f"{DELAY} must lie before timeoutAt")


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse contradictory reserved tags."""
    targeted = TARGET in tags
    if targeted and is_timer(tags):
        raise Refused(400, "a timer cannot have a target")
    if DELAY not in tags:
        return
    delay = tags[DELAY]
    if not (delay.isascii() and delay.isdigit() and len(delay) <= 19):
        raise Refused(400, f"{DELAY} must be a non-negative integer")
    if not targeted:
        raise Refused(400, f"{DELAY} needs {TARGET}")


def check_target(tags: Mapping[str, str]) -> None:
    """Refuse a promise without a task where a task is asked for."""
    if not is_targeted(tags):
        raise Refused(400, f"a task needs {TARGET}")


def check_verdict(state: PromiseState) -> None:
    """Refuse a verdict that no client may give."""
    if state not in SETTABLE:
        raise Refused(400, f"a promise cannot be settled as {state}")


def check_ttl(ttl: int) -> None:
    """Refuse a lease that would never hold (G1)."""
    if not 0 < ttl <= LONGEST:
        raise Refused(400, "ttl must be a positive integer")


def check_address(address: str) -> None:
    """Refuse an address to which nothing could be delivered."""
    if not is_deliverable(address):
        raise Refused(400, "address must be http(s)://, local:// or poll:// with a group (@)")


def is_deliverable(address: str) -> bool:
    """Tell whether a listener may have this address."""
    if address.startswith("poll://"):
        return "@" in address
    return address.startswith(("http://", "https://", "local://"))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
