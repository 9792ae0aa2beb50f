"""Cases of canceling runs, and of machines that settle promises."""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.gateway.signing import APPROVAL, STATUS
from resonate_web.testing.http_cases_approvals import asked
from resonate_web.testing.http_driver import Site, encoded, path_of

UNSIGNED = "urn:resonate-web:problem:not-signed"
OTHER_KEY = "whsec_YW5vdGhlciBrZXkgdGhhbiB0aGUgb25lIGhlcmU="


def a_link_cancels_a_run(site: Site) -> None:
    """202 and the document; again 200 with what is recorded; the run has ended so."""
    status = waiting(site)
    first = site.ask("POST", site.cancel_link(site.id()))
    assert (first.status, first.json["status"], first.json["done"]) == (202, "canceled", True)
    again = site.ask("POST", site.cancel_link(site.id()))
    assert (again.status, again.body) == (200, first.body)
    assert site.ask("GET", status).json["error"]["type"] == "Canceled"


def what_has_ended_is_not_canceled(site: Site) -> None:
    """200 with the unchanged document."""
    done = site.reached(site.start("orders", told=False).headers["Location"], told=False)
    answer = site.ask("POST", site.cancel_link(site.id()), {})
    assert (answer.status, answer.body) == (200, done.body)


def who_may_read_may_not_cancel(site: Site) -> None:
    """Without a signature, with that of the status, of another run or purpose: the 404 of unknown runs."""
    status = path_of(waiting(site))
    path, _, signature = status.partition("?")
    unknown = site.ask("POST", site.cancel_link("nobody"))
    assert unknown.status == 404
    for target in (
        f"{path}/cancel",
        f"{path}/cancel?{signature}",
        site.cancel_link(site.id(), STATUS),
        site.cancel_link(site.id(), APPROVAL),
        f"{path}/cancel?{site.cancel_link(site.id('2')).partition('?')[2]}",
        f"{site.cancel_link(site.id())}x",
    ):
        answer = site.ask("POST", target)
        assert (answer.status, answer.body) == (404, unknown.body), target
    assert site.ask("GET", status, told=False).json["status"] == "waiting"


def a_person_cancels_by_a_form(site: Site) -> None:
    """The link leads to the page with a form; sent, it is 303 to the page; a GET cancels nothing."""
    status = waiting(site)
    link = site.cancel_link(site.id())
    opened = site.ask("GET", link, Accept="text/html")
    assert (opened.status, opened.body) == (303, b"")
    assert site.ask("GET", status, told=False).json["status"] == "waiting"
    nonce, fields = site.form(opened.headers["Location"])
    assert site.ask("POST", link, encoded(), **fields).status == 403
    sent = site.ask("POST", link, encoded(nonce=nonce), **fields)
    assert (sent.status, path_of(sent.headers["Location"])) == (303, path_of(status))
    assert site.ask("GET", status, told=False).json["status"] == "canceled"


def other_sites_cancel_nothing(site: Site) -> None:
    """The rule of approvals: cross-site 403, unknown content 415."""
    status = waiting(site)
    link = site.cancel_link(site.id())
    for fields in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": "null"}, {"Origin": "https://evil.example"}):
        assert site.ask("POST", link, **fields).status == 403
    assert site.ask("POST", link, b"x=y", Content_Type="text/plain").status == 415
    assert site.ask("DELETE", link).status == 405
    assert site.ask("GET", status, told=False).json["status"] == "waiting"


def odd_ids_are_canceled(site: Site) -> None:
    """An id that ends as the route does, and other odd ones."""
    for odd in ("a b/50%/ü", "cancel", "x/cancel", "a?b#c+d;e"):
        id = f"{site.id()}/{odd}"
        site.reached(site.post("/waits", {"id": id}, told=False).headers["Location"], "waiting", told=False)
        answer = site.ask("POST", site.cancel_link(id))
        assert (answer.status, answer.json["id"]) == (202, id)


def a_machine_resolves_a_promise(site: Site) -> None:
    """200 with the state; the run goes on with the value; the same again is 200 with the same bytes."""
    status = waiting(site)
    first = site.signed(gate(site), "resolve", {"value": {"paid": True, "by": "Zoë"}})
    assert (first.status, first.json["state"]) == (200, "resolved")
    assert site.reached(status).json["result"] == {"paid": True, "by": "Zoë"}
    again = site.signed(gate(site), "resolve", {"value": {"paid": True, "by": "Zoë"}})
    assert (again.status, again.body) == (200, first.body)


def a_machine_rejects_a_promise(site: Site) -> None:
    """The run meets an error with that message."""
    status = waiting(site)
    assert site.signed(gate(site), "reject", {"error": "no stock"}).json["state"] == "rejected"
    found = site.reached(status).json
    assert (found["status"], found["error"]["message"]) == ("failed", "no stock")


def a_machine_cancels_a_promise(site: Site) -> None:
    """No value is asked for."""
    status = waiting(site)
    assert site.signed(gate(site), "cancel", {}).json["state"] == "rejected_canceled"
    assert site.reached(status).json["done"] is True


def another_settlement_is_409(site: Site) -> None:
    """Another value or action meets the first."""
    waiting(site)
    site.signed(gate(site), "resolve", {"value": 1})
    for action, document in (("resolve", {"value": 2}), ("reject", {"error": "no"}), ("cancel", {})):
        answer = site.signed(gate(site), action, document)
        assert (answer.status, answer.json["state"]) == (409, "resolved")


def unsigned_messages_are_401(site: Site) -> None:
    """No signature, another key, an old one, one for another promise, action or body."""
    status = waiting(site)
    waiting(site, "2")
    good = {"value": 1}
    id = gate(site)
    answers = [
        site.ask("POST", f"/promises/{id}/resolve", good),
        site.signed(id, "resolve", good, key=OTHER_KEY),
        site.signed(id, "resolve", good, age_s=3600),
        site.signed(id, "resolve", good, age_s=-3600),
        site.signed(id, "resolve", good, about="msg_1"),
        site.signed(id, "resolve", good, about=f"{id}:reject"),
        site.signed(id, "resolve", good, about=f"{gate(site, '2')}:resolve"),
        site.signed(id, "resolve", good, sent={"value": 2}),
    ]
    assert [(answer.status, answer.json["type"]) for answer in answers] == [(401, UNSIGNED)] * len(answers)
    assert site.ask("GET", status, told=False).json["status"] == "waiting"


def only_named_promises_are_settled(site: Site) -> None:
    """A run, a step, an approval, a vote, or nothing at all: 404 with a good signature, and the same bytes."""
    waiting(site)
    asked(site, "2")
    unknown = site.signed(f"{site.id('nobody')}:@gate", "resolve", {"value": 1})
    assert unknown.status == 404
    for id in (site.id(), f"{site.id('2')}:1", f"{site.id('2')}:@manager", f"{site.id('2')}:@manager.1", "~key/x"):
        answer = site.signed(id, "resolve", {"value": 1})
        assert (answer.status, answer.body) == (404, unknown.body), id
    assert site.ask("GET", f"/promises/{gate(site)}/resolve").status == 405


def values_are_checked(site: Site) -> None:
    """422 by the promise's schema, naming each mistake; 400 for what cannot be read."""
    schema = {"type": "object", "required": ["paid"], "properties": {"paid": {"type": "boolean"}}}
    status = site.start("waits", told=False, order={"schema": schema}).headers["Location"]
    site.reached(status, "waiting", told=False)
    for value in ({}, {"paid": "yes"}, 5, None):
        answer = site.signed(gate(site), "resolve", {"value": value})
        assert (answer.status, answer.json["type"]) == (422, "urn:resonate-web:problem:invalid-value")
    for body in (b"", b"{", b"[]", b"{}", b"\xff"):
        assert site.signed(gate(site), "resolve", body).status in (400, 401), body
    assert site.signed(gate(site), "reject", {"value": 1}).status == 400
    assert site.signed(gate(site), "resolve", {"value": {"paid": True}}).status == 200
    assert site.reached(status).json["result"] == {"paid": True}


def odd_ids_are_settled(site: Site) -> None:
    """Inner slashes, percent signs, blanks, other scripts, and ids that end as a route does."""
    for odd in ("a b/50%", "ü/日本", "x/resolve", "a?b#c+d"):
        id = f"{site.id()}/{odd}"
        status = site.post("/waits", {"id": id}, told=False).headers["Location"]
        site.reached(status, "waiting", told=False)
        answer = site.signed(f"{id}:@gate", "resolve", {"value": odd})
        assert (answer.status, answer.json["id"]) == (200, f"{id}:@gate")
        assert site.reached(status, told=False).json["result"] == odd


def waiting(site: Site, tail: str = "1") -> str:
    """Start a run that waits for its gate; return the link of its status."""
    link = site.start("waits", tail, told=False).headers["Location"]
    site.reached(link, "waiting", told=False)
    return link


def gate(site: Site, tail: str = "1") -> str:
    """Return the id of the promise for which a run waits."""
    return f"{site.id(tail)}:@gate"


CALLBACK_CASES: tuple[Callable[[Site], None], ...] = (
    a_link_cancels_a_run,
    what_has_ended_is_not_canceled,
    who_may_read_may_not_cancel,
    a_person_cancels_by_a_form,
    other_sites_cancel_nothing,
    odd_ids_are_canceled,
    a_machine_resolves_a_promise,
    a_machine_rejects_a_promise,
    a_machine_cancels_a_promise,
    another_settlement_is_409,
    unsigned_messages_are_401,
    only_named_promises_are_settled,
    values_are_checked,
    odd_ids_are_settled,
)
