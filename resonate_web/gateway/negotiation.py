"""What a client asks for beside the path: a representation (RFC 9110, 12.5.1) and preferences (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from resonate_web.gateway.messages import JSON, PROBLEM

Form = Literal["html", "json", "events"]

HTML = "text/html"
EVENTS = "text/event-stream"

_OFFERED: Mapping[str, Form] = {JSON: "json", HTML: "html", EVENTS: "events"}
_RANGE = re.compile(r"[\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+", re.ASCII)
_QUALITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII)
_TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_MOST_SECONDS = 31_536_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What a `Prefer` field asks for: to be answered late (`wait`, in ms), or at once."""

    wait_ms: int | None = None
    respond_async: bool = False


def preferred(accept: str | None) -> Form:
    """Return the form of an answer that an Accept field likes best.

    Without a field, or where a client takes anything or nothing of ours, that is JSON. Of several that are liked as
    much, the one that was named more exactly wins, then the one that was named first.
    """
    ranges = list(_ranges(accept or ""))
    likings = {media_type: _liking(ranges, media_type) for media_type in _OFFERED}
    best = max(likings, key=likings.__getitem__)  # the first of equals
    return _OFFERED[best] if likings[best][0] > 0 else "json"


def prefers_html(accept: str | None) -> bool:
    """Tell whether a page is wanted, as browsers do."""
    return preferred(accept) == "html"


def preference(headers: Mapping[str, str]) -> Preference:
    """Return what the `Prefer` fields ask for. The first of a name counts; what cannot be read is ignored."""
    asked: dict[str, str] = {}
    for item in _split(headers.get("prefer", ""), ","):
        name, _, word = next(_split(item, ";"), "").partition("=")
        name = name.strip().lower()
        if _TOKEN.fullmatch(name):
            asked.setdefault(name, _unquoted(word.strip()))
    return Preference(wait_ms=_milliseconds(asked.get("wait", "")), respond_async=asked.get("respond-async") == "")


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for item in _split(accept, ","):
        media, *parameters = (part.strip().lower() for part in _split(item, ";"))
        pairs = [(name.strip(), value.strip()) for name, _, value in (part.partition("=") for part in parameters)]
        quality = next((value for name, value in pairs if name == "q"), "1")
        if _RANGE.fullmatch(media) and _QUALITY.fullmatch(quality):
            yield JSON if media == PROBLEM else media, float(quality)


def _liking(ranges: list[tuple[str, float]], media_type: str) -> tuple[float, int, int]:
    """Return quality, exactness and place of the most exact range that covers a media type; zeros for none."""
    exactness = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}
    covering = [
        (exactness[media], -place, quality) for place, (media, quality) in enumerate(ranges) if media in exactness
    ]
    if not covering:
        return (0.0, 0, 0)
    exact, place, quality = max(covering)
    return (quality, exact, place)


def _milliseconds(seconds: str) -> int | None:
    if not (seconds.isascii() and seconds.isdecimal()):
        return None
    digits = seconds.lstrip("0")
    return 1000 * (_MOST_SECONDS if len(digits) > 8 else min(int(digits or "0"), _MOST_SECONDS))


def _split(text: str, separator: str) -> Iterator[str]:
    """Split at separators outside of quoted strings, in one pass: a hostile field costs no more than its length."""
    begin, quoted, escaped = 0, False, False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            yield text[begin:place]
            begin = place + 1
    yield text[begin:]


def _unquoted(word: str) -> str:
    if len(word) >= 2 and word[0] == word[-1] == '"':
        return re.sub(r"\\(.)", r"\1", word[1:-1])
    return word
