"""Addresses of approval pages: how long they are good, and how two of them are the same.

A link holds what it is for, when it ends, and a signature: `<base>/approvals/<payload>.<expires_at>.<signature>`.
Other keys or another base URL give the same link another text. Arguments of steps are compared at replay, so
they are compared without what may change.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from resonate_web.clock import FOREVER
from resonate_web.errors import ConfigError

Links = Callable[[str, str, int], str]
"""Makes the absolute address of an approval's page: (promise id, approver or "", expires_at in ms) -> URL."""

_DAY = 24 * 3600 * 1000

AFTERWARDS = 90 * _DAY
"""How long a link outlives the approval's deadline (ms): who clicks late learns how it ended."""

UNLIMITED = 400 * _DAY
"""How long the link of an approval without a deadline is good (ms): a yearly round fits in, and nothing is for ever."""

_NO_DEADLINE = FOREVER + 1_577_836_800_000
"""Deadlines (ms) from here on are no deadlines: nothing was started before 2020, so no `timeout=` made them."""


def unbounded(timeout_at: int) -> bool:
    """Tell whether a deadline (ms) is one that nobody has set."""
    return timeout_at >= _NO_DEADLINE


def expires_at(timeout_at: int) -> int:
    """Return when the links of an approval end (ms): a function of its deadline alone, the same at each replay."""
    return timeout_at - FOREVER + UNLIMITED if unbounded(timeout_at) else timeout_at + AFTERWARDS


def no_links(id: str, approver: str, expires_at: int) -> str:
    """Stand in for `Links` where there are no pages. Raises: ConfigError."""
    raise ConfigError(
        f"{id} has no link: an approval link needs a web app bound to this Resonate, and RESONATE_BASE_URL"
    )


def steady(text: str) -> str:
    """Return a text whose links to approvals say only what they are for."""
    if "/approvals/" not in text:
        return text
    parts: list[str] = []
    end = 0
    for found in _LINK.finditer(text):
        parts += [text[end : _beginning(text, end, found.start())], "approval:", _purpose(found[1])]
        end = found.end()
    parts.append(text[end:])
    return "".join(parts)


_LINK = re.compile(r"/approvals/([A-Za-z0-9_-]+)\.[0-9]+\.[A-Za-z0-9_-]{43}")
_TRY = re.compile(r"~[0-9]+(?=[:.])")
_BOUNDS = frozenset("\"'<>\\")


def _beginning(text: str, low: int, path: int) -> int:
    """Return where the address begins of which `path` is a part; not before `low`.

    Walked from the right: a pattern that tried every place on its left would take quadratic time in a long text.
    """
    at = path
    while at > low and text[at - 1] not in _BOUNDS and not text[at - 1].isspace():
        at -= 1
    scheme = max(text.rfind("https://", at, path), text.rfind("http://", at, path))
    return at if scheme < 0 else scheme


def _purpose(payload: str) -> str:
    """Return what a payload is about, without the number of the try: the next try of a run keeps its steps."""
    try:
        said = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()
    except ValueError:
        return payload
    return _TRY.sub("", said)
