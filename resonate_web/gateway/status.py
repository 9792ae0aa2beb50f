"""The status document of a run, and its answer to a poll.

The document is a pure function of what is recorded and of the run's own link, so that all who may read it get
the same bytes, and the strong ETag over them changes exactly when something was recorded. Errors carry type
and message; a traceback never leaves the server.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState, Value
from resonate_web.resonate.view import RunView, StepView
from resonate_web.workflow.approvals import Question, decided
from resonate_web.workflow.codec import TYPE, error_document, from_data
from resonate_web.workflow.links import unbounded

RETRY_AFTER: Mapping[str, int] = {"running": 1, "waiting": 2, "blocked": 10}
"""Seconds until the next poll is worth its while, by status; ended runs have none."""

_EPOCH = datetime(1970, 1, 1)  # without a zone: all of it is UTC, and a zone would be formatted each time
_LAST = 253_402_300_799_999
_UNSHOWN = "the recorded result is not JSON and cannot be shown"
_WAITS = frozenset({"sleep", "promise", "rpc", "detached"})
_AWAITED = frozenset({"sleep", "promise"})
_ENDED = {
    PromiseState.RESOLVED: "succeeded",
    PromiseState.REJECTED: "failed",
    PromiseState.CANCELED: "canceled",
    PromiseState.TIMEDOUT: "timedout",
}
_CAUSES = {
    PromiseState.CANCELED: {"type": "Canceled", "message": "it was canceled"},
    PromiseState.TIMEDOUT: {"type": "TimedOut", "message": "it was not finished before its deadline"},
}


def document(run: RunView, id: str, link: str) -> dict[str, Any]:
    """Return what may be said about a run. `id` is the one it was started under, whichever try of it `run` is."""
    found: dict[str, Any] = {"id": id, "status": run.status, "reason": run.reason, "done": run.done}
    if run.promise.state is PromiseState.RESOLVED:
        try:
            found["result"] = plain(run.promise.value)
        except (TypeError, ValueError):  # Unserializable among them
            found["reason"] = _UNSHOWN
    elif run.done:
        found["error"] = _error(run.promise)
    found["created_at"] = instant(run.promise.created_at)
    found["updated_at"] = instant(run.updated_at)
    found["steps"] = [_step(step) for step in run.steps]
    found["approvals"] = [_approval(run, step, asked) for step in run.steps if (asked := Question.of(step.promise))]
    found["links"] = {"self": link}
    return found


def retry_after(run: RunView) -> list[tuple[str, str]]:
    """Return when to ask again, in seconds; nothing for a run that has ended."""
    seconds = RETRY_AFTER.get(run.status)
    return [] if seconds is None else [("Retry-After", str(seconds))]


def entity_tag(body: bytes) -> str:
    """Return the strong validator of exactly these bytes."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def instant(ms: int) -> str:
    """Return milliseconds since the Unix epoch as RFC 3339 text in UTC; what lies beyond the calendar as its end."""
    return (_EPOCH + timedelta(milliseconds=min(ms, _LAST))).isoformat(timespec="milliseconds") + "Z"


def deadline(timeout_at: int) -> str | None:
    """Return a deadline (ms) as text, None for one that nobody has set."""
    return None if unbounded(timeout_at) else instant(timeout_at)


def plain(value: Value) -> Any:
    """Return a stored value as plain JSON: a registered type as its encoded form, without the wrapping.

    Raises: TypeError or ValueError when it is not what the codec writes (another SDK may write what it likes).
    """
    if not value.data:
        return None
    text = from_data(value.data)
    found = json.loads(text, parse_constant=lambda _: None)
    return _unwrapped(found) if TYPE in text else found


def _unwrapped(found: Any) -> Any:
    if isinstance(found, list):
        return [_unwrapped(item) for item in found]
    if not isinstance(found, dict):
        return found
    if found.keys() == {TYPE, "value"}:
        if found[TYPE] == "dict":  # a user's own dict of the wrapping's shape, as pairs
            return {key: _unwrapped(item) for key, item in found["value"]}
        return _unwrapped(found["value"])
    return {key: _unwrapped(item) for key, item in found.items()}


def _step(step: StepView) -> dict[str, Any]:
    last = step.failures[-1] if step.failures and step.state is PromiseState.PENDING else None
    error = _error(step.promise) if last is None else {"type": last.error_type, "message": last.error_message}
    return {
        "name": step.name,
        "kind": "approval" if tags.is_approval(step.promise.tags) else step.kind,
        "status": _ENDED.get(step.state) or ("waiting" if step.kind in _WAITS else "running"),
        "attempt": len(step.failures) + 1,
        "started_at": instant(step.created_at),
        "finished_at": None if step.settled_at is None else instant(step.settled_at),
        "error": error,
        "next_attempt_at": None if last is None or last.next_at is None else instant(last.next_at),
        "until": deadline(step.timeout_at) if step.kind in _AWAITED else None,
    }


def _approval(run: RunView, step: StepView, asked: Question) -> dict[str, Any]:
    """Return what a run asks of people, never with a link."""
    decision = None if step.state is PromiseState.PENDING else decided(step.promise)
    return {
        "name": asked.name,
        "state": "pending" if decision is None else decision.outcome,
        "summary": asked.summary,
        "approvers": list(asked.approvers),
        "quorum": asked.quorum,
        "votes": run.votes.get(step.id, 0) if decision is None else len(decision.votes),
        "requested_at": instant(step.created_at),
        "deadline_at": deadline(step.timeout_at),
        "decided_by": None if decision is None else decision.by,
        "decided_at": None if decision is None or decision.at is None else instant(decision.at),
        "comment": "" if decision is None else decision.comment,
    }


def _error(promise: Promise) -> dict[str, str] | None:
    if promise.state is PromiseState.REJECTED:
        found = error_document(promise.value)
        return {"type": found["name"], "message": found["message"]}
    return _CAUSES.get(promise.state)
