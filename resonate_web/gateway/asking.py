"""Approvals as documents and as pages: what may be told to whoever has a link. Never another link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from resonate_web.gateway import shown as pages
from resonate_web.gateway.shown import ApprovalPage, Pending
from resonate_web.gateway.status import deadline, instant
from resonate_web.resonate.deciding import ApprovalView, Verdict
from resonate_web.resonate.ledger import Event
from resonate_web.workflow.approvals import Question
from resonate_web.workflow.decisions import Decision, Vote

THANKS_MS = 30_000
"""How long after a vote the page of that approver still thanks for it."""

_WORDS = {"approved": "approve", "rejected": "reject"}


def document(view: ApprovalView, approver: str) -> dict[str, Any]:
    """Return an approval as JSON, for one of its approvers."""
    question, mine = view.question, view.vote_of(approver)
    return {
        "id": view.id,
        "run": question.run,
        "name": question.name,
        "summary": question.summary,
        "state": view.state,
        "requested_at": instant(view.promise.created_at),
        "deadline_at": deadline(view.promise.timeout_at),
        "approvers": list(question.approvers),
        "quorum": question.quorum,
        "require_login": question.require_login,
        "comment": question.comment,
        "fields": [field.document() for field in question.fields],
        "votes": [_vote(vote) for vote in _votes(view)],
        "your_vote": None if mine is None else vote(mine),
        "outcome": None if view.decision is None else {**outcome(view), "fields": dict(view.decision.fields)},
    }


def outcome(view: ApprovalView) -> dict[str, Any]:
    """Return who ended an approval, how, when and why."""
    decision = view.decision or Decision(outcome="revoked")
    return {
        "decision": _WORDS.get(decision.outcome, decision.outcome),
        "by": decision.by,
        "at": None if decision.at is None else instant(decision.at),
        "comment": decision.comment,
    }


def vote(event: Event) -> dict[str, Any]:
    """Return what one approver has said."""
    return {"decision": event.decision, "by": event.by, "at": instant(event.at), "comment": event.comment}


def summary(view: ApprovalView, url: str) -> dict[str, Any]:
    """Return one row of the list of open approvals as JSON."""
    return {
        "id": view.id,
        "run": view.question.run,
        "name": view.question.name,
        "summary": view.question.summary,
        "requested_at": instant(view.promise.created_at),
        "deadline_at": deadline(view.promise.timeout_at),
        "url": url,
    }


def row(view: ApprovalView, url: str) -> Pending:
    """Return one row of the list of open approvals."""
    return Pending(
        summary=view.question.summary,
        name=view.question.name,
        run=view.question.run,
        url=url,
        requested_at=instant(view.promise.created_at),
        deadline_at=deadline(view.promise.timeout_at),
    )


def page_of(view: ApprovalView, approver: str, *, you: str | None, now: int) -> ApprovalPage:
    """Return the page of an approval at `now` (ms), for one of its approvers."""
    question, mine, state = view.question, view.vote_of(approver), view.state
    shown_state = state if state != "pending" else "open" if mine is None else "voted"
    labels = {field.name: field.label or field.name for field in question.fields}
    answers = {
        (event.by, event.at): {labels.get(name, name): str(value) for name, value in event.fields.items()}
        for event in view.events
        if event.kind == "voted"
    }
    return ApprovalPage(
        state=shown_state,
        name=question.name,
        summary=question.summary,
        run=question.run,
        asked=question.approvers,
        you=you,
        requested_at=instant(view.promise.created_at),
        deadline_at=deadline(view.promise.timeout_at),
        settled_at=None if view.promise.settled_at is None else instant(view.promise.settled_at),
        needed=question.quorum,
        votes=tuple(_shown(vote, answers) for vote in _votes(view)),
        fields=_fields(question),
        comment=question.comment,
        notice="thanks" if mine is not None and now - mine.at < THANKS_MS else None,
    )


def sent(
    page: ApprovalPage, *, nonce: str, values: Mapping[str, str], errors: Mapping[str, str], late: bool
) -> ApprovalPage:
    """Return the page with its form: what was sent and not accepted, and what came too late."""
    return replace(page, nonce=nonce, values=values, errors=errors, notice="late" if late else page.notice)


def _votes(view: ApprovalView) -> tuple[Vote, ...]:
    """Return the votes; one, where somebody has settled the promise without voting."""
    decision = view.decision
    if decision is None:
        return view.votes
    if decision.votes or decision.outcome not in _WORDS:
        return decision.votes or view.votes
    verdict: Verdict = "approve" if decision.approved else "reject"
    return (Vote(by=decision.by, decision=verdict, at=decision.at, comment=decision.comment),)


def _vote(vote: Vote) -> dict[str, Any]:
    at = None if vote.at is None else instant(vote.at)
    return {"decision": vote.decision, "by": vote.by, "at": at, "comment": vote.comment}


def _shown(vote: Vote, answers: Mapping[tuple[str | None, int], Mapping[str, str]]) -> pages.Vote:
    at = vote.at or 0
    return pages.Vote(
        by=vote.by,
        decision=vote.decision,
        at=instant(at),
        comment=vote.comment or None,
        answers=answers.get((vote.by, at), {}),
    )


def _fields(question: Question) -> tuple[pages.Field, ...]:
    return tuple(
        pages.Field(
            name=field.name,
            label=field.label or field.name,
            kind=field.type,
            required=field.required,
            choices=field.choices,
        )
        for field in question.fields
    )
