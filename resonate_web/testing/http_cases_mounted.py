"""Cases of an application that is mounted below a path, whose routes of ours have a prefix, without a base URL.

Status is for whoever started the run, without signatures; machines have no key, so they have no routes.
"""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.testing.http_driver import Site, encoded


def links_hold_mount_and_prefix(site: Site) -> None:
    """Location is a path with both in it, and leads to the run."""
    started = site.post("/waits", {"id": f"{site.id()}/a b%"}, X_User="ada")
    link = started.headers["Location"]
    assert link == f"{site.mount}/status/{site.id()}/a%20b%25"
    found = site.reached(link, "waiting", X_User="ada")
    assert (found.json["id"], found.json["links"]["self"]) == (f"{site.id()}/a b%", link)
    assert found.headers["Set-Cookie"] is None


def the_pages_links_hold_mount_and_prefix(site: Site) -> None:
    """A page's assets are where they are mounted."""
    link = site.post("/waits", {"id": site.id()}, X_User="ada", told=False).headers["Location"]
    page = site.ask("GET", link, told=False, X_User="ada", Accept="text/html")
    assert f'href="{site.mount}/resonate/assets/'.encode() in page.body


def routes_lie_below_the_prefix_only(site: Site) -> None:
    """Without the prefix, and outside of the mount, there is nothing of ours."""
    link = site.post("/waits", {"id": site.id()}, X_User="ada", told=False).headers["Location"]
    inside = site.ask("GET", link.replace("/durable/", "/"), told=False, X_User="ada")
    assert (inside.status, inside.headers["Content-Type"] == "application/problem+json") == (404, False)
    assert site.ask("GET", f"{site.mount}/status/nobody", X_User="ada").status == 404
    assert site.ask("GET", f"{site.root}/plain").body == b"plain\n"


def the_rule_of_access_decides(site: Site) -> None:
    """With a callable, another person's run and an unknown one are the same 404, read, watched or as a page."""
    link = site.post("/waits", {"id": site.id()}, X_User="ada", told=False).headers["Location"]
    site.reached(link, "waiting", told=False, X_User="ada")
    unknown = site.ask("GET", f"{site.mount}/status/nobody", X_User="bob")
    assert unknown.status == 404
    for fields in ({"X_User": "bob"}, {}, {"X_User": "bob", "Accept": "text/event-stream"}):
        answer = site.ask("GET", link, **fields)
        assert (answer.status, answer.body) == (404, unknown.body)
    assert site.ask("GET", link, X_User="ada").status == 200


def keys_belong_to_the_concrete_path(site: Site) -> None:
    """The same key at the same path below the mount point is the same run."""
    first = site.post("/keyed", {"quantity": 1}, Idempotency_Key=site.id(), X_User="ada")
    site.reached(first.headers["Location"], told=False, X_User="ada")
    again = site.post("/keyed", {"quantity": 1}, Idempotency_Key=site.id(), X_User="ada")
    assert (first.status, again.status, again.json["id"]) == (202, 200, first.json["id"])


def status_of_a_run_that_is_blocked(site: Site) -> None:
    """A run whose code no longer fits what is recorded says why it cannot go on."""
    link = site.post("/changing", {"id": site.id()}, X_User="ada", told=False).headers["Location"]
    answer = site.reached(link, "blocked", X_User="ada")
    assert (answer.json["done"], answer.headers["Retry-After"].isdecimal()) == (False, True)
    assert "priced" in answer.json["reason"]
    assert "charged" in answer.json["reason"]


def the_rule_of_canceling_decides(site: Site) -> None:
    """With a callable whoever it lets may cancel, without a signature; for others the run is unknown."""
    status = site.post("/waits", {"id": site.id()}, X_User="ada", told=False).headers["Location"]
    site.reached(status, "waiting", told=False, X_User="ada")
    unknown = site.ask("POST", f"{site.mount}/status/nobody/cancel", X_User="ada")
    assert unknown.status == 404
    for fields in ({"X_User": "bob"}, {}):
        answer = site.ask("POST", f"{status}/cancel", **fields)
        assert (answer.status, answer.body) == (404, unknown.body)
    nonce, fields = site.form(status, X_User="ada")
    sent = site.ask("POST", f"{status}/cancel", encoded(nonce=nonce), **fields)
    assert (sent.status, sent.headers["Location"]) == (303, status)
    assert site.ask("POST", f"{status}/cancel", X_User="ada").json["status"] == "canceled"


def machines_without_a_key_find_nothing(site: Site) -> None:
    """Where no key is configured there are no callbacks, however well they are signed."""
    status = site.post("/waits", {"id": site.id()}, X_User="ada", told=False).headers["Location"]
    site.reached(status, "waiting", told=False, X_User="ada")
    answer = site.signed(f"{site.id()}:@gate", "resolve", {"value": 1})
    unknown = site.ask("GET", f"{site.mount}/status/nobody", X_User="ada")
    assert (answer.status, answer.body) == (404, unknown.body)


MOUNTED_CASES: tuple[Callable[[Site], None], ...] = (
    links_hold_mount_and_prefix,
    the_pages_links_hold_mount_and_prefix,
    routes_lie_below_the_prefix_only,
    the_rule_of_access_decides,
    keys_belong_to_the_concrete_path,
    the_rule_of_canceling_decides,
    machines_without_a_key_find_nothing,
    status_of_a_run_that_is_blocked,
)
