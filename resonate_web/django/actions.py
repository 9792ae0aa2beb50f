"""What the admin may do with a run or a promise: each asks the engine and says what it asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from resonate_web.errors import Unserializable
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState, TaskState
from resonate_web.resonate import Resonate
from resonate_web.resonate.view import RunView
from resonate_web.workflow.commands import Kind
from resonate_web.workflow.decisions import Decision
from resonate_web.workflow.recorded import kind_of

Deed = Callable[[Resonate, str, HttpRequest], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A button: its permission (`resonate.<permission>`), and what the confirmation page says and asks."""

    name: str
    title: str
    permission: str
    question: str
    field: str = ""
    """Label of the text that the page asks for; empty for none."""
    carry_out: Deed

    def allowed(self, user: Any) -> bool:
        """Tell whether a user has the permission."""
        return bool(user.has_perm(f"resonate.{self.permission}"))


def _cancel(resonate: Resonate, id: str, request: HttpRequest) -> str:
    return _told(resonate.promises.cancel(id), PromiseState.CANCELED, f"Canceled {id}")


def _proceed(resonate: Resonate, id: str, request: HttpRequest) -> str:
    resonate.proceed(id)
    return f"Let {id} go on"


def _retry(resonate: Resonate, id: str, request: HttpRequest) -> str:
    return f"Started {resonate.retry(id).id}"


def _resolve(resonate: Resonate, id: str, request: HttpRequest) -> str:
    text = request.POST.get("text", "").strip()
    if tags.is_approval(resonate.record(id).tags):
        return _decided(resonate, id, "approved", text, request)
    try:
        value = json.loads(text) if text else None
    except ValueError as error:
        raise Unserializable(f"the value is not JSON ({error}); write a text in double quotes") from None
    return _told(resonate.promises.resolve(id, value), PromiseState.RESOLVED, f"Resolved {id}")


def _reject(resonate: Resonate, id: str, request: HttpRequest) -> str:
    text = request.POST.get("text", "").strip()
    if tags.is_approval(resonate.record(id).tags):
        return _decided(resonate, id, "rejected", text, request)
    error = text or "rejected in the admin"
    return _told(resonate.promises.reject(id, error), PromiseState.REJECTED, f"Rejected {id}")


def _decided(resonate: Resonate, id: str, outcome: str, comment: str, request: HttpRequest) -> str:
    """Decide in place of the approvers: an administrator needs no vote."""
    by = f"user:{request.user.pk}"
    now = resonate.now()
    decision = Decision(outcome="approved" if outcome == "approved" else "rejected", by=by, at=now, comment=comment)
    return _told(resonate.promises.resolve(id, decision.document()), PromiseState.RESOLVED, f"{outcome} {id}")


def _told(promise: Promise, state: PromiseState, done: str) -> str:
    return done if promise.state is state else f"{promise.id} was {promise.state} already; nothing was changed"


ACTIONS: Mapping[str, Action] = {
    action.name: action
    for action in (
        Action(
            name="cancel",
            title="Cancel",
            permission="cancel_run",
            question="Its code does not run again, and all that is open below it is canceled too.",
            carry_out=_cancel,
        ),
        Action(
            name="proceed",
            title="Continue",
            permission="retry_run",
            question="A blocked run is offered to all processes again; a failed step is tried now.",
            carry_out=_proceed,
        ),
        Action(
            name="retry",
            title="Retry",
            permission="retry_run",
            question="A new run starts with the same arguments; the steps that succeeded are kept.",
            carry_out=_retry,
        ),
        Action(
            name="resolve",
            title="Resolve",
            permission="resolve_promise",
            question="The workflow gets this value. An approval is approved, in place of its approvers.",
            field="Value as JSON; for an approval, a comment",
            carry_out=_resolve,
        ),
        Action(
            name="reject",
            title="Reject",
            permission="resolve_promise",
            question="The workflow gets this error. An approval is rejected, in place of its approvers.",
            field="Message; for an approval, a comment",
            carry_out=_reject,
        ),
    )
}


def choices(run: RunView) -> dict[str, str]:
    """Return what may be done with a run, each with its label."""
    if run.done:
        return {} if run.status == "succeeded" or run.task is None else {"retry": "Retry"}
    found = {"cancel": "Cancel"}
    if settleable(run.promise):
        found |= {"resolve": "Resolve", "reject": "Reject"}
    held = run.task is not None and run.task.state is TaskState.ACQUIRED
    if run.status == "blocked":
        found["proceed"] = "Continue"
    elif held and any(step.failures and step.state is PromiseState.PENDING for step in run.steps):
        found["proceed"] = "Try the failed step now"
    return found


def settleable(promise: Promise) -> bool:
    """Tell whether a person may settle this promise: it waits for somebody outside."""
    return promise.state is PromiseState.PENDING and kind_of(promise) is Kind.PROMISE
