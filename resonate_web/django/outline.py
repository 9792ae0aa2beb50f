"""A run as the admin shows it: read through the client, so that it looks the same with every store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from resonate_web.django.actions import settleable
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.resonate import Resonate
from resonate_web.resonate.view import RunView
from resonate_web.workflow.codec import error_document
from resonate_web.workflow.recorded import ATTEMPT, kind_of, name_of, payload

STATES = ("pending", "blocked", "resolved", "rejected", "rejected_canceled", "rejected_timedout")
"""By what the list is filtered."""

PAGE = 50
"""How many runs a page of the list has."""

DEEPEST = 6
"""From which depth on lines are indented alike."""

_LAST = 253_402_300_799_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of the tree: a promise below the run, or a failed attempt below its step."""

    id: str
    depth: int
    name: str
    kind: str
    state: str
    began: datetime
    ended: datetime | None
    error: str
    trace: str
    settleable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run of the list."""

    id: str
    function: str
    state: str
    created: datetime


def listed(resonate: Resonate, state: str | None, after: str | None, limit: int) -> list[Row]:
    """Return runs by id, of one state or of all, behind the id `after`."""
    halted = {task.id for task in resonate.runtime.server.halted()}
    if state == "blocked":
        ids = sorted(id for id in halted if after is None or id > after)
        runs = [promise for id in ids[:limit] if (promise := resonate.record(id)).tags.get(tags.PARENT) == id]
    else:
        runs = resonate.runs(after=after, limit=limit, state=PromiseState(state) if state else None)
    return [
        Row(
            id=run.id,
            function=name_of(run),
            state="blocked" if run.id in halted else str(run.state),
            created=instant(run.created_at),
        )
        for run in runs
    ]


def facts(run: RunView) -> dict[str, Any]:
    """Return what is told of the run itself, by the names that the template has for it."""
    error, trace = failure(run.promise)
    ended = run.promise.settled_at
    return {
        "run": run,
        "created": instant(run.promise.created_at),
        "ended": None if ended is None else instant(ended),
        "error": error,
        "trace": trace,
        "title": run.id,
    }


def lines(resonate: Resonate, run: RunView) -> list[Line]:
    """Return all that a run recorded, each below what made it. Raises: NotFound."""
    children: dict[str, list[Promise]] = {}
    for promise in resonate.tree(run.promise.id):
        if promise.id != run.promise.id:
            children.setdefault(promise.tags.get(tags.PARENT, ""), []).append(promise)
    return list(_below(run.promise.id, children, 0))


def failure(promise: Promise) -> tuple[str, str]:
    """Return the error of a rejected promise in one line, and its traceback; empty texts for none."""
    if promise.state is not PromiseState.REJECTED and ATTEMPT not in promise.tags:
        return "", ""
    error = error_document(promise.value)
    return f"{error['name']}: {error['message']}", str(error["stack"] or "")


def instant(ms: int) -> datetime:
    """Return an instant of the store."""
    return datetime.fromtimestamp(min(ms, _LAST) / 1000, UTC)


def _below(id: str, children: dict[str, list[Promise]], depth: int) -> Iterator[Line]:
    for child in sorted(children.get(id, ()), key=_order):
        yield _line(child, depth)
        yield from _below(child.id, children, depth + 1)


def _line(promise: Promise, depth: int) -> Line:
    error, trace = failure(promise)
    noted: dict[str, Any] = payload(promise.value) if ATTEMPT in promise.tags else {}
    state = "failed" if noted else str(promise.state)
    return Line(
        id=promise.id,
        depth=min(depth, DEEPEST),
        name=f"attempt {promise.tags[ATTEMPT]}" if noted else name_of(promise),
        kind=_kind(promise),
        state=state,
        began=instant(promise.created_at),
        ended=None if promise.settled_at is None else instant(promise.settled_at),
        error=error,
        trace=trace,
        settleable=settleable(promise),
    )


def _kind(promise: Promise) -> str:
    if ATTEMPT in promise.tags:
        return "attempt"
    return "approval" if tags.is_approval(promise.tags) else str(kind_of(promise))


def _order(promise: Promise) -> tuple[int, int, str]:
    """Sort counted children by number, as the program made them, then the others by name."""
    last = promise.id.rpartition(":")[2].rpartition(".")[2]
    return (0, int(last), "") if last.isdecimal() else (1, 0, promise.id)
