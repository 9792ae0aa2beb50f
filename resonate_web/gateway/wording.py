"""How pages say things: instants, durations, states and JSON, in plain words.

There is no clock here, so nothing says "ago": pages tell instants in UTC, and the script shows them in the zone of
whoever reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

INLINE = 60
"""Characters that a result may have to be shown within a line."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"))
_MINUTE = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How a state looks: its word, the icon beside it, and its tone (busy, wait, good, bad or over)."""

    word: str
    icon: str
    tone: str
    sentence: str = ""


RUNS: Mapping[str, State] = {
    "running": State(word="Running", icon="busy", tone="busy", sentence="Its steps are being carried out."),
    "waiting": State(
        word="Waiting", icon="clock", tone="wait", sentence="It goes on by itself when this has happened."
    ),
    "blocked": State(word="Blocked", icon="alert", tone="bad", sentence="It cannot go on until somebody acts."),
    "succeeded": State(word="Succeeded", icon="check", tone="good", sentence="Everything is done."),
    "failed": State(word="Failed", icon="cross", tone="bad", sentence="It ended with an error."),
    "canceled": State(word="Canceled", icon="stop", tone="over", sentence="It was stopped before its end."),
    "timedout": State(word="Timed out", icon="clock", tone="bad", sentence="It was not finished before its deadline."),
}

STEPS: Mapping[str, State] = {
    **RUNS,
    "succeeded": State(word="Done", icon="check", tone="good"),
    "retrying": State(word="Retrying", icon="retry", tone="wait"),
}

APPROVALS: Mapping[str, State] = {
    "pending": State(word="Waiting for a decision", icon="clock", tone="wait"),
    "approved": State(word="Approved", icon="check", tone="good"),
    "rejected": State(word="Rejected", icon="cross", tone="bad"),
    "timedout": State(word="Not decided in time", icon="clock", tone="over"),
    "revoked": State(word="Withdrawn", icon="stop", tone="over"),
    "canceled": State(word="Withdrawn", icon="stop", tone="over"),
}

KINDS = {
    "workflow": "workflow",
    "rpc": "remote run",
    "sleep": "sleep",
    "promise": "answer from outside",
    "approval": "approval",
    "detached": "run of its own",
    "race": "race",
}
"""What a step is called when it is not a plain one."""


def state_of(states: Mapping[str, State], name: str) -> State:
    """Return how a state looks, for one that is not known too."""
    return states.get(name) or State(word=name, icon="dot", tone="over")


def step_state(step: Mapping[str, Any]) -> State:
    """Return how a step looks: one that failed and is not given up is being tried again."""
    retrying = step["status"] == "running" and step.get("error")
    return state_of(STEPS, "retrying" if retrying else step["status"])


def moment(instant: str | None) -> Markup:
    """Return an instant (RFC 3339) with its day, for a page."""
    at = _parsed(instant)
    text = instant or "" if at is None else f"{_day(at)}, {at:%H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(instant or "", text)


def clock(instant: str | None, before: str | None) -> Markup:
    """Return an instant to the second, with its day only if the one named `before` it had another."""
    at, earlier = _parsed(instant), _parsed(before)
    if at is None:
        return moment(instant)
    same = earlier is not None and earlier.date() == at.date()
    text = f"{at:%H:%M:%S}" if same else f"{_day(at)}, {at:%H:%M:%S}"
    return Markup('<time datetime="{}" data-clock="{}">{}</time>').format(instant, before or "", text)


def duration(begin: str | None, end: str | None) -> str | None:
    """Return the time between two instants in at most two units, None if one is missing."""
    first, last = _parsed(begin), _parsed(end)
    if first is None or last is None:
        return None
    ms = max(0, round((last - first).total_seconds() * 1000))
    if ms < 1000:
        return f"{ms} ms"
    if ms < _MINUTE:
        return f"{ms / 1000:.1f} s" if ms < 10_000 else f"{ms // 1000} s"
    parts: list[str] = []
    for size, unit in (*_UNITS, (1000, "s")):
        count, ms = divmod(ms, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def pretty(value: object) -> str:
    """Return a value as JSON: in one line while that is short, else indented."""
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= INLINE else json.dumps(value, ensure_ascii=False, indent=2)


def person(by: str | None) -> str:
    """Return who decided; a link that names nobody decided for whoever had it."""
    return "somebody with the link" if by in (None, "", "link") else str(by)


def people(names: Sequence[str]) -> str:
    """Return names in a row, the last one behind an "and"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _parsed(instant: str | None) -> datetime | None:
    if instant is None:
        return None
    try:
        found = datetime.fromisoformat(instant)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _day(at: datetime) -> str:
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"
