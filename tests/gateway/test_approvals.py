"""Approvals over HTTP: who opens a link, and what a decision does, on the real client in a simulated process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resonate_web import ConfigError
from resonate_web.gateway.routes import Gateway
from resonate_web.testing.office import KEYS, Office
from resonate_web.testing.simulation import settings_for_tests
from resonate_web.testing.visitor import PAGE, Visitor, nonce_of

DAY = 24 * 3600 * 1000


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.simulation.close()


def test_a_link_shows_the_question_and_decides_it(office: Office) -> None:
    """JSON in, JSON out, and the workflow goes on with who decided what."""
    approval = office.ask(summary="Order 42", days=3)
    link, somebody = office.link(approval), office.visitor()
    assert link.startswith("https://shop.example/approvals/")
    shown = somebody.get(link).json
    assert (shown["id"], shown["run"], shown["name"], shown["summary"]) == (approval, "order/42", "manager", "Order 42")
    assert (shown["state"], shown["outcome"], shown["votes"], shown["quorum"]) == ("pending", None, [], 1)
    answer = somebody.post(link, {"decision": "approve", "comment": " fine "})
    assert (answer.status, answer.json["state"], answer.json["outcome"]["comment"]) == (200, "approved", "fine")
    assert answer.header("cache-control") == "no-store"
    decision = office.decision()
    assert (decision["decision"], decision["by"], decision["comment"]) == ("approve", "link", "fine")


def test_a_browser_gets_a_page_and_303(office: Office) -> None:
    """The page has a form, the form's success leads back to the page, and the page then says what was decided."""
    link = office.link(office.ask(summary="Order <42>"))
    person = office.visitor()
    page = person.page(link)
    assert page.header("content-type") == "text/html; charset=utf-8"
    assert "Order &lt;42&gt;" in page.text
    sent = person.submit(link, {"decision": "reject", "comment": "too dear"})
    assert (sent.status, sent.header("location")) == (303, link.removeprefix("https://shop.example"))
    after = person.page(link)
    assert "too dear" in after.text
    assert 'name="nonce"' not in after.text
    assert office.decision()["decision"] == "reject"


def test_looking_changes_nothing(office: Office) -> None:
    """1,000 times GET, HEAD, OPTIONS and prefetch: promise, votes, run and audit stay, but for one `viewed`."""
    approval = office.ask(approvers=["ann", "bob"], quorum=2)
    link = office.link(approval, "ann")
    visitor = office.visitor()
    before = (office.client.record(approval), office.client.record("order/42"))
    for _ in range(100):
        for name in ("Sec-Purpose", "Purpose"):
            assert visitor.get(link, **{name: "prefetch"}).status == 200
        assert visitor.get(link, Sec_Purpose="prefetch;prerender").status == 200
        assert visitor.ask("HEAD", link).status == 200
        assert visitor.ask("HEAD", link, Accept=PAGE).status == 200
        assert visitor.ask("OPTIONS", link).status == 204
    assert office.kinds(approval) == ["created"]
    for _ in range(200):
        assert visitor.page(link).status == visitor.get(link, User_Agent="Scanner/1.0").status == 200
    view = office.client.approvals.get(approval)
    assert (view.promise, office.client.record("order/42"), view.votes) == (*before, ())
    assert office.kinds(approval) == ["created", "viewed"]


def test_the_same_again_is_200_and_another_decision_409(office: Office) -> None:
    """The first decision stands, whoever comes later; 409 names who decided what, when."""
    link = office.link(office.ask())
    first, second = office.visitor("user:7"), office.visitor("user:8")
    assert first.post(link, {"decision": "approve", "comment": "yes"}).status == 200
    again = first.post(link, {"decision": "approve", "comment": "another"})
    assert (again.status, again.json["outcome"]["comment"]) == (200, "yes")
    late = second.post(link, {"decision": "reject"})
    assert (late.status, late.header("content-type")) == (409, "application/problem+json")
    assert (late.json["by"], late.json["decision"], late.json["comment"]) == ("user:7", "approve", "yes")
    assert late.json["at"] == again.json["outcome"]["at"]
    assert second.post(link, {"decision": "approve"}).status == 200


def test_a_late_form_gets_the_page_with_what_was_decided(office: Office) -> None:
    """Two people have the page open; the second one sees what the first one did."""
    link = office.link(office.ask())
    first, second = office.visitor(), office.visitor()
    nonce = nonce_of(second.page(link))
    assert first.submit(link, {"decision": "approve"}).status == 303
    late = second.send(link, {"nonce": nonce, "decision": "reject"})
    assert (late.status, late.header("content-type")) == (409, "text/html; charset=utf-8")
    assert "Approved" in late.text


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda token: token[:-1], 404),
        (lambda token: token + "A", 404),
        (lambda token: token.rpartition(".")[0], 404),
        (lambda token: "A" + token, 404),
        (lambda token: token.partition(".")[0] + ".99999999999999." + token.rpartition(".")[2], 404),
        (lambda token: "", 404),
        (lambda token: "é.日.💥", 404),
    ],
)
def test_a_spoilt_link_is_404(office: Office, spoil: Any, status: int) -> None:
    """Forged and cut links are unknown, with the bytes of every other 404."""
    link = office.link(office.ask())
    head, _, token = link.rpartition("/")
    visitor = office.visitor()
    answers = [visitor.get(f"{head}/{spoil(token)}"), visitor.post(f"{head}/{spoil(token)}", {"decision": "approve"})]
    assert [answer.status for answer in answers] == [status, status]
    assert answers[0].body == visitor.get("https://shop.example/status/order/43?sig=x").body


def test_a_signature_of_another_purpose_opens_nothing(office: Office) -> None:
    """A token made for something else, with our own key, is 404."""
    approval = office.ask()
    signer = office.gateway.access._signer
    for purpose in ("status", "cancel", "form"):
        token = signer.token(purpose, f'["{approval}",""]', office.client.now() + DAY)
        assert office.visitor().get(f"/approvals/{token}").status == 404


def test_a_key_that_was_dropped_opens_nothing_and_an_older_one_does(office: Office) -> None:
    """Links of a fallback key still open; without the key they are unknown."""
    approval = office.ask()
    link = office.link(approval)
    for keys, status in (((*KEYS, "an even newer key, signing"), 200), (("another key altogether",), 404)):
        other = office.simulation.client(f"p{status}", settings=settings_for_tests(signing_keys=keys))
        visitor = Visitor(Gateway(other))
        assert (visitor.get(link).status, visitor.post(link, {"decision": "maybe"}).status) == (
            status,
            422 if status == 200 else 404,
        )


def test_an_expired_link_is_410(office: Office) -> None:
    """90 days after the deadline the link is over; between the two it tells how the approval ended."""
    approval = office.ask(days=3)
    link, visitor = office.link(approval), office.visitor()
    office.simulation.clock.advance(4 * DAY)
    office.simulation.run_until_idle()
    late = visitor.get(link)
    assert (late.status, late.json["state"], late.json["outcome"]["decision"]) == (200, "timedout", "timedout")
    gone = visitor.post(link, {"decision": "approve"})
    assert (gone.status, gone.json["type"].rpartition(":")[2], gone.json["decision"]) == (
        410,
        "approval-timed-out",
        "timedout",
    )
    assert office.decision()["decision"] == "timedout"
    office.simulation.clock.advance(90 * DAY)
    assert [visitor.get(link).status, visitor.page(link).status] == [410, 410]
    assert visitor.post(link, {"decision": "approve"}).json["type"].rpartition(":")[2] == "link-expired"


def test_a_revoked_approval_is_410_and_the_run_goes_on(office: Office) -> None:
    """All its links are gone, and the workflow sees the outcome `revoked`, and who withdrew it."""
    approval = office.ask()
    link, visitor = office.link(approval), office.visitor()
    nonce = nonce_of(visitor.page(link))
    assert office.client.approvals.revoke(approval, by="boss").state == "revoked"
    assert [visitor.get(link).status, visitor.page(link).status] == [410, 410]
    assert visitor.post(link, {"decision": "approve"}).status == 410
    assert visitor.send(link, {"decision": "approve", "nonce": nonce}).status == 410
    assert (office.decision()["decision"], office.decision()["by"]) == ("revoked", "boss")
    assert office.kinds(approval) == ["created", "viewed", "revoked"]


def test_one_link_is_revoked_and_replaced(office: Office) -> None:
    """The other approver's link and the new one are good, also when the new one is revoked in turn."""
    approval = office.ask(approvers=["ann", "bob"], quorum=2)
    visitor, approvals = office.visitor(), office.client.approvals
    others = office.link(approval, "bob")
    links = []
    for _ in range(3):
        links.append(office.link(approval, "ann"))
        assert [visitor.get(link).status for link in links] == [*[410] * (len(links) - 1), 200]
        approvals.revoke_link(approval, "ann")
    assert len(set(links)) == 3
    assert {visitor.get(link).status for link in links} == {410}
    assert visitor.post(links[-1], {"decision": "approve"}).status == 410
    assert visitor.get(others).status == 200


def test_a_link_needs_an_address_to_lead_to() -> None:
    """Without RESONATE_BASE_URL the error names the setting."""
    office = Office(base_url=None)
    approval = office.ask()
    with pytest.raises(ConfigError, match="RESONATE_BASE_URL"):
        office.link(approval)
    office.simulation.close()


@pytest.mark.parametrize("id", ["a/b c", "50%25", "ü/日本", "a?b#c;d", "a+b", "x" * 200, "é" * 200])
def test_odd_run_ids_have_links(office: Office, id: str) -> None:
    """Whatever a run is called, its link is a plain word and decides it."""
    link = office.link(office.ask(id, approvers=["Zoë Ünal <z@x.example>"]), "Zoë Ünal <z@x.example>")
    assert link.isascii()
    assert office.visitor().post(link, {"decision": "approve"}).json["run"] == id
    assert office.decision()["by"] == "Zoë Ünal <z@x.example>"


def test_a_prefix_and_a_mount_point_are_part_of_the_page(office: Office) -> None:
    """Below a prefix and a mount point, the form leads back to the page, and its cookie is for our paths."""
    office = Office(prefix="/durable", base_url="https://shop.example/sub")
    link = office.link(office.ask())
    assert link.startswith("https://shop.example/sub/durable/approvals/")
    person = Visitor(office.gateway, root="/sub")
    assert "Path=/sub/durable; HttpOnly; SameSite=Lax; Secure" in (person.page(link).header("set-cookie") or "")
    assert person.submit(link, {"decision": "approve"}).header("location") == link.removeprefix("https://shop.example")
    office.simulation.close()


def test_a_decision_before_the_wait_is_kept(office: Office) -> None:
    """Somebody may decide before the workflow gets to wait; it then goes on at once."""

    def busy(ctx: Any) -> Any:
        approval = yield ctx.approval("manager")
        yield ctx.sleep(60)
        return (yield approval).by

    office.client.register(busy)
    handle = office.client.begin_run("busy", busy)
    office.simulation.run_until_idle()
    assert office.visitor("user:1").post(office.link("busy:@manager"), {"decision": "approve"}).status == 200
    office.simulation.pass_time(61_000)
    assert handle.result() == "user:1"


def test_the_status_document_lists_approvals_without_links(office: Office) -> None:
    """By name, state and summary; who decided and when is told after it."""
    link = office.link(office.ask(summary="Order 42", days=3))
    visitor, status = office.visitor(), office.gateway.status_url("order/42")
    before = visitor.get(status)
    assert "/approvals/" not in before.text
    [asked], [step] = before.json["approvals"], before.json["steps"]
    assert (asked["name"], asked["state"], asked["summary"], asked["decided_by"]) == (
        "manager",
        "pending",
        "Order 42",
        None,
    )
    assert (step["kind"], step["status"]) == ("approval", "waiting")
    visitor.post(link, {"decision": "reject"})
    office.simulation.run_until_idle()
    [asked] = visitor.get(status).json["approvals"]
    assert (asked["state"], asked["decided_by"]) == ("rejected", "link")
    assert asked["decided_at"] is not None


def test_the_status_document_counts_votes(office: Office) -> None:
    """How many have voted, not who or what; the document, and its ETag, change with each vote."""
    approval = office.ask(approvers=["ann", "bob", "cem"], quorum=2)
    visitor, status = office.visitor(), office.gateway.status_url("order/42")
    before = visitor.get(status)
    visitor.post(office.link(approval, "ann"), {"decision": "approve", "comment": "between us"})
    after = visitor.get(status)
    assert [one.json["approvals"][0]["votes"] for one in (before, after)] == [0, 1]
    assert before.header("etag") != after.header("etag")
    assert "between us" not in after.text
