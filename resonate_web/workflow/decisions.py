"""What people decided: the values that a workflow gets from an approval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Outcome = Literal["approved", "rejected", "timedout", "revoked"]

OUTCOMES: Mapping[object, Outcome] = {
    "approve": "approved", "reject": "rejected", "timedout": "timedout", "revoked": "revoked"
}  # fmt: skip
"""What an outcome is called in a stored decision."""

DECISION = "resonate:decision"
"""Under which tag the codec writes a decision; a user's own type may well be called `decision`."""
VOTE = "resonate:vote"

_WORDS = {outcome: word for word, outcome in OUTCOMES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What one person said: `approve` or `reject`, at an instant in ms."""

    by: str | None = None
    decision: Literal["approve", "reject"]
    at: int | None = None
    comment: str = ""

    def document(self) -> dict[str, Any]:
        """Return the vote as JSON."""
        return {"by": self.by, "decision": self.decision, "at": self.at, "comment": self.comment}

    @classmethod
    def of(cls, found: Any) -> Self:
        """Return a vote from its JSON. Raises: ValueError when it is none."""
        said = found.get("decision") if isinstance(found, dict) else None
        if said not in ("approve", "reject"):
            raise ValueError(f"a vote says 'approve' or 'reject', not {found!r}")
        return cls(by=text(found, "by"), decision=said, at=number(found, "at"), comment=text(found, "comment") or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How an approval ended. `by` is None when nobody can be named, `at` is in ms, `fields` is what a form gave."""

    outcome: Outcome
    by: str | None = None
    at: int | None = None
    comment: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    votes: tuple[Vote, ...] = ()

    @property
    def approved(self) -> bool:
        """Tell whether the answer is yes: neither no, nor silence, nor a question that was withdrawn."""
        return self.outcome == "approved"

    def document(self) -> dict[str, Any]:
        """Return the decision as JSON: what an approval is resolved with, and how a step receives it."""
        return {
            "decision": _WORDS[self.outcome],
            "by": self.by,
            "at": self.at,
            "comment": self.comment,
            "fields": dict(self.fields),
            "votes": [vote.document() for vote in self.votes],
        }

    @classmethod
    def of(cls, found: Any) -> Self:
        """Return a decision from its JSON; a part that makes no sense is left out.

        Raises: ValueError when it does not say what was decided.
        """
        said = found.get("decision") if isinstance(found, dict) else None
        if not isinstance(said, str) or said not in OUTCOMES:
            raise ValueError(f"a decision says 'approve' or 'reject', not {found!r}")
        fields, votes = found.get("fields"), found.get("votes")
        return cls(
            outcome=OUTCOMES[said],
            by=text(found, "by"),
            at=number(found, "at"),
            comment=text(found, "comment") or "",
            fields=fields if isinstance(fields, dict) else {},
            votes=tuple(_votes(votes if isinstance(votes, list) else [])),
        )


def text(found: Mapping[str, Any], name: str) -> str | None:
    """Return a part of a JSON object that is a text, else None."""
    part = found.get(name)
    return part if isinstance(part, str) else None


def number(found: Mapping[str, Any], name: str) -> int | None:
    """Return a part of a JSON object that is a whole number, else None."""
    part = found.get(name)
    return part if isinstance(part, int) and not isinstance(part, bool) else None


def _votes(found: list[Any]) -> list[Vote]:
    votes = []
    for one in found:
        try:
            votes.append(Vote.of(one))
        except ValueError:
            continue
    return votes
