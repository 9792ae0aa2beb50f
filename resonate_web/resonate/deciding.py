"""How an approval is decided: what counts as an answer, whose answer it is, and when there are enough of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from resonate_web.errors import InvalidAnswer
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.resonate.ledger import Event
from resonate_web.workflow.approvals import Field, Question, decided
from resonate_web.workflow.decisions import Decision, Vote
from resonate_web.workflow.links import expires_at

Verdict = Literal["approve", "reject"]
State = Literal["pending", "approved", "rejected", "timedout", "revoked"]

MAX_COMMENT = 2_000
"""Characters that a comment may have."""
MAX_TEXT = 1_000
"""Characters that the answer to a field of type `text` may have."""
MAX_TEXTAREA = 10_000
"""Characters that the answer to a field of type `textarea` may have."""

USER = "user:"
"""What stands before a user's id where a framework tells who is asking."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?", re.ASCII)
_LARGEST = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one person says. `approver` is whose vote it is: one each; `by` is who said it, as far as is known."""

    decision: Verdict
    by: str
    approver: str = ""
    comment: str = ""
    fields: Mapping[str, str | int | float] = field(default_factory=dict)
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalView:
    """An approval as it is recorded: what it asks, what happened to it, and how it ended."""

    id: str
    question: Question
    promise: Promise
    events: tuple[Event, ...]

    @property
    def decision(self) -> Decision | None:
        """Return how it ended, None while it is open."""
        return None if self.promise.state is PromiseState.PENDING else decided(self.promise)

    @property
    def state(self) -> State:
        """Return pending, approved, rejected, timedout or revoked."""
        decision = self.decision
        return "pending" if decision is None else decision.outcome

    @property
    def votes(self) -> tuple[Vote, ...]:
        """Return what people have said so far, in that order."""
        return votes_of(self.events)

    def vote_of(self, approver: str) -> Event | None:
        """Return what an approver has said; the first counts."""
        return next((event for event in self.events if event.kind == "voted" and event.approver == approver), None)

    def seen_by(self, approver: str, expires_at: int) -> bool:
        """Tell whether this link was opened before."""
        return any(e.kind == "viewed" and (e.approver, e.expires_at) == (approver, expires_at) for e in self.events)

    def revoked_until(self, approver: str) -> int:
        """Return the end (ms) of the last link of an approver that was revoked; earlier ones went with it."""
        ends = (e.expires_at or 0 for e in self.events if e.kind == "link_revoked" and e.approver == approver)
        return max(ends, default=-1)

    def link_ends(self, approver: str) -> int:
        """Return the end (ms) of the link that is good now: after a revoked one it is later, which tells them apart."""
        return max(expires_at(self.promise.timeout_at), self.revoked_until(approver) + 1)

    def history(self) -> tuple[Event, ...]:
        """Return the events with the beginning and the end, which the promise itself records."""
        created = Event(kind="created", at=self.promise.created_at)
        decision = self.decision
        if decision is None:
            return (created, *self.events)
        at = self.promise.settled_at if decision.at is None else decision.at
        last = Event(kind=decision.outcome, at=at or 0, by=decision.by, comment=decision.comment)
        told = decision.outcome == "revoked" and any(event.kind == "revoked" for event in self.events)
        return (created, *self.events) if told else (created, *self.events, last)


def view_of(promise: Promise | None, events: tuple[Event, ...]) -> ApprovalView | None:
    """Return an approval's view, None if the promise is none."""
    question = None if promise is None else Question.of(promise)
    if promise is None or question is None:
        return None
    return ApprovalView(id=promise.id, question=question, promise=promise, events=events)


def votes_of(events: Iterable[Event]) -> tuple[Vote, ...]:
    """Return the votes among events."""
    return tuple(
        Vote(by=event.by, decision=event.decision, at=event.at, comment=event.comment)
        for event in events
        if event.kind == "voted" and event.decision is not None
    )


def outcome(question: Question, votes: Iterable[Vote]) -> Verdict | None:
    """Return what votes decide: the quorum is reached, or cannot be reached any more; None if they do not yet."""
    given = [vote.decision for vote in votes]
    if given.count("approve") >= question.quorum:
        return "approve"
    return "reject" if max(len(question.approvers), 1) - given.count("reject") < question.quorum else None


def ending(events: tuple[Event, ...], verdict: Verdict) -> Decision:
    """Return the decision that the last of the votes has brought about."""
    last = [event for event in events if event.kind == "voted"][-1]
    return Decision(
        outcome="approved" if verdict == "approve" else "rejected",
        by=last.by,
        at=last.at,
        comment=last.comment,
        fields=dict(last.fields),
        votes=votes_of(events),
    )


def approver_of(question: Question, principal: str, *, framework: bool) -> str | None:
    """Return whose vote a logged-in user has, None for nobody's.

    Who is named among the approvers is meant. Where the principal comes from the `framework`, with or without the
    `user:` that it puts before an id; the names of an application's own rule mean what they say and nothing else.
    """
    if not question.approvers:
        return principal
    names = {principal, principal.removeprefix(USER), f"{USER}{principal}"} if framework else {principal}
    return next((approver for approver in question.approvers if approver in names), None)


Checked = tuple[Verdict, str, dict[str, Any]]
"""Decision, comment and fields as they are recorded."""


def checked(question: Question, decision: object, comment: object, fields: object) -> Checked:
    """Return an answer as it is recorded. Raises: InvalidAnswer, with a message by the name of each part.

    Required fields are asked of who approves; a comment, if it is required, of everybody.
    """
    errors: dict[str, str] = {}
    if decision not in ("approve", "reject"):
        errors["decision"] = "Choose approve or reject."
    text = _comment(question, comment, errors)
    values: dict[str, Any] = {}
    if not isinstance(fields, Mapping):
        errors["fields"] = "Give the fields as an object of names and values."
        fields = {}
    known = {one.name: one for one in question.fields}
    for name in [name for name in fields if name not in known]:
        errors[str(name)] = "This approval has no such field."
    for one in question.fields:
        found, error = _value(one, fields.get(one.name))
        if error is None and found is None and one.required and decision != "reject":
            error = "This is needed."
        if error is not None:
            errors[one.name] = error
        elif found is not None:
            values[one.name] = found
    if errors:
        raise InvalidAnswer(errors)
    return ("approve" if decision == "approve" else "reject"), text, values


def _comment(question: Question, comment: object, errors: dict[str, str]) -> str:
    if comment is None:
        comment = ""
    text = _clean(comment) if isinstance(comment, str) else None
    if text is None:
        errors["comment"] = "The comment is a text."
    elif len(text) > MAX_COMMENT:
        errors["comment"] = f"A comment has at most {MAX_COMMENT:,} characters, this one has {len(text):,}."
    elif text and question.comment == "none":
        errors["comment"] = "This approval takes no comment."
    elif not text and question.comment == "required":
        errors["comment"] = "Say why."
    return text or ""


def _clean(text: str) -> str:
    return text.replace("\r\n", "\n").encode("utf-8", "replace").decode().strip()


def _value(field: Field, given: object) -> tuple[Any, str | None]:
    """Return the value of a field, None if nothing was filled in, or what is wrong with it."""
    if isinstance(given, str):
        given = _clean(given)
    if given is None or given == "":
        return None, None
    if field.type == "number":
        return _number(given)
    if not isinstance(given, str):
        return None, "Give a text."
    if field.type == "date":
        return _date(given)
    if field.type == "choice":
        return (given, None) if given in field.choices else (None, f"Choose one of: {', '.join(field.choices)}.")
    limit = MAX_TEXTAREA if field.type == "textarea" else MAX_TEXT
    if len(given) > limit:
        return None, f"At most {limit:,} characters, these are {len(given):,}."
    return given, None


def _number(given: object) -> tuple[int | float | None, str | None]:
    if isinstance(given, str) and _NUMBER.fullmatch(given):
        given = float(given) if "." in given else int(given)
    if isinstance(given, int | float) and not isinstance(given, bool):
        # Only compared, never converted: a whole number may be too large for a float, and NaN is less than nothing.
        return (given, None) if abs(given) < _LARGEST else (None, "The number is too large.")
    return None, "Give a number, such as 12 or 12.5."


def _date(given: str) -> tuple[str | None, str | None]:
    try:
        if _DAY.fullmatch(given):
            return date.fromisoformat(given).isoformat(), None
    except ValueError:
        pass
    return None, "Give a date as year-month-day, such as 2030-01-31."
