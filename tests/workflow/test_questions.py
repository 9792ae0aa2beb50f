"""Approvals as values: what is asked and by which rules, and how every end of it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonate_web import ApplicationError, Decision, Field, InvalidId
from resonate_web.protocol import tags
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Value
from resonate_web.testing.rehearsal import Rehearsal
from resonate_web.workflow.approvals import TAKEN, Question, decided
from resonate_web.workflow.codec import Codec, to_data
from resonate_web.workflow.commands import Kind
from resonate_web.workflow.context import Context
from resonate_web.workflow.decisions import Vote
from resonate_web.workflow.recorded import kind_of, name_of, parameters

YES = {"decision": "approve", "by": "ann", "at": 5, "comment": "fine", "fields": {"amount": 3}, "votes": []}
APPROVED = Decision(outcome="approved", by="ann", at=5, comment="fine", fields={"amount": 3})


def _rehearsal(*fns: Callable[..., Any]) -> Rehearsal:
    rehearsal = Rehearsal()
    for fn in fns:
        rehearsal.registry.add(fn)
    return rehearsal


def _stored(**rules: Any) -> Promise:
    """Return the promise of a workflow that asks with these rules."""

    def asks(ctx: Context) -> Any:
        return (yield (yield ctx.approval("manager", **rules)))

    rehearsal = _rehearsal(asks)
    rehearsal.begin("r", asks)
    rehearsal.proceed()
    return rehearsal.promise("r:@manager")


def _promise(
    state: PromiseState = PromiseState.PENDING, param: Value = EMPTY, value: Value = EMPTY, mark: str = "true"
) -> Promise:
    return Promise(
        id="order/1:@manager",
        state=state,
        param=param,
        value=value,
        tags={tags.EXTERNAL: "true", tags.APPROVAL: mark},
        timeout_at=90,
        created_at=10,
        settled_at=None if state is PromiseState.PENDING else 70,
    )


# The question


RULES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"name": "9"}, InvalidId, "a promise's name is a letter"),
    ({"summary": 5}, TypeError, "summary is a text"),
    ({"summary": "x" * 2_001}, ValueError, "at most 2,000 characters, this one has 2,001"),
    ({"timeout": -1}, ValueError, "not negative"),
    ({"quorum": 0}, ValueError, "quorum is at least 1, not 0"),
    ({"quorum": "2"}, TypeError, "quorum is a number"),
    ({"quorum": True}, TypeError, "quorum is a number"),
    ({"quorum": 2}, ValueError, "a quorum of 2 needs approvers="),
    ({"quorum": 2, "require_login": True}, ValueError, "a quorum of 2 needs approvers="),
    ({"quorum": 3, "approvers": ["a", "b"]}, ValueError, "a quorum of 3 can't be reached by 2 approvers"),
    ({"approvers": "ann"}, TypeError, "give a list of texts, not the text 'ann'"),
    ({"approvers": ["ann", 5]}, TypeError, "an approver is a text, not 5"),
    ({"approvers": ["ann", " "]}, ValueError, "an approver is not empty"),
    ({"approvers": ["a" * 201]}, ValueError, "at most 200 characters, this one has 201"),
    ({"approvers": ["ann", "bob", "ann"]}, ValueError, "an approver is named once, not twice: 'ann'"),
    ({"require_login": "yes"}, TypeError, "require_login is True or False"),
    ({"forbid_initiator": 1}, TypeError, "forbid_initiator is True or False"),
    ({"forbid_initiator": True}, ValueError, "forbid_initiator needs require_login=True"),
    ({"comment": "maybe"}, ValueError, "comment is one of optional, required, none, not 'maybe'"),
    ({"fields": "amount"}, TypeError, "not the text 'amount'"),
    ({"fields": [5]}, TypeError, "a field's name is a text"),
    ({"fields": ["two words"]}, ValueError, "a field's name is a letter"),
    ({"fields": ["comment"]}, ValueError, "the form has an input of that name"),
    ({"fields": ["amount", Field("amount")]}, ValueError, "two fields have the same name"),
    ({"fields": {"amount": "money"}}, ValueError, "type is one of text, number"),
    ({"fields": {"amount": {"required": 1}}}, TypeError, "required is True or False"),
    ({"fields": {"amount": {"label": ""}}}, ValueError, "a label is not empty"),
    ({"fields": {"amount": "choice"}}, ValueError, "a field of type 'choice' has choices"),
    ({"fields": {"amount": {"choices": ["a"]}}}, ValueError, "and no other has"),
    ({"fields": {"amount": {"type": "choice", "choices": ["a", "a"]}}}, ValueError, "a choice is named once"),
    ({"fields": {"amount": {"price": 1}}}, TypeError, "price"),
]


@pytest.mark.parametrize(("rules", "kind", "message"), RULES, ids=[str(rules)[:50] for rules, _, _ in RULES])
def test_a_rule_that_makes_no_sense_is_named(rules: dict[str, Any], kind: type[Exception], message: str) -> None:
    """The call raises, names the rule, and leaves the name free."""

    def asks(ctx: Context) -> Any:
        with pytest.raises(kind) as raised:
            ctx.approval(**{"name": "manager", **rules})
        yield ctx.approval("manager")
        return str(raised.value)

    assert message in _rehearsal(asks).run("r", asks)


def test_a_name_is_used_once() -> None:
    """Approvals and promises of a run share their names."""

    def asks(ctx: Context) -> Any:
        yield ctx.approval("manager")
        yield ctx.promise("manager")

    with pytest.raises(ApplicationError, match="has made a promise named 'manager' already"):
        _rehearsal(asks).run("r", asks)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,9}", fullmatch=True).filter(lambda name: name not in TAKEN)
FIELDS = st.builds(
    Field, NAMES, st.none() | WORDS, st.sampled_from(["text", "number", "date", "textarea"]), st.booleans()
) | st.builds(
    lambda name, choices: Field(name, type="choice", choices=tuple(choices)),
    NAMES,
    st.lists(WORDS, min_size=1, max_size=3, unique=True),
)


@given(st.data())
def test_what_is_asked_is_what_the_pages_read(data: st.DataObject) -> None:
    """Every question that may be asked is read from its promise as it was asked."""
    approvers = data.draw(st.lists(WORDS, max_size=4, unique=True))
    login = data.draw(st.booleans())
    question = Question(
        id="order/1:@manager",
        name="manager",
        summary=data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=30)),
        approvers=tuple(approvers),
        quorum=data.draw(st.integers(1, max(len(approvers), 1))),
        require_login=login,
        forbid_initiator=login and data.draw(st.booleans()),
        comment=data.draw(st.sampled_from(["optional", "required", "none"])),
        fields=tuple(data.draw(st.lists(FIELDS, max_size=3, unique_by=lambda field: field.name))),
    )
    promise = _promise(param=Value(data=to_data(Codec().dumps(question.document()))))
    assert Question.of(promise) == question
    assert question.run == "order/1"


def test_the_promise_says_everything() -> None:
    """Tags and payload are those of the wire: what the pages need, in names that others can read."""
    choice = {"type": "choice", "choices": ["red", "blue"], "label": "Colour"}
    promise = _stored(summary="Order 42", approvers=["ann", "bob"], quorum=2, fields={"amount": "number", "c": choice})
    assert promise.tags[tags.EXTERNAL] == promise.tags["resonate_web:approval"] == "true"
    assert (kind_of(promise), name_of(promise)) == (Kind.PROMISE, "manager")
    amount: dict[str, Any] = {"name": "amount", "label": None, "type": "number", "required": False, "choices": []}
    colour = {"name": "c", "label": "Colour", "type": "choice", "required": False, "choices": ["red", "blue"]}
    assert parameters(promise) == {
        "func": "approval",
        "name": "manager",
        "summary": "Order 42",
        "approvers": ["ann", "bob"],
        "quorum": 2,
        "require_login": False,
        "forbid_initiator": False,
        "comment": "optional",
        "fields": [amount, colour],
    }


@pytest.mark.parametrize(
    "param", [b"", b"[]", b'"text"', b'{"func":"sleep"}', b'{"func":"approval"}', b'{"func":"approval","quorum":0}']
)
def test_what_cannot_be_read_is_no_question(param: bytes) -> None:
    """An approval whose payload makes no sense has no page; a plain promise never has one."""
    assert Question.of(_promise(param=Value(data=to_data(param.decode())))) is None
    asked = _stored()
    assert Question.of(asked) is not None
    assert Question.of(_promise(param=asked.param, mark="no")) is None


@pytest.mark.parametrize(
    "rule",
    [{"quorum": 2}, {"approvers": "ann"}, {"approvers": None}, {"fields": [{"name": "a", "more": 1}]}, {"summary": 1}],
)
def test_a_stored_question_is_held_to_the_same_rules(rule: dict[str, Any]) -> None:
    """Rules that no workflow could have asked with are not guessed at: nobody may answer."""
    found = {**parameters(_stored()), **rule}
    assert Question.of(_promise(param=Value(data=to_data(json.dumps(found))))) is None


# The answer


RESOLVED, REJECTED, CANCELED = PromiseState.RESOLVED, PromiseState.REJECTED, PromiseState.CANCELED
VOTES = [{"by": "ann", "decision": "approve", "at": 4, "comment": "ok"}, {"decision": "abstain"}, 5]
ANSWERS: list[tuple[PromiseState, Any, Decision]] = [
    (RESOLVED, YES, APPROVED),
    (RESOLVED, {"decision": "reject", "by": None}, Decision(outcome="rejected", at=70)),
    (RESOLVED, {"decision": True}, Decision(outcome="approved", at=70)),
    (RESOLVED, True, Decision(outcome="approved", at=70)),
    (RESOLVED, "approve", Decision(outcome="approved", at=70)),
    (RESOLVED, False, Decision(outcome="rejected", at=70)),
    (RESOLVED, "reject", Decision(outcome="rejected", at=70)),
    (RESOLVED, 1, Decision(outcome="rejected", at=70, comment="1")),
    (RESOLVED, "maybe", Decision(outcome="rejected", at=70, comment='"maybe"')),
    (RESOLVED, ["approve"], Decision(outcome="rejected", at=70, comment='["approve"]')),
    (RESOLVED, {"decision": ["approve"]}, Decision(outcome="rejected", at=70, comment='{"decision":["approve"]}')),
    (RESOLVED, {"decision": "timedout"}, Decision(outcome="rejected", at=70, comment='{"decision":"timedout"}')),
    (RESOLVED, None, Decision(outcome="rejected", at=70, comment="it was resolved without a decision")),
    (RESOLVED, APPROVED, APPROVED),
    (
        RESOLVED,
        {"decision": "approve", "by": 5, "at": "now", "comment": [], "fields": 1, "votes": VOTES},
        Decision(outcome="approved", at=70, votes=(Vote(by="ann", decision="approve", at=4, comment="ok"),)),
    ),
    (REJECTED, ValueError("too dear"), Decision(outcome="rejected", at=70, comment="too dear")),
    (REJECTED, "too dear", Decision(outcome="rejected", at=70, comment="too dear")),
    (CANCELED, None, Decision(outcome="revoked", at=70)),
    (
        CANCELED,
        {"by": "bob", "at": 6, "comment": "no longer needed"},
        Decision(outcome="revoked", by="bob", at=6, comment="no longer needed"),
    ),
    (PromiseState.TIMEDOUT, None, Decision(outcome="timedout", at=90)),
]


@pytest.mark.parametrize(("state", "value", "decision"), ANSWERS)
def test_every_end_is_a_decision(state: PromiseState, value: Any, decision: Decision) -> None:
    """Whoever settled it, and with whatever, the workflow gets a decision that it can branch on."""
    codec = Codec()
    stored = codec.encode_error(value) if isinstance(value, Exception) else codec.encode(value)
    found = decided(_promise(state, value=stored))
    assert found == decision
    assert found.approved is (decision.outcome == "approved")


@pytest.mark.parametrize("data", ["not base64!", to_data("{"), to_data("[" * 3000), to_data('{"decision": NaN}')])
def test_a_value_that_is_no_json_rejects(data: str) -> None:
    """What another program wrote never blocks the run; its text is the comment."""
    found = decided(_promise(RESOLVED, value=Value(data=data)))
    assert found.outcome == "rejected"
    assert 0 < len(found.comment) <= 2_000


def test_a_pending_approval_has_no_decision() -> None:
    """Reading too early is an error of the caller's."""
    with pytest.raises(ValueError, match="order/1:@manager is not decided"):
        decided(_promise())
