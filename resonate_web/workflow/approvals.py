"""Approvals: promises that people settle. What is asked, who may answer, and how the answer is read.

Everything the pages need to know is in the promise: its tag says that it is an approval, its `param` is the
question, its value the decision. So an approval needs no table, and works on every store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from resonate_web.errors import Unserializable, WrongCall
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState, Value
from resonate_web.workflow import ids
from resonate_web.workflow.codec import TYPE, error_document, from_data
from resonate_web.workflow.commands import CallOptions, Child, Command, Future, Kind
from resonate_web.workflow.decisions import DECISION, Decision, Outcome, number, text
from resonate_web.workflow.links import Links, expires_at
from resonate_web.workflow.recorded import parameters

Comment = Literal["optional", "required", "none"]
FieldType = Literal["text", "number", "date", "choice", "textarea"]

MAX_SUMMARY = 2_000
"""Characters that a summary may have."""
MAX_WORD = 200
"""Characters that an approver, a label or a choice may have."""
MAX_UNREADABLE = 2_000
"""Characters of a value that is no decision which are kept as the comment."""

TAKEN = frozenset({"decision", "comment", "fields", "nonce", "csrfmiddlewaretoken"})
"""Names that a field can't have: the form has inputs of these names already."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Field:
    """A question of the form beside yes and no. A `choice` has `choices`; without a label it is shown by its name."""

    name: str
    label: str | None = None
    type: FieldType = "text"
    required: bool = False
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(isinstance(self.name, str), TypeError, f"a field's name is a text, not {self.name!r}")
        name = self.name
        _check(
            bool(_NAME.match(name)),
            ValueError,
            f"a field's name is a letter and up to 63 letters, digits, '_' or '-', not {name!r}",
        )
        _check(name not in TAKEN, ValueError, f"a field can't be named {name!r}: the form has an input of that name")
        types = get_args(FieldType)
        _check(self.type in types, ValueError, f"field {name!r}: type is one of {', '.join(types)}, not {self.type!r}")
        _check(isinstance(self.required, bool), TypeError, f"field {name!r}: required is True or False")
        if self.label is not None:
            _word(self.label, f"field {name!r}: a label")
        object.__setattr__(self, "choices", _words(self.choices, f"field {name!r}: a choice"))
        _check(
            bool(self.choices) is (self.type == "choice"),
            ValueError,
            f"field {name!r}: a field of type 'choice' has choices, and no other has",
        )

    def document(self) -> dict[str, Any]:
        """Return the field as JSON."""
        return {
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "required": self.required,
            "choices": list(self.choices),
        }


Fields = Mapping[str, FieldType | Mapping[str, Any]] | Iterable[str | Field]
"""Names or fields; or, by name, a type or what else `Field` takes."""


def fields_of(given: Fields) -> tuple[Field, ...]:
    """Return fields as they were written in a workflow. Raises: TypeError, ValueError naming the rule."""
    if isinstance(given, str):
        raise TypeError(f"fields takes several names or fields, not the text {given!r}")
    if isinstance(given, Mapping):
        more = {name: how if isinstance(how, Mapping) else {"type": how} for name, how in given.items()}
        return tuple(Field(name, **how) for name, how in more.items())
    return tuple(item if isinstance(item, Field) else Field(item) for item in given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an approval asks, and who may answer. `quorum` is how many of the approvers must approve.

    With approvers and no `require_login` each approver has a link of their own; with `require_login` the login
    tells who it is, and `forbid_initiator` refuses the one who started the run.
    """

    id: str
    name: str
    summary: str = ""
    approvers: tuple[str, ...] = ()
    quorum: int = 1
    require_login: bool = False
    forbid_initiator: bool = False
    comment: Comment = "optional"
    fields: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        what = f"approval {self.name!r}"
        _check(isinstance(self.summary, str), TypeError, f"{what}: summary is a text, not {self.summary!r}")
        _check(
            len(self.summary) <= MAX_SUMMARY,
            ValueError,
            f"{what}: a summary has at most {MAX_SUMMARY:,} characters, this one has {len(self.summary):,}",
        )
        for flag in ("require_login", "forbid_initiator"):
            _check(isinstance(getattr(self, flag), bool), TypeError, f"{what}: {flag} is True or False")
        kinds = get_args(Comment)
        _check(self.comment in kinds, ValueError, f"{what}: comment is one of {', '.join(kinds)}, not {self.comment!r}")
        object.__setattr__(self, "approvers", _words(self.approvers, f"{what}: an approver"))
        self._check_rules(what)
        names = [field.name for field in self.fields]
        _check(len(set(names)) == len(names), ValueError, f"{what}: two fields have the same name: {', '.join(names)}")

    def _check_rules(self, what: str) -> None:
        quorum, known = self.quorum, len(self.approvers)
        _check(isinstance(quorum, int) and not isinstance(quorum, bool), TypeError, f"{what}: quorum is a number")
        _check(quorum >= 1, ValueError, f"{what}: quorum is at least 1, not {quorum}")
        _check(
            quorum == 1 or known > 0,
            ValueError,
            f"{what}: a quorum of {quorum} needs approvers=, or one person could approve {quorum} times",
        )
        _check(
            quorum <= max(known, 1), ValueError, f"{what}: a quorum of {quorum} can't be reached by {known} approvers"
        )
        _check(
            self.require_login or not self.forbid_initiator,
            ValueError,
            f"{what}: forbid_initiator needs require_login=True, for a link does not tell who clicks it",
        )

    @property
    def run(self) -> str:
        """Return the id of the run that asks."""
        return ids.origin(self.id)

    def rules(self) -> dict[str, Any]:
        """Return who may decide: what a replay compares. The wording may change, this must not change silently."""
        return {
            "func": "approval",
            "approvers": list(self.approvers),
            "quorum": self.quorum,
            "require_login": self.require_login,
            "forbid_initiator": self.forbid_initiator,
        }

    def document(self) -> dict[str, Any]:
        """Return the question as JSON: the `param` of its promise."""
        fields = [field.document() for field in self.fields]
        return {
            **self.rules(), "name": self.name, "summary": self.summary, "comment": self.comment, "fields": fields
        }  # fmt: skip

    @classmethod
    def of(cls, promise: Promise) -> Question | None:
        """Return what a promise asks; None if it is no approval, or one that nobody can read."""
        found = parameters(promise) if tags.is_approval(promise.tags) else {}
        if found.get("func") != "approval":
            return None
        try:
            return cls(
                id=promise.id,
                name=promise.id.rpartition("@")[2],
                summary=found["summary"],
                approvers=tuple(found["approvers"]),
                quorum=found["quorum"],
                require_login=found["require_login"],
                forbid_initiator=found["forbid_initiator"],
                comment=found["comment"],
                fields=tuple(Field(**field) for field in found["fields"]),
            )
        except (LookupError, TypeError, ValueError):
            return None


class Asking(Command["Approval"]):
    """The command that makes an approval."""

    __slots__ = ("question",)

    def __init__(self, *, context: object, question: Question, opts: CallOptions) -> None:
        super().__init__(
            context=context, id=question.id, kind=Kind.PROMISE, name=question.name, opts=opts, wait=False
        )  # fmt: skip
        self.question = question


class Approval(Future[Decision]):
    """A question that was asked: send its link to somebody, then yield it for the decision."""

    __slots__ = ("_links", "_question")

    def __init__(self, node: Child, question: Question, links: Links) -> None:
        super().__init__(node)
        self._question = question
        self._links = links

    @property
    def name(self) -> str:
        """Return the name under which the workflow asked."""
        return self._question.name

    @property
    def url(self) -> str:
        """Return the address of the page where it is decided.

        Raises: WrongCall when each approver has a link of their own, ConfigError when there is no web app or base URL.
        """
        if self._question.approvers and not self._question.require_login:
            raise WrongCall(f"each approver of {self.id} has a link of their own: use approval.url_for(approver)")
        return self._link("")

    def url_for(self, approver: str) -> str:
        """Return the address for one of the approvers. Raises: WrongCall when it is none, ConfigError as `url`."""
        if approver not in self._question.approvers:
            known = ", ".join(repr(one) for one in self._question.approvers) or "it was made without approvers="
            raise WrongCall(f"{approver!r} is no approver of {self.id}: {known}")
        return self._link(approver)

    def _link(self, approver: str) -> str:
        return self._links(self.id, approver, expires_at(self.node.timeout_at))


def decided(promise: Promise) -> Decision:
    """Return how an approval ended, whoever settled it, and with whatever value.

    What is no decision counts as a rejection, with its text as the comment. Raises: ValueError while it is pending.
    """
    if promise.state is PromiseState.PENDING:
        raise ValueError(f"{promise.id} is not decided")
    if promise.state is PromiseState.TIMEDOUT:
        # The deadline, not when somebody stored that it had passed: a replay may find it stored, the run did not.
        return Decision(outcome="timedout", at=promise.timeout_at)
    found = _read(promise.value)
    if promise.state is PromiseState.RESOLVED:
        return _resolved(promise, found)
    said = found if isinstance(found, dict) else {}
    return Decision(
        outcome="revoked" if promise.state is PromiseState.CANCELED else "rejected",
        by=text(said, "by"),
        at=_at(said, promise),
        comment=text(said, "comment") or error_document(promise.value)["message"],
    )


def _resolved(promise: Promise, found: Any) -> Decision:
    if not isinstance(found, dict):
        found = {"decision": found}
    elif found.keys() == {TYPE, "value"} and found[TYPE] == DECISION:  # settled with a Decision in Python code
        found = found["value"]
    said = found.get("decision") if isinstance(found, dict) else None
    outcome = _ANSWERS.get(said) if isinstance(said, bool | str) else None
    if outcome is None:
        return Decision(outcome="rejected", at=promise.settled_at, comment=_shown(promise.value))
    parts = Decision.of({**found, "decision": "approve", "at": _at(found, promise)})
    return Decision(
        outcome=outcome, by=parts.by, at=parts.at, comment=parts.comment, fields=parts.fields, votes=parts.votes
    )  # fmt: skip


_ANSWERS: Mapping[object, Outcome] = {
    True: "approved", "approve": "approved", "approved": "approved",
    False: "rejected", "reject": "rejected", "rejected": "rejected",
}  # fmt: skip


def _at(found: Mapping[str, Any], promise: Promise) -> int | None:
    said = number(found, "at")
    return promise.settled_at if said is None else said


def _read(value: Value) -> Any:
    if not value.data:
        return None
    try:
        return json.loads(from_data(value.data), parse_constant=lambda _: None)
    except (Unserializable, ValueError, RecursionError):
        return None


def _shown(value: Value) -> str:
    try:
        shown = from_data(value.data or "")
    except Unserializable:
        shown = value.data or ""
    return (shown or "it was resolved without a decision")[:MAX_UNREADABLE]


def _words(given: Iterable[str], what: str) -> tuple[str, ...]:
    if isinstance(given, str):
        raise TypeError(f"{what} is one of several: give a list of texts, not the text {given!r}")
    words = tuple(given)
    for word in words:
        _word(word, what)
    for word in words:
        _check(words.count(word) == 1, ValueError, f"{what} is named once, not twice: {word!r}")
    return words


def _word(word: object, what: str) -> None:
    if not isinstance(word, str):
        raise TypeError(f"{what} is a text, not {word!r}")
    _check(bool(word.strip()), ValueError, f"{what} is not empty")
    _check(len(word) <= MAX_WORD, ValueError, f"{what} has at most {MAX_WORD} characters, this one has {len(word)}")


def _check(holds: bool, kind: type[Exception], rule: str) -> None:
    if not holds:
        raise kind(rule)
