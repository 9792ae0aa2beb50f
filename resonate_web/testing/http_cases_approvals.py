"""Cases of approval links: who may see the question, and that looking at it decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resonate_web.gateway.signing import STATUS
from resonate_web.testing.http_driver import Site, path_of
from resonate_web.testing.http_flows import KEYS

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


def the_question_as_json(site: Site) -> None:
    """What is asked, by which rules, and how it stands."""
    link = asked(site, approvers=["ada", "bob"], quorum=2, comment="required", fields={"cost_center": "text"}, to="ada")
    answer = site.ask("GET", link)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert (answer.json["state"], answer.json["quorum"], answer.json["votes"]) == ("pending", 2, [])
    assert answer.json["summary"] == f"Order {site.id()}"
    assert b"/approvals/" not in answer.body


def the_question_as_a_page(site: Site) -> None:
    """A form with a nonce, a cookie for it, and the fields that keep the page private."""
    answer = site.ask("GET", asked(site), Accept=BROWSER)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert b'method="post"' in answer.body
    assert b"<script>" not in answer.body


def looking_decides_nothing(site: Site) -> None:
    """GET, HEAD and OPTIONS, as often as they come, with whatever in the query, as whatever client."""
    link = asked(site)
    before = site.ask("GET", link, told=False)
    for number in range(10):
        accept = BROWSER if number % 2 else "application/json"
        for method in ("GET", "HEAD", "OPTIONS"):
            looked = site.ask(
                method, f"{link}?decision=approve", told=number < 2, Accept=accept, Sec_Purpose="prefetch"
            )
            assert looked.status == (204 if method == "OPTIONS" else 200)
    assert site.ask("GET", link, told=False).body == before.body
    assert site.ask("DELETE", link).status == 405


def the_status_lists_approvals_without_links(site: Site) -> None:
    """Whoever may see the run may not decide for that reason."""
    asked(site)
    status = site.reached(site.start("approve", told=False).headers["Location"], "waiting")
    assert [(one["name"], one["state"], one["summary"]) for one in status.json["approvals"]] == [
        ("manager", "pending", f"Order {site.id()}")
    ]
    assert b"/approvals/" not in status.body


def forged_links_are_404(site: Site) -> None:
    """Cut, changed, of another purpose or key, or no token at all: the same bytes as for anything unknown."""
    link = path_of(asked(site))
    unknown = site.ask("GET", "/approvals/nothing")
    assert unknown.status == 404
    id = f"{site.id()}:@manager"
    head, _, signature = link.rpartition(".")
    wrong = [
        link[:-1],
        f"{link}x",
        f"{head}x.{signature}",
        f"{head}.{signature[::-1]}",
        site.approval_link(id, key="a key that nobody here has"),
        site.approval_link(id, purpose=STATUS),
        site.approval_link("nobody:@manager"),
        site.approval_link(site.id()),
        "/approvals/",
        "/approvals/..",
        "/approvals/a.b.c",
        "/approvals/%00",
        "/approvals/%FF.1.%FF",
        f"/approvals/{'x' * 3000}",
    ]
    for path in wrong:
        for method, body in (("GET", None), ("POST", {"decision": "approve"})):
            answer = site.ask(method, path, body, told=False)
            assert (answer.status, answer.body) == (404, unknown.body), (method, path)
    assert site.ask("GET", link, told=False).json["state"] == "pending"


def expired_links_are_410(site: Site) -> None:
    """A genuine link whose time is over decides nothing, and says so."""
    link = asked(site)
    expired = site.approval_link(f"{site.id()}:@manager", expires_at=1_600_000_000_000)
    for answer in (site.ask("GET", expired), site.ask("POST", expired, {"decision": "approve"})):
        assert (answer.status, answer.json["type"]) == (410, "urn:resonate-web:problem:link-expired")
    assert site.ask("GET", expired, Accept=BROWSER).status == 410
    assert site.ask("GET", link, told=False).json["state"] == "pending"


def links_of_an_older_key_still_open(site: Site) -> None:
    """After a change of keys the old one verifies."""
    asked(site)
    older = site.approval_link(f"{site.id()}:@manager", key=KEYS[0])
    assert site.ask("GET", older).json["state"] == "pending"
    assert site.ask("POST", older, {"decision": "approve"}).status == 200


def a_revoked_approval_is_410(site: Site) -> None:
    """When its run is canceled the question is withdrawn."""
    link = asked(site)
    assert site.ask("POST", site.cancel_link(site.id()), told=False).status == 202
    for answer in (site.ask("GET", link), site.ask("POST", link, {"decision": "approve"})):
        assert (answer.status, answer.json["type"]) == (410, "urn:resonate-web:problem:approval-revoked")
    assert site.ask("GET", link, Accept=BROWSER).status == 410


def an_approval_that_timed_out_is_410(site: Site) -> None:
    """The run goes on without a decision, and a late one changes nothing."""
    link = asked(site, timeout=0.2)
    ended = site.reached(site.start("approve", told=False, order=ordered(timeout=0.2)).headers["Location"], told=False)
    assert ended.json["result"]["outcome"] == "timedout"
    answer = site.ask("POST", link, {"decision": "approve"})
    assert (answer.status, answer.json["type"]) == (410, "urn:resonate-web:problem:approval-timed-out")
    assert site.ask("GET", link).json["state"] == "timedout"


def a_login_may_be_required(site: Site) -> None:
    """Nobody in particular gets 401 and learns nothing; who is none of the approvers gets 403."""
    link = asked(site, require_login=True, approvers=["ada"])
    for method, body in (("GET", None), ("POST", {"decision": "approve"})):
        stranger = site.ask(method, link, body)
        assert (stranger.status, site.id().encode() in stranger.body) == (401, False)
        other = site.ask(method, link, body, X_User="bob")
        assert (other.status, site.id().encode() in other.body) == (403, False)
    page = site.ask("GET", link, Accept=BROWSER)
    assert (page.status, site.id().encode() in page.body) == (401, False)
    decided = site.ask("POST", link, {"decision": "approve"}, X_User="ada")
    assert (decided.status, decided.json["outcome"]["by"]) == (200, "ada")


def whoever_started_may_be_excluded(site: Site) -> None:
    """With `forbid_initiator` the one who asked does not decide, but sees the question."""
    rules = {"require_login": True, "approvers": ["ada", "bob"], "forbid_initiator": True}
    site.start("approve", told=False, order={"rules": rules}, X_User="ada")
    link = site.mailed(site.id())
    assert site.ask("GET", link, X_User="ada").status == 200
    assert site.ask("POST", link, {"decision": "approve"}, X_User="ada").status == 403
    assert site.ask("POST", link, {"decision": "approve"}, X_User="bob").status == 200


def the_list_of_who_is_logged_in(site: Site) -> None:
    """What waits for somebody, with links; nothing of it for others, and a login for nobody."""
    me = site.id("me")
    asked(site, require_login=True, approvers=[me])
    listed = site.ask("GET", "/approvals", X_User=me)
    assert [(one["run"], one["name"]) for one in listed.json["approvals"]] == [(site.id(), "manager")]
    assert site.ask("GET", "/approvals", X_User=site.id("other")).json["approvals"] == []
    assert site.ask("GET", "/approvals").status == 401
    assert site.id().encode() in site.ask("GET", "/approvals", Accept=BROWSER, X_User=me).body
    link = listed.json["approvals"][0]["url"]
    assert site.ask("POST", link, {"decision": "reject"}, X_User=me).status == 200
    assert site.ask("GET", "/approvals", X_User=me).json["approvals"] == []


def ordered(**rules: Any) -> dict[str, Any]:
    """Return an order whose approval has these rules."""
    return {"rules": rules}


def asked(site: Site, tail: str = "1", *, to: str = "", **rules: Any) -> str:
    """Start a run that asks, and return the link that was mailed."""
    started = site.start("approve", tail, told=False, order=ordered(**rules) if rules else None)
    assert started.status == 202, started.body
    return site.mailed(site.id(tail), to)


APPROVAL_CASES: tuple[Callable[[Site], None], ...] = (
    the_question_as_json,
    the_question_as_a_page,
    looking_decides_nothing,
    the_status_lists_approvals_without_links,
    forged_links_are_404,
    expired_links_are_410,
    links_of_an_older_key_still_open,
    a_revoked_approval_is_410,
    an_approval_that_timed_out_is_410,
    a_login_may_be_required,
    whoever_started_may_be_excluded,
    the_list_of_who_is_logged_in,
)
