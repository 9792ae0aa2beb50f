"""What each page shows, as values. The fields are what templates see as `page`, and are public.

Instants are RFC 3339 texts in UTC (`status.instant`), absent ones None. Texts of users are given as they are:
templates escape them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from resonate_web.gateway.wording import APPROVALS, RUNS, State, state_of

FOLDED_FROM = 24
"""Steps from which on the finished ones at the beginning are folded away."""

LEFT_OPEN = 6
"""Finished steps that are shown nevertheless, before the first that is not."""

Decision = Literal["approve", "reject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """The form that cancels a run: where it is sent and what proves that it came from our page."""

    action: str
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """One thing for which a run waits: sleep, approval, promise, rpc or retry; `who` is asked, `until` then."""

    kind: str
    name: str
    text: str = ""
    who: tuple[str, ...] = ()
    until: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """A run. `run` is the status document.

    Of a step `until` is read too, if it is there (when a sleep ends); of an approval `approvers`, `deadline_at`,
    `decided_by`, `decided_at` and `comment`. `events` is the URL of the event stream. A browser without JavaScript
    loads the page again every `refresh` seconds (None: never). `still` is the URL of the same page without
    `refresh`, where a person reads, or decides to cancel, undisturbed: give it whenever `refresh` is given.
    """

    template: ClassVar[str] = "resonate/status.html"
    run: Mapping[str, Any]
    events: str | None = None
    refresh: int | None = None
    still: str | None = None
    cancel: Cancel | None = None

    @property
    def state(self) -> State:
        """Return how the run's status looks."""
        return state_of(RUNS, self.run["status"])

    @property
    def live(self) -> bool:
        """Tell whether the run may still change."""
        return not self.run["done"]

    @property
    def waits(self) -> tuple[Wait, ...]:
        """Return what has to happen before the run goes on."""
        if not self.live:
            return ()
        pending = [found for found in self.run["approvals"] if found["state"] == "pending"]
        names = {found["name"] for found in pending}
        steps = [step for step in self.run["steps"] if not (step["kind"] in _ANSWERED and step["name"] in names)]
        return (*map(_decision, pending), *(found for step in steps if (found := _waited(step))))

    @property
    def folded(self) -> int:
        """Return how many steps at the beginning are folded away: of a long run the finished ones."""
        steps = self.run["steps"]
        if len(steps) < FOLDED_FROM:
            return 0
        done = next((n for n, step in enumerate(steps) if step["status"] != "succeeded"), len(steps))
        return max(0, done - LEFT_OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What one person decided, when and why, with what they filled in."""

    by: str | None
    decision: Decision
    at: str
    comment: str | None = None
    answers: Mapping[str, str] = field(default_factory=dict)
    """What was filled in, by label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A question of an approval's form. `kind` is text, number, date, choice (of `choices`) or textarea."""

    name: str
    label: str
    kind: Literal["text", "number", "date", "choice", "textarea"] = "text"
    required: bool = False
    choices: tuple[str, ...] = ()
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPage:
    """The question of an approval, and what became of it.

    `state` is `open` (the form), `voted` (this person has decided, others have not), `approved`, `rejected`,
    `timedout`, `revoked` or `login` (nothing is told but that a login is needed; the other texts may be empty).
    `notice` is `thanks` right after a decision and `late` for one that came after another. `asked` are those who
    may decide and `you` is who this link or login is. `values` and `errors` are those of a form that was sent and
    not accepted, by field name: `decision`, `comment` and the custom fields; `errors[""]` is about the whole form.
    The form is sent to the page's own URL with `decision`, `nonce`, `comment` and the custom fields.
    """

    template: ClassVar[str] = "resonate/approval.html"
    state: Literal["open", "voted", "approved", "rejected", "timedout", "revoked", "login"]
    name: str = ""
    summary: str = ""
    run: str = ""
    run_url: str | None = None
    asked: tuple[str, ...] = ()
    you: str | None = None
    requested_at: str | None = None
    deadline_at: str | None = None
    settled_at: str | None = None
    needed: int = 1
    votes: tuple[Vote, ...] = ()
    fields: tuple[Field, ...] = ()
    comment: Literal["none", "optional", "required"] = "optional"
    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    notice: Literal["thanks", "late"] | None = None
    login_url: str | None = None

    @property
    def approvals(self) -> int:
        """Return how many have approved so far."""
        return sum(vote.decision == "approve" for vote in self.votes)

    @property
    def outcome(self) -> State:
        """Return how the state looks."""
        return state_of(APPROVALS, "pending" if self.state in ("open", "voted", "login") else self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """One row of the list: an approval that waits for whoever looks, and the link to its question."""

    summary: str
    name: str
    run: str
    url: str
    requested_at: str
    deadline_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalsPage:
    """What waits for the decision of one person; `more` is the URL of the next page of it."""

    template: ClassVar[str] = "resonate/approvals.html"
    you: str
    rows: tuple[Pending, ...] = ()
    more: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemPage:
    """A problem document for a browser."""

    template: ClassVar[str] = "resonate/problem.html"
    status: int
    title: str
    detail: str | None = None


Shown = StatusPage | ApprovalPage | ApprovalsPage | ProblemPage

_ANSWERED = ("promise", "approval")


def _decision(approval: Mapping[str, Any]) -> Wait:
    return Wait(
        kind="approval",
        name=approval["name"],
        text=(approval.get("summary") or "").strip().partition("\n")[0],  # all of it stands among the approvals
        who=tuple(approval.get("approvers") or ()),
        until=approval.get("deadline_at"),
    )


def _waited(step: Mapping[str, Any]) -> Wait | None:
    if step.get("next_attempt_at") and step["status"] == "running":
        return Wait(kind="retry", name=step["name"], until=step["next_attempt_at"])
    if step["status"] != "waiting" or step["kind"] == "detached":  # nobody waits for a detached run
        return None
    return Wait(kind=step["kind"], name=step["name"], until=step.get("until"))
