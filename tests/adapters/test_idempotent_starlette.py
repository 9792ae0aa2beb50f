"""Idempotent endpoints of Starlette, and what passes between server and endpoint, message by message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from resonate_web.errors import ConfigError, WrongCall
from resonate_web.gateway.messages import Headers
from resonate_web.starlette import Resonate
from resonate_web.testing.idempotency_cases import CASES, HANDLERS, Answered, Handler, Missing, Reply, Shop

METHODS = ["GET", "POST", "PATCH"]


def _plugin() -> Resonate:
    return Resonate(store="memory://", principal=lambda request: request.headers.get("X-User"))


def _told(reply: Reply) -> StarletteResponse:
    if reply.pieces is None:
        response = StarletteResponse(reply.body, reply.status)
    else:
        response = StreamingResponse(iter(reply.pieces), reply.status)
    for name, value in reply.headers:
        response.headers[name] = value
    return response


class StarletteShop:
    """The shop as a Starlette app, with endpoints of both kinds, or as a FastAPI app."""

    def __init__(self, kind: str) -> None:
        self.runs: list[str] = []
        self.resonate = _plugin()
        decorate: Any = self.resonate.idempotent
        make = {"async": self._endpoint, "thread": self._endpoint_of_a_thread, "fastapi": self._operation}[kind]
        made = {name: decorate(**handler.rules)(make(name, handler)) for name, handler in HANDLERS.items()}
        self.app: Starlette
        if kind == "fastapi":
            self.app = FastAPI()
            for name, operation in made.items():
                self.app.add_api_route(f"/{name}/{{number}}", operation, methods=METHODS)
        else:
            self.app = Starlette(routes=[Route(f"/{n}/{{number}}", made[n], methods=METHODS) for n in made])
        self.resonate.init_app(self.app)
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def _answer(self, name: str, handler: Handler, body: bytes) -> StarletteResponse:
        self.runs.append(name)
        try:
            return _told(handler.answer(self.runs.count(name), body))
        except Missing:
            raise StarletteHTTPException(404) from None

    def _endpoint(self, name: str, handler: Handler) -> Callable[..., Awaitable[StarletteResponse]]:
        async def endpoint(request: Request) -> StarletteResponse:
            return self._answer(name, handler, await request.body())

        return endpoint

    def _endpoint_of_a_thread(self, name: str, handler: Handler) -> Callable[..., StarletteResponse]:
        def endpoint(request: Request) -> StarletteResponse:
            return self._answer(name, handler, asyncio.run(request.body()))

        return endpoint

    def _operation(self, name: str, handler: Handler) -> Callable[..., Any]:
        async def body_of(request: Request) -> bytes:
            return await request.body()

        def operation(number: int, body: bytes = Depends(body_of)) -> StarletteResponse:
            return self._answer(name, handler, body)

        return operation

    def ask(self, method: str, path: str, body: bytes = b"{}", /, **fields: str) -> Answered:
        """Send a request."""
        headers = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in fields.items()}}
        self.client.cookies.clear()
        answer = self.client.request(method, path, content=body, headers=headers, follow_redirects=False)
        return Answered(answer.status_code, Headers(answer.headers.multi_items()), answer.content)


@pytest.fixture(params=["async", "thread", "fastapi"])
def shop(request: pytest.FixtureRequest) -> Iterator[StarletteShop]:
    """Return a shop of its own for the test."""
    made = StarletteShop(request.param)
    with made.client:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_an_endpoint_is_idempotent(case: Callable[[Shop], None], shop: StarletteShop) -> None:
    """Each case holds under Starlette and FastAPI."""
    case(shop)


@pytest.fixture
def resonate() -> Resonate:
    """Return a plugin without an app."""
    return _plugin()


def client(resonate: Resonate, app: Starlette) -> TestClient:
    """Bind the plugin to an app and return a client of it."""
    resonate.init_app(app)
    return TestClient(app, raise_server_exceptions=False)


KEY = {"Idempotency-Key": "k", "X-User": "ada"}


def test_a_compressed_answer_comes_again(resonate: Resonate) -> None:
    """With its encoding, without which nobody could read it."""
    app = Starlette(routes=[Route("/pay", resonate.idempotent(_long), methods=["POST"])])
    app.add_middleware(GZipMiddleware, minimum_size=10)
    with client(resonate, app) as asking:
        first, second = asking.post("/pay", headers=KEY), asking.post("/pay", headers=KEY)
    assert first.headers["content-encoding"] == second.headers["content-encoding"] == "gzip"
    assert first.text == second.text == "long " * 100


async def _long(request: Request) -> StarletteResponse:
    return PlainTextResponse("long " * 100)


def test_the_methods_of_a_class(resonate: Resonate) -> None:
    """An `HTTPEndpoint` is decorated method by method."""
    tries: list[int] = []

    class Pay(HTTPEndpoint):
        @resonate.idempotent
        async def post(self, request: Request) -> StarletteResponse:
            tries.append(1)
            return PlainTextResponse("told")

    with client(resonate, Starlette(routes=[Route("/pay", Pay)])) as asking:
        assert [asking.post("/pay", headers=KEY).text for _ in range(2)] == ["told"] * 2
    assert tries == [1]


@pytest.mark.parametrize("awaited", [False, True])
def test_a_fingerprint_may_be_awaited(resonate: Resonate, awaited: bool) -> None:
    """It gets a request whose body can be read, and leaves it to the endpoint."""

    async def order(request: Request) -> str:
        return str((await request.json())["order"])

    def shop_of(request: Request) -> str:
        return request.headers["X-Order"]

    @resonate.idempotent(fingerprint=order if awaited else shop_of)
    async def pay(request: Request) -> StarletteResponse:
        return PlainTextResponse(str(await request.json()))

    with client(resonate, Starlette(routes=[Route("/pay", pay, methods=["POST"])])) as asking:

        def sent(order: str, when: int) -> Any:
            return asking.post("/pay", json={"order": order, "at": when}, headers={**KEY, "X-Order": order})

        assert sent("1", 1).text == "{'order': '1', 'at': 1}"
        assert sent("1", 2).text == "{'order': '1', 'at': 1}"
        assert sent("2", 2).status_code == 422


def test_a_generator_cannot_be_decorated(resonate: Resonate) -> None:
    """What it yields could not be stored."""
    with pytest.raises(ConfigError, match="stream"):

        @resonate.idempotent
        async def rows() -> AsyncIterator[int]:
            yield 1


def test_without_the_middleware_it_says_so(resonate: Resonate) -> None:
    """Nobody could store what is sent."""
    app = Starlette(routes=[Route("/pay", resonate.idempotent(_long), methods=["POST"])])
    with TestClient(app) as asking, pytest.raises(WrongCall, match=r"Middleware\(resonate.middleware\)"):
        asking.post("/pay", headers=KEY)


# One exchange, message by message.


class Talk:
    """What a server says to an app and hears from it, in hand."""

    def __init__(self, app: Any, key: str = "k", length: int | None = None) -> None:
        fields = [(b"idempotency-key", key.encode()), (b"x-user", b"ada")]
        if length is not None:
            fields.append((b"content-length", str(length).encode()))
        self.scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/pay", "raw_path": b"/pay", "root_path": "", "query_string": b"", "headers": fields,
            "server": ("test", 80), "client": ("test", 1),
        }  # fmt: skip
        self.app = app
        self.said: asyncio.Queue[Any] = asyncio.Queue()
        self.heard: list[Any] = []

    async def run(self) -> None:
        """Serve the request."""
        await self.app(self.scope, self.said.get, self.hear)

    async def hear(self, message: Any) -> None:
        """Take what the app sends."""
        self.heard.append(message)

    def say(self, body: bytes, more: bool = False) -> None:
        """Give the app a piece of the body."""
        self.said.put_nowait({"type": "http.request", "body": body, "more_body": more})

    @property
    def status(self) -> int:
        """Return the answer's status."""
        return int(self.heard[0]["status"])

    @property
    def fields(self) -> dict[bytes, bytes]:
        """Return the answer's fields."""
        return dict(self.heard[0]["headers"])

    @property
    def body(self) -> bytes:
        """Return the answer's body."""
        return b"".join(message.get("body", b"") for message in self.heard)


def _app(resonate: Resonate, endpoint: Any) -> Starlette:
    app = Starlette(routes=[Route("/pay", resonate.idempotent(endpoint), methods=["POST"])])
    resonate.init_app(app)
    return app


async def _ended(resonate: Resonate) -> None:
    await asyncio.to_thread(resonate.close)


def test_a_body_in_pieces_reaches_the_endpoint_and_so_does_the_end(resonate: Resonate) -> None:
    """What was read for the key is given to the endpoint, then what the server says."""
    seen: list[Any] = []

    async def pay(request: Request) -> StarletteResponse:
        seen.extend([piece async for piece in request.stream()])
        seen.append(await request.receive())
        return PlainTextResponse("told")

    async def talked() -> None:
        talk = Talk(_app(resonate, pay))
        for piece in (b"one", b"two", b"three"):
            talk.say(piece, more=piece != b"three")
        talk.said.put_nowait({"type": "http.disconnect"})
        await talk.run()
        await _ended(resonate)
        assert talk.body == b"told"

    asyncio.run(talked())
    assert seen == [b"one", b"two", b"three", b"", {"type": "http.disconnect"}]


def test_a_body_without_a_length_is_read_up_to_the_limit(resonate: Resonate) -> None:
    """Then 413, and the endpoint does not run; the rest is left to the server."""
    runs: list[int] = []

    async def pay(request: Request) -> StarletteResponse:
        runs.append(1)
        return PlainTextResponse("told")

    async def talked() -> Talk:
        talk = Talk(_app(resonate, pay))
        for _ in range(100):
            talk.say(b"x" * 65_536, more=True)
        await talk.run()
        await _ended(resonate)
        assert talk.said.qsize() == 100 - 17
        return talk

    assert asyncio.run(talked()).status == 413
    assert runs == []


def test_a_client_that_leaves_before_its_body_runs_nothing(resonate: Resonate) -> None:
    """The key is not taken either."""

    async def talked() -> None:
        app = _app(resonate, _long)
        talk = Talk(app)
        talk.say(b"half", more=True)
        talk.said.put_nowait({"type": "http.disconnect"})
        with pytest.raises(Exception, match=r"^$"):
            await talk.run()
        again = Talk(app)
        again.say(b"whole")
        await again.run()
        await _ended(resonate)
        assert again.status == 200

    asyncio.run(talked())


def test_a_cancelled_request_frees_its_key(resonate: Resonate) -> None:
    """Some servers cancel what a client no longer waits for."""
    entered: list[asyncio.Event] = []

    async def pay(request: Request) -> StarletteResponse:
        if len(entered) == 1:
            entered[0].set()
            await asyncio.Event().wait()
        return PlainTextResponse("told")

    async def talked() -> None:
        app = _app(resonate, pay)
        entered.append(asyncio.Event())
        first = Talk(app)
        first.say(b"")
        serving = asyncio.create_task(first.run())
        await entered[0].wait()
        flying = Talk(app)
        flying.say(b"")
        await flying.run()
        assert (flying.status, flying.fields[b"retry-after"]) == (409, b"1")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        entered.append(asyncio.Event())
        second = Talk(app)
        second.say(b"")
        await second.run()
        await _ended(resonate)
        assert (second.status, second.body) == (200, b"told")

    asyncio.run(talked())


def test_the_answer_is_stored_before_it_is_sent(resonate: Resonate) -> None:
    """When the client sees its first byte, a retry is already answered from the store."""
    replays: list[bytes] = []

    class Early(Talk):
        async def hear(self, message: Any) -> None:
            if message["type"] == "http.response.start":
                retry = Talk(self.app)
                retry.say(b"")
                await retry.run()
                replays.append(retry.body)
            await super().hear(message)

    async def talked() -> None:
        talk = Early(_app(resonate, _long))
        talk.say(b"")
        await talk.run()
        await _ended(resonate)

    asyncio.run(talked())
    assert replays == [b"long " * 100]


@pytest.mark.parametrize("length", [None, 6, 400_000])
def test_an_answer_in_pieces(resonate: Resonate, length: int | None) -> None:
    """With a length that can be stored it is whole at its end; without one, or with a larger one, it is a stream."""
    heard_before: list[int] = []
    talks: list[Talk] = []

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two"):
            heard_before.append(len(talks[0].heard))
            yield piece

    async def pay(request: Request) -> StarletteResponse:
        return StreamingResponse(pieces(), headers={} if length is None else {"Content-Length": str(length)})

    async def talked() -> None:
        talks.append(Talk(_app(resonate, pay)))
        talks[0].say(b"")
        await talks[0].run()
        await _ended(resonate)

    asyncio.run(talked())
    stored = length == 6
    assert talks[0].body == b"onetwo"
    assert talks[0].fields.get(b"idempotency-stored") == (None if stored else b"false")
    assert heard_before == ([0, 0] if stored else [0, 2])
