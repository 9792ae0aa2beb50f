"""Cases of deciding an approval: by program and by form, again and otherwise, and from other sites."""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.testing.http_cases_approvals import asked, ordered
from resonate_web.testing.http_driver import FORM_TYPE, Site, encoded

FORGED = "urn:resonate-web:problem:forged"


def a_program_decides(site: Site) -> None:
    """200 with the outcome, and the run goes on with it."""
    link = asked(site)
    answer = site.ask("POST", link, {"decision": "approve", "comment": "go ahead"})
    assert (answer.status, answer.json["state"]) == (200, "approved")
    ended = site.reached(site.start("approve", told=False).headers["Location"])
    result = ended.json["result"]
    assert (result["outcome"], result["comment"]) == ("approved", "go ahead")
    assert ended.json["approvals"][0]["state"] == "approved"


def the_same_decision_again_is_200(site: Site) -> None:
    """Whoever sends it twice, by whichever way, changes nothing."""
    link = asked(site)
    first = site.ask("POST", link, {"decision": "reject", "comment": "too much"})
    again = site.ask("POST", link, {"decision": "reject", "comment": "still too much"})
    assert (again.status, again.body) == (200, first.body)
    assert again.json["outcome"]["comment"] == "too much"


def another_decision_names_the_first(site: Site) -> None:
    """409 with what was decided, by whom and when; the first stands."""
    link = asked(site, approvers=["ada", "bob"], to="ada")
    site.ask("POST", link, {"decision": "approve"})
    for target in (link, site.mailed(site.id(), "bob")):
        late = site.ask("POST", target, {"decision": "reject"})
        assert (late.status, late.json["type"]) == (409, "urn:resonate-web:problem:already-decided")
        assert (late.json["decision"], late.json["by"]) == ("approve", "ada")
        assert late.json["at"]
    assert site.ask("GET", link).json["state"] == "approved"


def everybody_of_a_quorum_has_one_vote(site: Site) -> None:
    """Two of three approve; one person's second vote counts nothing."""
    link = asked(site, approvers=["ada", "bob", "eve"], quorum=2, to="ada")
    first = site.ask("POST", link, {"decision": "approve"})
    assert (first.status, first.json["state"], first.json["your_vote"]["by"]) == (200, "pending", "ada")
    assert site.ask("POST", link, {"decision": "approve"}).json["state"] == "pending"
    assert site.ask("POST", link, {"decision": "reject"}).status == 409
    second = site.ask("POST", site.mailed(site.id(), "bob"), {"decision": "approve"})
    assert (second.json["state"], [vote["by"] for vote in second.json["votes"]]) == ("approved", ["ada", "bob"])


def one_rejection_of_a_quorum_decides(site: Site) -> None:
    """Whatever the others said."""
    link = asked(site, approvers=["ada", "bob"], quorum=2, to="ada")
    site.ask("POST", link, {"decision": "approve"}, told=False)
    answer = site.ask("POST", site.mailed(site.id(), "bob"), {"decision": "reject"})
    assert answer.json["state"] == "rejected"


def fields_are_checked_and_told(site: Site) -> None:
    """Each mistake by the name of its field, all at once; what is right reaches the run."""
    fields = {
        "amount": {"type": "number", "required": True},
        "day": "date",
        "size": {"type": "choice", "choices": ["S"]},
    }
    link = asked(site, fields=fields, comment="required")
    wrong = [
        {},
        {"decision": "maybe", "comment": "x"},
        {"decision": "approve", "comment": "x"},
        {"decision": "approve", "comment": "", "fields": {"amount": 1}},
        {"decision": "approve", "comment": "x", "fields": {"amount": "much", "day": "31.12.", "size": "XL", "no": 1}},
        {"decision": "approve", "comment": "x", "fields": []},
        {"decision": "approve", "comment": 5, "fields": {"amount": 1}},
    ]
    for document in wrong:
        answer = site.ask("POST", link, document)
        assert (answer.status, answer.json["type"]) == (422, "urn:resonate-web:problem:invalid-answer"), document
    said = {"amount": 12.5, "day": "2026-12-31", "size": "S"}
    assert site.ask("POST", link, {"decision": "approve", "comment": "ok", "fields": said}).status == 200
    start = site.start("approve", told=False, order=ordered(fields=fields, comment="required"))
    assert site.reached(start.headers["Location"]).json["result"]["fields"] == said


def a_form_decides(site: Site) -> None:
    """303 to the page, which then shows the outcome; sent again it is 303 again."""
    link = asked(site)
    nonce, fields = site.form(link)
    body = encoded(decision="approve", comment="grüße\r\nund mehr", nonce=nonce)
    for _ in range(2):
        sent = site.ask("POST", link, body, **fields)
        assert (sent.status, sent.body) == (303, b"")
        assert sent.headers["Location"] in link
        assert sent.headers["Cache-Control"] == "no-store"
    page = site.ask("GET", link, Accept="text/html")
    assert "grüße" in page.body.decode()
    assert b'name="nonce"' not in page.body
    assert site.ask("GET", link, told=False).json["outcome"]["comment"] == "grüße\nund mehr"


def a_form_that_comes_too_late_is_409(site: Site) -> None:
    """A page with what was decided before."""
    link = asked(site)
    nonce, fields = site.form(link)
    site.ask("POST", link, {"decision": "approve"}, told=False)
    late = site.ask("POST", link, encoded(decision="reject", nonce=nonce), **fields)
    assert (late.status, late.headers["Content-Type"]) == (409, "text/html; charset=utf-8")


def a_form_with_mistakes_comes_back(site: Site) -> None:
    """422: the page again, with what was filled in and what is wrong; then it is sent once more."""
    link = asked(site, comment="required", fields={"amount": {"type": "number", "required": True}})
    nonce, fields = site.form(link)
    wrong = site.ask("POST", link, encoded(decision="approve", amount="<b>much", nonce=nonce), **fields)
    assert (wrong.status, wrong.headers["Content-Type"]) == (422, "text/html; charset=utf-8")
    assert b"&lt;b&gt;much" in wrong.body
    body = encoded(decision="approve", amount="3", comment="ok", nonce=nonce)
    assert site.ask("POST", link, body, **fields).status == 303


def a_form_needs_its_nonce_and_cookie(site: Site) -> None:
    """403 without the nonce, without the cookie, with those of another approval, or of another browser."""
    link, other = asked(site), asked(site, "2")
    nonce, fields = site.form(link)
    foreign, others = site.form(other)
    cookieless = {name: value for name, value in fields.items() if name != "Cookie"}
    body = encoded(decision="approve", nonce=nonce)
    tries = [
        (encoded(decision="approve"), fields),
        (encoded(decision="approve", nonce=""), fields),
        (encoded(decision="approve", nonce=foreign), fields),
        (body, cookieless),
        (body, {**fields, "Cookie": "resonate_form="}),
        (body, {**fields, "Cookie": f"resonate_form={'A' * 22}"}),
        (encoded(decision="approve", nonce=foreign), others),
    ]
    for sent, with_fields in tries:
        answer = site.ask("POST", link, sent, **{**with_fields, "Accept": "application/json"})
        assert (answer.status, answer.json["type"]) == (403, FORGED)
    assert site.ask("GET", link, told=False).json["state"] == "pending"


def a_form_belongs_to_a_person(site: Site) -> None:
    """A nonce that was given to one login is not taken from another in the same browser."""
    link = asked(site, require_login=True, approvers=["ada", "bob"])
    nonce, fields = site.form(link, X_User="ada")
    body = encoded(decision="approve", nonce=nonce)
    assert site.ask("POST", link, body, **{**fields, "X_User": "bob", "Accept": "*/*"}).status == 403
    assert site.ask("POST", link, body, **fields).status == 303


def other_sites_are_refused(site: Site) -> None:
    """Cross-site requests and foreign origins are 403 whatever they carry; our own are taken."""
    link = asked(site)
    ours = f"http://127.0.0.1:{site.server.port}"
    for fields in (
        {"Sec_Fetch_Site": "cross-site"},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://shop.example.evil.example"},
        {"Origin": "https://shop.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "nonsense"},
        {"Origin": ours, "Sec_Fetch_Site": "cross-site"},
    ):
        answer = site.ask("POST", link, {"decision": "approve"}, **fields)
        assert (answer.status, answer.json["type"]) == (403, FORGED), fields
    assert site.ask("GET", link, told=False, Sec_Fetch_Site="cross-site").json["state"] == "pending"
    for fields in ({"Origin": "http://shop.example"}, {"Origin": ours}, {"Sec_Fetch_Site": "same-origin"}):
        assert site.ask("POST", link, {"decision": "approve"}, **fields).status == 200, fields


def other_bodies_are_refused(site: Site) -> None:
    """415 for what is neither JSON nor a form, 400 for what cannot be read, 413 for too much."""
    link = asked(site)
    good = b'{"decision": "approve"}'
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-json", "text/html"):
        assert site.ask("POST", link, good, Content_Type=kind).status == 415, kind
    for body in (b"", b"{", b"[]", b'"approve"', b"\xff", b'{"decision": NaN}', b'{"a": ' * 200 + b"1" + b"}" * 200):
        answer = site.ask("POST", link, body, Content_Type="application/json")
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json"), body
    large = b'{"decision": "approve", "comment": "%s"}' % (b"x" * 70_000)
    assert site.ask("POST", link, large, Content_Type="application/json").status == 413
    assert site.ask("POST", link, large, Content_Type=FORM_TYPE).status == 413
    assert site.ask("GET", link, told=False).json["state"] == "pending"
    assert site.ask("POST", link, good, Content_Type="Application/JSON; charset=utf-8").status == 200


def texts_are_kept_and_escaped(site: Site) -> None:
    """A comment is shown as it was written, whatever is in it."""
    link = asked(site)
    comment = "<script>alert('1')</script> & 'zwölf' 😀"
    assert site.ask("POST", link, {"decision": "reject", "comment": comment}).json["outcome"]["comment"] == comment
    page = site.ask("GET", link, told=False, Accept="text/html").body.decode()
    assert "<script>alert" not in page
    assert "zwölf" in page


DECISION_CASES: tuple[Callable[[Site], None], ...] = (
    a_program_decides,
    the_same_decision_again_is_200,
    another_decision_names_the_first,
    everybody_of_a_quorum_has_one_vote,
    one_rejection_of_a_quorum_decides,
    fields_are_checked_and_told,
    a_form_decides,
    a_form_that_comes_too_late_is_409,
    a_form_with_mistakes_comes_back,
    a_form_needs_its_nonce_and_cookie,
    a_form_belongs_to_a_person,
    other_sites_are_refused,
    other_bodies_are_refused,
    texts_are_kept_and_escaped,
)
