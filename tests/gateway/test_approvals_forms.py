"""What may be sent: bodies, forms and their nonce, other sites, and what counts as an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonate_web.testing.office import Office
from resonate_web.testing.visitor import FORM, Visitor, nonce_of

FIELDS = [
    {"name": "amount", "type": "number", "required": True},
    {"name": "day", "type": "date"},
    {"name": "carrier", "type": "choice", "choices": ["DHL", "DPD"]},
    {"name": "note", "type": "textarea"},
    {"name": "code"},
]


@pytest.fixture(scope="module")
def kept() -> Iterator[Office]:
    made = Office()
    made.ask("kept", fields=FIELDS)
    yield made
    made.simulation.close()


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.simulation.close()


def _sent(office: Office, answer: dict[str, Any]) -> Any:
    visitor = office.visitor()
    return visitor.post(office.link("kept:@manager"), answer)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, ["amount"]),
        ({"amount": ""}, ["amount"]),
        ({"amount": "twelve"}, ["amount"]),
        ({"amount": True}, ["amount"]),
        ({"amount": [1]}, ["amount"]),
        ({"amount": 10**20}, ["amount"]),
        ({"amount": 10**400}, ["amount"]),
        ({"amount": -(10**400)}, ["amount"]),
        ({"amount": "1" * 5000}, ["amount"]),
        ({"amount": 1, "day": "31.12.2030"}, ["day"]),
        ({"amount": 1, "day": "2030-02-30"}, ["day"]),
        ({"amount": 1, "carrier": "UPS"}, ["carrier"]),
        ({"amount": 1, "code": "x" * 1001}, ["code"]),
        ({"amount": 1, "code": 7}, ["code"]),
        ({"amount": 1, "note": "x" * 10_001}, ["note"]),
        ({"amount": 1, "color": "red", "\ud800": 1}, ["color", "?"]),
        ([1], ["fields", "amount"]),
        ("amount", ["fields", "amount"]),
    ],
)
def test_wrong_fields_are_named_one_by_one(kept: Office, fields: Any, named: list[str]) -> None:
    """422 with a message for each, and nothing is decided."""
    answer = _sent(kept, {"decision": "approve", "fields": fields})
    assert (answer.status, sorted(answer.json["errors"])) == (422, sorted(named))
    assert answer.json["type"].rpartition(":")[2] == "invalid-answer"
    assert kept.client.approvals.get("kept:@manager").votes == ()


@pytest.mark.parametrize(
    "answer", [{}, {"decision": "maybe"}, {"decision": None}, {"decision": ["approve"]}, {"decision": {}}]
)
def test_a_decision_is_approve_or_reject(kept: Office, answer: dict[str, Any]) -> None:
    """Everything else is told under `decision`."""
    assert "decision" in _sent(kept, answer).json["errors"]


def test_who_comes_late_is_not_asked_to_complete_anything(office: Office) -> None:
    """After a decision the answer is how it ended, whatever is missing; what is no decision at all is still told."""
    link = office.link(office.ask(fields=FIELDS, comment="required"))
    visitor = office.visitor()
    assert visitor.post(link, {"decision": "approve", "comment": "yes", "fields": {"amount": 1}}).status == 200
    answers = [visitor.post(link, {"decision": said}).status for said in ("approve", "reject", "maybe")]
    assert answers == [200, 409, 422]
    person = office.visitor()
    assert person.post(link, {"decision": ["approve"]}).status == 422


def test_good_fields_are_typed(office: Office) -> None:
    """Numbers are numbers, whether they came as JSON or from a form; empty fields are not there."""
    approval = office.ask(fields=FIELDS)
    inputs = {
        "decision": "approve",
        "amount": " 12.50 ",
        "day": "2030-01-31",
        "carrier": "DHL",
        "note": "a\r\nb",
        "code": "",
    }
    assert office.visitor().submit(office.link(approval), inputs).status == 303
    wanted = {"amount": 12.5, "day": "2030-01-31", "carrier": "DHL", "note": "a\nb"}
    assert office.decision()["fields"] == wanted
    office.ask("other", fields=FIELDS)
    assert (
        office.visitor().post(office.link("other:@manager"), {"decision": "approve", "fields": {"amount": 3}}).status
        == 200
    )
    assert office.decision()["fields"] == {"amount": 3}


def test_rejecting_needs_no_fields_but_a_comment_where_one_is_required(office: Office) -> None:
    """Who says no has nothing to fill in; why is asked of everybody."""
    link = office.link(office.ask(fields=FIELDS, comment="required"))
    assert list(office.visitor().post(link, {"decision": "reject", "comment": "  "}).json["errors"]) == ["comment"]
    assert office.visitor().post(link, {"decision": "reject", "comment": "too dear"}).status == 200


@pytest.mark.parametrize(("rule", "comment"), [("optional", "x" * 2001), ("none", "hello"), ("optional", 7)])
def test_comments_keep_to_their_rule(office: Office, rule: str, comment: Any) -> None:
    """At most 2,000 characters, none where none is taken, and text."""
    link = office.link(office.ask(comment=rule))
    answer = office.visitor().post(link, {"decision": "approve", "comment": comment})
    assert (answer.status, list(answer.json["errors"])) == (422, ["comment"])
    assert office.visitor().post(link, {"decision": "approve", "comment": ""}).status == 200


def test_a_form_that_is_not_accepted_keeps_what_was_typed(office: Office) -> None:
    """The page comes back with the errors, the values and a form that can be sent again."""
    link = office.link(office.ask(fields=FIELDS))
    person = office.visitor()
    page = person.submit(link, {"decision": "approve", "amount": "<twelve>", "note": "written long ago"})
    assert (page.status, page.header("content-type")) == (422, "text/html; charset=utf-8")
    assert "&lt;twelve&gt;" in page.text
    assert "written long ago" in page.text
    assert "Give a number" in page.text
    sent = person.send(link, {"nonce": nonce_of(page), "decision": "approve", "amount": "12"})
    assert sent.status == 303


def test_lone_surrogates_and_depth_are_no_fault_of_the_server(office: Office) -> None:
    """What JSON allows and a store does not is replaced or refused."""
    link = office.link(office.ask(fields=[{"name": "code"}]))
    visitor = office.visitor()
    deep = b'{"decision":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    flat = b'{"fields":' + b"[" * 120 + b"]" * 120 + b"}"
    bodies = [deep, flat, b'{"a":NaN}', b'{"a":1e999}', b"\xff", b"", b"[]", b'"x"', b'{"a":' + b"1" * 5000 + b"}"]
    for body in bodies:
        assert visitor.ask("POST", link, body, Content_Type="application/json").status == 400
    assert (
        visitor.ask(
            "POST",
            link,
            b'{"decision":"approve","comment":"\\ud800","fields":{"code":"\\udfff!"}}',
            Content_Type="application/json",
        ).status
        == 200
    )
    assert (office.decision()["comment"], office.decision()["fields"]) == ("?", {"code": "?!"})


@pytest.mark.parametrize(
    "type_", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "", "application/jsonx"]
)
def test_other_bodies_are_415(kept: Office, type_: str) -> None:
    """Only JSON and forms; a browser can send text/plain to anybody without asking."""
    body = json.dumps({"decision": "approve"}).encode()
    assert kept.visitor().ask("POST", kept.link("kept:@manager"), body, Content_Type=type_).status == 415


def test_large_bodies_are_413(kept: Office) -> None:
    """Whether the length was told or not, and however long the number is."""
    link, visitor = kept.link("kept:@manager"), kept.visitor()
    large = b'{"comment":"' + b"x" * 1_048_576 + b'"}'
    assert visitor.ask("POST", link, large, Content_Type="application/json").status == 413
    for told in ("1048577", "9" * 5000):
        assert visitor.ask("POST", link, b"{}", Content_Type="application/json", Content_Length=told).status == 413


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422),
        ({"Origin": "https://shop.example"}, 422),
        ({"Origin": "https://SHOP.example:443"}, 422),
        ({"Origin": "http://internal:8000"}, 422),
        ({"Origin": "http://shop.example"}, 403),
        ({"Origin": "https://shop.example.evil"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "https://shop.example:99999"}, 403),
        ({"Origin": "https://[half"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "Cross-Site", "Origin": "https://shop.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 422),
        ({"Sec-Fetch-Site": "none"}, 422),
    ],
)
def test_other_sites_are_refused(kept: Office, fields: dict[str, str], status: int) -> None:
    """Our own origin is the one that the framework sees, or that of RESONATE_BASE_URL."""
    visitor = Visitor(kept.gateway, origin="http://internal:8000")
    assert visitor.post(kept.link("kept:@manager"), {}, **fields).status == status


def test_a_form_needs_its_nonce_and_its_cookie(office: Office) -> None:
    """Without the page, with somebody else's nonce, with that of another approval, without the cookie: 403."""
    link, other = office.link(office.ask("a")), office.link(office.ask("b"))
    person, stranger = office.visitor(), office.visitor()
    nonce, foreign = nonce_of(person.page(link)), nonce_of(stranger.page(link))
    wrong = [{}, {"nonce": ""}, {"nonce": foreign}, {"nonce": nonce_of(person.page(other))}, {"nonce": nonce + "x"}]
    for inputs in wrong:
        assert person.send(link, {**inputs, "decision": "approve"}).status == 403
    assert office.visitor().send(link, {"nonce": nonce, "decision": "approve"}).status == 403
    assert office.client.approvals.get("a:@manager").state == "pending"
    assert person.send(link, {"nonce": nonce, "decision": "approve"}).status == 303


def test_the_cookie_is_kept_and_guarded(office: Office) -> None:
    """One cookie for all pages: HttpOnly, SameSite=Lax, Secure where the site is; an odd one is replaced."""
    link = office.link(office.ask())
    person = office.visitor()
    assert "; Path=/; HttpOnly; SameSite=Lax; Secure" in (person.page(link).header("set-cookie") or "")
    assert person.page(link).header("set-cookie") is None
    plain = Visitor(office.gateway, origin="http://localhost:5000", cookies={"resonate_form": "x; y"})
    assert "Secure" not in (plain.page(link).header("set-cookie") or "Secure")
    assert person.get(link).header("set-cookie") is None


def test_the_first_input_of_a_name_counts(office: Office) -> None:
    """A second `decision` that somebody has added to the form changes nothing."""
    link = office.link(office.ask())
    person = office.visitor()
    inputs = [("nonce", nonce_of(person.page(link))), ("decision", "reject"), ("decision", "approve")]
    assert person.send(link, inputs).status == 303
    assert office.decision()["decision"] == "reject"
    many = b"&".join(b"a%d=1" % number for number in range(5000))
    assert person.ask("POST", link, many, Content_Type=FORM).status == 400


@given(token=st.text(max_size=300))
def test_no_text_in_a_link_is_a_fault(kept: Office, token: str) -> None:
    """Whatever stands in the place of a token is 404, and nothing is written."""
    visitor = kept.visitor()
    path = "/approvals/" + token.replace("?", "").replace("#", "").replace("%", "")
    try:
        path.encode()
    except UnicodeEncodeError:
        return
    assert visitor.get(path).status == 404
    assert visitor.ask("POST", path, b"{}", Content_Type="application/json").status == 404


@given(
    body=st.binary(max_size=200),
    type_=st.sampled_from(["application/json", FORM, "text/plain", FORM + "; charset=utf-7"]),
)
def test_no_body_is_a_fault(kept: Office, body: bytes, type_: str) -> None:
    """Whatever is sent is refused as what it is."""
    answer = kept.visitor().ask("POST", kept.link("kept:@manager"), body, Content_Type=type_)
    assert answer.status in (400, 403, 415, 422)
