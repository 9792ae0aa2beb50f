"""Starting and watching runs through Starlette's and FastAPI's test clients."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from resonate_web.errors import IdInUse, NotRegistered, Unserializable, WrongCall
from resonate_web.starlette import Resonate, Verbs, get_resonate

WAIT_S = 10


def gated(ctx, order):
    gate = yield ctx.promise("gate")
    yield ctx.run(ctx.get_dependency("waiting").put, ctx.id)  # starts only when the promise is stored
    return (yield gate)


class Site:
    """An app with a client of its own, and the queue by which its workflows say that they wait."""

    def __init__(self, **settings: Any) -> None:
        self.waiting: SimpleQueue[str] = SimpleQueue()
        self.resonate = Resonate(**{"store": "memory://", "signing_keys": ("development " * 4,), **settings})
        self.resonate.register(gated)
        self.resonate.set_dependency("waiting", self.waiting)

    def app(self, *middleware: Middleware, **options: Any) -> Starlette:
        resonate = self.resonate

        async def create(request: Request) -> Response:
            body = await request.body()
            order = await request.json() if body else None
            return await resonate.astart(request.path_params["id"], gated, order)

        def create_in_a_thread(request: Request) -> Response:
            return resonate.start(request.path_params["id"], gated, None)

        async def create_wrongly(request: Request) -> Response:
            return resonate.start("a", gated, None)

        async def create_with_options(request: Request) -> Response:
            tagged = resonate.options(tags={"shop": "berlin"})
            return await tagged.options(on_failed="new").astart(request.path_params["id"], gated, None)

        async def mistakes(request: Request) -> Response:
            if request.path_params["kind"] == "name":
                return await resonate.astart("a", "unknown")
            return await resonate.astart("a", gated, object())

        async def url(request: Request) -> Response:
            return PlainTextResponse(resonate.status_url(request.path_params["id"]))

        async def known(request: Request) -> Response:
            return JSONResponse(get_resonate(request) is resonate and request.state.resonate is resonate)

        routes = [
            Route("/orders/{id:path}", create, methods=["POST"]),
            Route("/threads/{id:path}", create_in_a_thread, methods=["POST"]),
            Route("/wrong", create_wrongly, methods=["POST"]),
            Route("/options/{id:path}", create_with_options, methods=["POST"]),
            Route("/mistakes/{kind}", mistakes, methods=["POST"]),
            Route("/url/{id:path}", url),
            Mount("/below", routes=[Route("/known", known), Route("/orders/{id:path}", create, methods=["POST"])]),
        ]
        return Starlette(
            routes=[*resonate.routes, *routes],
            middleware=[*middleware, Middleware(resonate.middleware)],
            **options,
        )

    def finish(self, id: str, value: object) -> object:
        assert self.waiting.get(timeout=WAIT_S) == id
        self.resonate.promises.resolve(f"{id}:@gate", value)
        return self.resonate.get(id).result(WAIT_S)

    def tag(self, id: str, name: str) -> str | None:
        found = self.resonate.core.view(id)
        assert found is not None
        return found.promise.tags.get(name)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.resonate.close()


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    with TestClient(site.app()) as client:
        yield client


@pytest.mark.parametrize("kind", ["orders", "threads", "below/orders"])
def test_the_whole_story(site: Site, client: TestClient, kind: str) -> None:
    """202 with a link, the link shows a running and then an ended run, and the same POST is then a 200."""
    started = client.post(f"/{kind}/order/42")
    assert started.status_code == 202, started.text
    link = started.headers["Location"]
    assert link.startswith("/status/order/42?sig=")
    assert started.json()["links"]["self"] == link
    assert client.get(link).json()["done"] is False
    assert site.finish("order/42", {"total": 3}) == {"total": 3}
    shown = client.get(link)
    assert (shown.status_code, shown.json()["status"]) == (200, "succeeded")
    assert shown.json()["result"] == {"total": 3}
    again = client.post(f"/{kind}/order/42")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json()["result"] == {"total": 3}


def test_without_a_lifespan_the_story_is_the_same(site: Site) -> None:
    """A client that runs no lifespan is the common mistake of tests; each of its requests has a loop of its own."""
    client = TestClient(site.app())
    link = client.post("/orders/a").headers["Location"]
    assert site.finish("a", 1) == 1
    assert client.get(link).json()["result"] == 1


def test_an_app_may_be_served_again(site: Site) -> None:
    """Each lifespan, and each request after one, has a client that is open."""
    app = site.app()
    for number in range(3):
        with TestClient(app) as client:
            assert client.post(f"/orders/{number}").status_code == 202
            core = site.resonate.core
        assert core is site.resonate.core
    assert TestClient(app).post("/orders/late").status_code == 202
    assert core is not site.resonate.core


def test_a_poll_with_the_tag_is_304(site: Site, client: TestClient) -> None:
    """Starlette adds neither a body nor a type nor a length to it."""
    link = client.post("/orders/a").headers["Location"]
    site.finish("a", 1)
    tag = client.get(link).headers["ETag"]
    seen = client.get(link, headers={"If-None-Match": tag})
    assert (seen.status_code, seen.content, seen.headers["ETag"]) == (304, b"", tag)
    assert not {"content-type", "content-length"} & set(seen.headers)


def test_methods(client: TestClient) -> None:
    """All of them reach the gateway: HEAD has the length of GET, OPTIONS says what there is."""
    link = client.post("/orders/a").headers["Location"]
    head = client.head(link)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    options = client.options(link)
    assert (options.status_code, options.headers["Allow"], options.content) == (204, "GET, HEAD, OPTIONS", b"")
    for method in ("DELETE", "BREW"):
        assert client.request(method, link).headers["Content-Type"] == "application/problem+json"


def test_another_order_under_the_same_id_is_409(client: TestClient) -> None:
    """A problem document without result, Location or links, from async endpoints and from threads."""
    client.post("/orders/a", json={"n": 1})
    for path in ("/orders/a", "/threads/a"):
        refused = client.post(path, json={"n": 2})
        assert (refused.status_code, refused.headers["Content-Type"]) == (409, "application/problem+json")
        assert refused.json()["type"] == "urn:resonate-web:problem:id-in-use"
        assert "Location" not in refused.headers


@pytest.mark.parametrize(
    ("url", "body", "status", "slug"),
    [
        ("/orders/~a", b"", 400, "invalid-id"),
        ("/threads/a%7Fb", b"", 400, "invalid-id"),
        ("/threads/a", b"x" * 10_000_000, 413, "too-large"),
    ],
)
def test_what_the_client_did_wrong_is_a_problem(
    site: Site, client: TestClient, url: str, body: bytes, status: int, slug: str
) -> None:
    """400 and 413 come from start itself, and nothing is stored."""
    refused = client.post(url, content=body)
    assert (refused.status_code, refused.json()["type"]) == (status, f"urn:resonate-web:problem:{slug}")
    assert site.resonate.core.runs() == []


def test_what_the_endpoint_did_wrong_is_raised(client: TestClient) -> None:
    """Starlette shows such errors as it shows any other of the app's own."""
    with pytest.raises(NotRegistered):
        client.post("/mistakes/name")
    with pytest.raises(Unserializable):
        client.post("/mistakes/value")


def test_start_on_the_event_loop_names_the_right_call(client: TestClient) -> None:
    """An `async def` endpoint awaits the twin."""
    with pytest.raises(WrongCall, match=r"await resonate\.astart\(\.\.\.\)"):
        client.post("/wrong")


def test_an_app_may_answer_our_errors_itself(site: Site) -> None:
    """Its handler for the class wins."""

    async def taken(request: Request, error: Exception) -> Response:
        return PlainTextResponse("taken", 409)

    with TestClient(site.app(exception_handlers={IdInUse: taken})) as client:
        client.post("/orders/a", json=1)
        assert client.post("/orders/a", json=2).text == "taken"


def test_a_store_that_is_away_is_503_for_us_only(tmp_path: Path) -> None:
    """Starting and polling say when to try again; the app's other routes are served, also without a key of its own."""
    site = Site(store="sqlite:////proc/no/such.db", run_dir=str(tmp_path), signing_keys=())
    with TestClient(site.app()) as client:
        assert client.get("/below/known").json() is True
        for refused in (client.post("/orders/a"), client.post("/threads/a"), client.get("/status/a?sig=x")):
            assert (refused.status_code, refused.headers.get("Retry-After")) == (503, "1")


def test_options_do_not_mix_with_arguments(site: Site, client: TestClient) -> None:
    """They are given before, add up, and leave the workflow's arguments alone."""
    assert client.post("/options/a").status_code == 202
    assert site.tag("a", "shop") == "berlin"


def test_a_mounted_app_links_to_itself(site: Site) -> None:
    """Its mount point is part of the Location, the status is found there, and nobody ran its lifespan."""
    client = TestClient(Starlette(routes=[Mount("/shop ä", site.app())]))
    link = client.post("/shop ä/below/orders/a b").headers["Location"]
    assert link.startswith("/shop%20%C3%A4/status/a%20b?sig=")
    assert client.get(link).json()["id"] == "a b"
    assert client.get("/shop ä/url/a b").text == link
    assert client.get("/shop ä/below/known").json() is True


def test_a_root_path_of_the_server_is_part_of_the_link(site: Site) -> None:
    """As behind a proxy that strips it."""
    with TestClient(site.app(), root_path="/shop") as client:
        link = client.post("/shop/orders/a").headers["Location"]
        assert link.startswith("/shop/status/a?sig=")
        assert client.get(link).status_code == 200


async def untouched(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


@pytest.mark.parametrize("outside", [True, False])
def test_base_http_middleware_is_no_obstacle(site: Site, outside: bool) -> None:
    """Ours works around it and within it: the request is known, errors become problems, HEAD keeps its length."""
    app = site.app(Middleware(BaseHTTPMiddleware, dispatch=untouched)) if outside else site.app()
    if not outside:
        app.user_middleware.append(Middleware(BaseHTTPMiddleware, dispatch=untouched))
    with TestClient(app) as client:
        link = client.post("/orders/a", json=1).headers["Location"]
        assert client.post("/threads/a").status_code == 409
        assert int(client.head(link).headers["Content-Length"]) > 0
        assert client.get("/below/known").json() is True


def basic(who: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{who}:pw".encode()).decode()}


def test_the_default_principal_is_a_hash_of_the_credentials(site: Site, client: TestClient) -> None:
    """Other credentials, or none, do not join; the stored name holds nothing of them."""
    assert client.post("/orders/a", headers=basic("alice")).status_code == 202
    assert client.post("/threads/a", headers=basic("bob")).status_code == 409
    assert client.post("/orders/a").status_code == 409
    assert client.post("/orders/a", headers=basic("alice")).headers["Idempotency-Replayed"] == "true"
    assert (site.tag("a", "resonate_web:principal") or "").startswith("authorization:")


class Named(BaseUser):
    """A user as applications define them."""

    is_authenticated = True
    identity = "7"


class Nobody(BaseUser):
    """A user of an older Starlette, which has no identity of its own."""

    is_authenticated = True
    display_name = "eve"


class Door(AuthenticationBackend):
    """Lets everybody in as who the header says."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        users = {"named": Named(), "simple": SimpleUser("ann"), "nameless": Nobody()}
        user = users.get(conn.headers.get("X-User", ""))
        return None if user is None else (AuthCredentials(), user)


@pytest.mark.parametrize("outside", [True, False])
def test_the_authenticated_user_is_the_principal(site: Site, outside: bool) -> None:
    """Whether Starlette's own middleware is around ours or within it; the header counts for who is nobody."""
    door = Middleware(AuthenticationMiddleware, backend=Door())
    app = site.app(door) if outside else site.app()
    if not outside:
        app.user_middleware.append(door)
    with TestClient(app) as client:
        for who in ("named", "simple", "nameless", ""):
            client.post(f"/orders/{who}-1", headers={"X-User": who, **basic("x")})
        tags = [site.tag(f"{who}-1", "resonate_web:principal") for who in ("named", "simple", "nameless", "")]
    assert tags[:3] == ["user:7", "user:ann", "user:eve"]
    assert (tags[3] or "").startswith("authorization:")


def test_rules_get_starlettes_request() -> None:
    """The callables of `principal` and `status_access` see the real request; the run is its and nobody else's."""

    def who(request: Request) -> str | None:
        return request.headers.get("X-User")

    site = Site(
        principal=who, status_access=lambda request, promise: promise.tags["resonate_web:principal"] == who(request)
    )
    with TestClient(site.app()) as client:
        link = client.post("/orders/a", headers={"X-User": "alice"}).headers["Location"]
        assert link == "/status/a"
        assert client.get(link, headers={"X-User": "alice"}).status_code == 200
        assert client.get(link, headers={"X-User": "bob"}).status_code == 404
        assert client.post("/orders/a", headers={"X-User": "bob"}).status_code == 409


def test_fastapi_works_as_it_is(site: Site) -> None:
    """`Resonate.init_app` is all: `def` and `async def` endpoints, a dependency, an included router, and OpenAPI."""
    app = FastAPI()
    site.resonate.init_app(app)

    @app.post("/orders/{id}", status_code=202)
    async def create(id: str, order: dict[str, int], resonate: Annotated[Verbs, Depends(get_resonate)]) -> Any:
        return await resonate.astart(id, gated, order)

    @app.post("/threads/{id}")
    def create_in_a_thread(id: str, order: dict[str, int]) -> Any:
        return site.resonate.start(id, gated, order)

    with TestClient(app) as client:
        for kind in ("orders", "threads"):
            started = client.post(f"/{kind}/{kind}", json={"n": 1})
            assert started.status_code == 202, started.text
            assert client.get(started.headers["Location"]).json()["id"] == kind
            assert client.post(f"/{kind}/{kind}", json={"n": 2}).status_code == 409
        assert "/orders/{id}" in client.get("/openapi.json").json()["paths"]


def test_verbs_and_their_twins(site: Site) -> None:
    """On an event loop the twins never block it; elsewhere the others do what they say."""

    async def story() -> list[Any]:
        resonate = site.resonate
        handle = await resonate.abegin_run("a", gated, 1)
        assert (await resonate.aget("a")).id == "a"
        with pytest.raises(WrongCall, match="arun"):
            resonate.run("a", gated, 1)
        await resonate.promises.acancel("a")
        again = await resonate.abegin_rpc("b", quick)
        return [handle.id, await again, await resonate.arun("c", quick), await resonate.arpc("d", quick)]

    def quick(ctx):
        return ctx.id
        yield

    site.resonate.register(quick)
    context: AbstractContextManager[TestClient] = TestClient(site.app())
    with context as client:
        assert client.portal is not None
        assert client.portal.call(story) == ["a", "b", "c", "d"]
        assert site.resonate.options(tags={"x": "y"}).run("e", quick) == "e"
        assert site.tag("e", "x") == "y"
        assert (site.resonate.rpc("f", quick), site.resonate.begin_rpc("g", quick).result(WAIT_S)) == ("f", "g")
