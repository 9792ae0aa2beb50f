"""The gateway's routes, on the real client in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from resonate_web.config import Settings
from resonate_web.errors import ConfigError, InvalidId
from resonate_web.gateway.messages import Headers, Request, Response
from resonate_web.gateway.route import Route
from resonate_web.gateway.routes import ROUTES, Gateway
from resonate_web.protocol.records import Promise
from resonate_web.resonate import Options, Resonate

Make = Callable[..., Gateway]


def waits(ctx):
    gate = yield ctx.promise("gate")
    yield gate


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Resonate] = []

    def one(*, secret: str = "secret", **settings: Any) -> Gateway:
        core = Resonate(Settings(**{"store": "memory://", "worker": False, **settings}))
        core.register(waits)
        made.append(core)
        return Gateway(core, secrets=lambda: [secret])

    yield one
    for core in made:
        core.close()


def started(gateway: Gateway, id: str = "order/42") -> str:
    flow = gateway.start(Request(method="POST", path="/"), id, waits, (), {}, Options())
    response = gateway.resonate.on_thread.perform(flow)
    return response.header("location") or pytest.fail("no Location")


def ask(gateway: Gateway, url: str, method: str = "GET", native: object = None, **fields: str) -> Response | None:
    parts = urlsplit(url)
    headers = Headers((name.replace("_", "-"), value) for name, value in fields.items())
    path = unquote(parts.path)
    flow = gateway.handle(Request(method=method, path=path, query=parts.query, headers=headers, native=native))
    return None if flow is None else gateway.resonate.on_thread.perform(flow)


def answered(gateway: Gateway, url: str, method: str = "GET", native: object = None, **fields: str) -> Response:
    response = ask(gateway, url, method, native, **fields)
    assert response is not None
    return response


def test_the_location_leads_to_the_status(make: Make) -> None:
    """What start returned can be read, with the same link inside."""
    gateway = make()
    url = started(gateway)
    response = answered(gateway, url)
    assert response.status == 200
    assert isinstance(response.body, bytes)
    document = json.loads(response.body)
    assert (document["id"], document["links"]["self"]) == ("order/42", url)


@pytest.mark.parametrize("id", ["a/b c", "50%25", "ü/日本", "a?b#c;d", "x" * 200])
def test_odd_ids_have_a_status(make: Make, id: str) -> None:
    """Every id that can be started can be asked for."""
    gateway = make()
    assert answered(gateway, started(gateway, id)).status == 200


@pytest.mark.parametrize("path", ["/", "/orders", "/status", "/statusx/order/42", "/x/status/order/42"])
def test_other_paths_are_not_ours(make: Make, path: str) -> None:
    """The gateway leaves them to the application."""
    assert ask(make(), path) is None


def test_a_prefix_moves_the_routes(make: Make) -> None:
    """With a prefix, the plain path is the application's."""
    gateway = make(prefix="/durable")
    url = started(gateway)
    assert url.startswith("/durable/status/order/42?")
    assert answered(gateway, url).status == 200
    assert ask(gateway, url.removeprefix("/durable")) is None


def test_head_is_get_without_the_body(make: Make) -> None:
    """Same status and fields, the length included."""
    gateway = make()
    url = started(gateway)
    got, head = answered(gateway, url), answered(gateway, url, "HEAD")
    assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")
    assert head.header("content-length") != "0"
    assert answered(gateway, url, "HEAD", If_None_Match=got.header("etag") or "").status == 304


def test_options_and_other_methods(make: Make) -> None:
    """OPTIONS tells the methods without a body; what is not among them is 405, a problem; nothing asks the store."""
    gateway = make(store="sqlite:////proc/no/such.db")
    options = answered(gateway, "/status/order/42", "OPTIONS")
    assert (options.status, options.header("allow"), options.body) == (204, "GET, HEAD, OPTIONS", b"")
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        response = answered(gateway, "/status/order/42", method)
        assert (response.status, response.header("allow")) == (405, "GET, HEAD, OPTIONS")
        assert response.header("content-type") == "application/problem+json"


def test_strangers_are_all_answered_alike(make: Make) -> None:
    """Unknown, unsigned, forged, truncated, another run's signature, another key: one 404, byte by byte."""
    gateway = make()
    url = started(gateway)
    other = started(gateway, "order/43")
    signature = urlsplit(url).query
    strangers = [
        "/status/order/42",
        url[:-1],
        url + "A",
        url.replace("sig=", "sig=A"),
        f"/status/order/42?{urlsplit(other).query}",
        f"/status/order/4?{signature}",
        f"/status/order/44?{signature}",
        make(secret="another").status_url("order/42"),
        gateway.status_url("never/started"),
        "/status/",
        "/status//order/42",
        "/status/order/42/",
        "/status/order/../order/42",
        "/status/~key",
        "/status/order/42~2",
        "/status/order/42:@gate",
        "/status/" + "x" * 201,
        "/status/a%00b",
    ]
    answers = {
        (answered(gateway, s).status, answered(gateway, s).headers, answered(gateway, s).body) for s in strangers
    }
    assert len(answers) == 1
    assert answers.pop()[0] == 404


def test_a_forged_link_never_reaches_the_store(make: Make) -> None:
    """With a store that is away, a genuine link is 503 with Retry-After and a forged one still 404."""
    gateway = make(store="sqlite:////proc/no/such.db")
    genuine = answered(gateway, gateway.status_url("order/42"))
    assert (genuine.status, genuine.header("retry-after")) == (503, "1")
    assert genuine.header("content-type") == "application/problem+json"
    assert answered(gateway, "/status/order/42?sig=x").status == 404


def test_internal_roots_are_refused_whatever_the_access(make: Make) -> None:
    """Ids that begin with '~' and promises that are no runs have no status."""
    gateway = make(status_access="public")
    gateway.resonate.promises.create("plain")
    assert answered(gateway, "/status/plain").status == 404
    assert answered(gateway, "/status/~key").status == 404


def test_public_needs_no_link(make: Make) -> None:
    """Public status is for whoever knows the id."""
    gateway = make(status_access="public")
    assert started(gateway) == "/status/order/42"
    assert answered(gateway, "/status/order/42").status == 200


def test_a_rule_decides_by_request_and_promise(make: Make) -> None:
    """The callable gets the framework's request and the run's promise; its no is a 404."""
    seen: list[tuple[object, str]] = []

    def rule(request: object, promise: Promise) -> bool:
        seen.append((request, promise.id))
        return request == "alice"

    gateway = make(status_access=rule)
    url = started(gateway)
    assert url == "/status/order/42"
    assert answered(gateway, url, native="alice").status == 200
    assert answered(gateway, url, native="bob").status == 404
    assert answered(gateway, "/status/order/43", native="bob").body == answered(gateway, url, native="bob").body
    assert seen[:2] == [("alice", "order/42"), ("bob", "order/42")]


def test_a_short_signing_key_is_found_at_mount(make: Make) -> None:
    """Not at the first link."""
    with pytest.raises(ConfigError, match="RESONATE_SIGNING_KEYS"):
        make(signing_keys=("short",))


def test_signing_keys_beat_the_frameworks_secret(make: Make) -> None:
    """With keys of our own, links do not depend on the framework's secret."""
    keys = ("k" * 16,)
    first, second = make(secret="a", signing_keys=keys), make(secret="b", signing_keys=keys)
    assert first.status_url("x") == second.status_url("x")
    assert make(secret="a").status_url("x") != make(secret="b").status_url("x")


def test_every_try_of_a_run_has_the_same_link(make: Make) -> None:
    """A step of the second try mails the link that the client has already; other reserved ids have none."""
    gateway = make()
    assert gateway.status_url("order/42~2") == gateway.status_url("order/42~13") == gateway.status_url("order/42")
    for id in ("~2", "order~x", "order/42:1", "a~2~3"):
        with pytest.raises(InvalidId):
            gateway.status_url(id)


def test_a_route_takes_what_is_between_head_and_tail() -> None:
    """A tail makes room for verbs below an id; head and tail may not overlap."""
    route = Route(name="cancel", head="/status/", tail="/cancel", methods={})
    assert route.argument("/status/a/b/cancel") == "a/b"
    assert route.argument("/status//cancel") == ""
    assert route.argument("/status/cancel") is None
    assert route.argument("/status/a") is None


def test_the_routes_are_data() -> None:
    """Where the library answers, and which methods; adapters mount by head."""
    told = {route.name: (route.head, route.tail, route.exact, sorted(route.methods)) for route in ROUTES}
    assert told == {
        "cancel": ("/status/", "/cancel", False, ["GET", "POST"]),
        "status": ("/status/", "", False, ["GET"]),
        "approvals": ("/approvals", "", True, ["GET"]),
        "approval": ("/approvals/", "", False, ["GET", "POST"]),
        "resolve": ("/promises/", "/resolve", False, ["POST"]),
        "reject": ("/promises/", "/reject", False, ["POST"]),
        "cancel-promise": ("/promises/", "/cancel", False, ["POST"]),
        "asset": ("/resonate/assets/", "", False, ["GET"]),
        "openapi": ("/resonate/openapi.json", "", True, ["GET"]),
    }


def test_an_exact_route_is_its_head_alone() -> None:
    """What only begins so is the application's."""
    route = Route(name="list", head="/approvals", exact=True, methods={})
    assert route.argument("/approvals") == ""
    assert route.argument("/approvals-of-ours") is None
    assert route.argument("/approvals/x") is None
