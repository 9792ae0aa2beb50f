"""The Starlette plugin in real server processes."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from resonate_web.testing.servers import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

UVICORN = ("uvicorn", "shop:app", "--port", "0")
WORKERS = (*UVICORN, "--workers", "2")
ODD_IDS = ["a/b/c d", "50%", "50%25", "%2e%2e/x", "ü/日本/😀", "a?b#c&d=e;f+g", "x" * 200, "ä" * 200]

SHOP = """
import asyncio
import os
import threading
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from resonate_web.starlette import Resonate

gate, waiting, found = threading.Event(), [], {}


def told(name):
    with open(os.environ["TOLD"], "a") as told:
        told.write(f"{name} {os.getpid()}\\n")


def first(order):
    told("first")
    return 1


def second(order):
    told("second")
    with open(os.environ["GATE"]) as gate:
        return gate.read()


def process(ctx, order):
    yield ctx.run(first, order)
    return (yield ctx.run(second, order))


def quick(ctx, order):
    return {"order": order}
    yield


async def fetch(url):
    return [(await found["client"].get(url)).json(), asyncio.get_running_loop() is found["loop"]]


def fetched(ctx, order):
    return (yield ctx.run(fetch, order["url"]))


async def slow():
    told("slow")
    await asyncio.Event().wait()


def slowly(ctx, order):
    yield ctx.run(slow)


WORKFLOWS = {"process": process, "quick": quick, "fetched": fetched, "slowly": slowly}


async def create(request):
    order = await request.json()
    return await resonate.astart(order["id"], WORKFLOWS[request.path_params["kind"]], order)


def block(request):
    waiting.append(1)
    gate.wait(60)
    return JSONResponse("opened")


async def fill(request):
    for _ in range(64):
        asyncio.get_running_loop().run_in_executor(None, gate.wait, 60)
    return JSONResponse("full")


async def open_gate(request):
    gate.set()
    return JSONResponse("open")


async def state(request):
    streams = [task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == "Streamed._sent"]
    return JSONResponse({"pid": os.getpid(), "waiting": len(waiting), "streams": len(streams)})


async def untouched(request, call_next):
    return await call_next(request)


@asynccontextmanager
async def lifespan(app):
    async with httpx.AsyncClient() as client:
        found.update(client=client, loop=asyncio.get_running_loop())
        yield


routes = [
    Route("/state", state),
    Route("/block", block),
    Route("/fill", fill),
    Route("/open", open_gate, methods=["POST"]),
    Route("/{kind}", create, methods=["POST"]),
]
between = [Middleware(BaseHTTPMiddleware, dispatch=untouched)]
app = Starlette(routes=routes, middleware=between, lifespan=lifespan)
resonate = Resonate(app)
for workflow in WORKFLOWS.values():
    resonate.register(workflow)
"""


@pytest.fixture
def shop(site: Any) -> Any:
    (site.folder / "shop.py").write_text(SHOP)
    return site


@pytest.fixture
def uvicorn(serve: Any, shop: Any) -> Callable[..., Any]:
    def start(*arguments: str, **environ: str) -> Any:
        return serve(*UVICORN, *arguments, **environ)

    return start


def test_odd_ids_survive_a_real_server(uvicorn: Any) -> None:
    """Each Location, sent as it came, leads to the status of exactly that id; a stranger's variant does not."""
    server = uvicorn()
    for id in ODD_IDS:
        started = server.ask("POST", "/quick", {"id": id})
        assert started.status in (200, 202), started.body
        location = started.headers["Location"]
        found = server.ask("GET", location)
        assert (found.status, found.json["id"]) == (200, id)
        assert found.json["links"]["self"] == location
        assert server.ask("GET", location[:-1]).status == 404
        assert server.ask("GET", location.partition("?")[0]).status == 404


def test_methods_on_a_real_server(uvicorn: Any) -> None:
    """HEAD has the length of GET and no body, OPTIONS none at all, and a body that is too long is refused."""
    server = uvicorn(RESONATE_MAX_BODY="1000")
    location = server.ask("POST", "/process", {"id": "order/1"}).headers["Location"]
    head = server.ask("HEAD", location)
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    options = server.ask("OPTIONS", location)
    assert (options.status, options.headers["Allow"], options.body) == (204, "GET, HEAD, OPTIONS", b"")
    assert server.ask("DELETE", location).status == 405
    assert server.ask("BREW", location).headers["Content-Type"] == "application/problem+json"
    assert server.ask("POST", location, {"x": "x" * 2000}).status in (405, 413)
    assert server.ask("POST", "/quick", {"id": "x", "x": "x" * 2000}).status == 413


def with_workers(serve: Any, *command: str) -> Any:
    """Start a server with children; the parent says where they will listen before they do."""

    def listens() -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", server.port)) == 0

    server = serve(*(command or WORKERS))
    until(listens)
    return server


def test_recovery_without_a_request(serve: Any, shop: Any) -> None:
    """Of two workers killed in the middle of a step, the lifespan of one that starts later takes the run up."""
    server = with_workers(serve)
    assert server.ask("POST", "/process", {"id": "order/1"}).status == 202
    assert [shop.told()[0], shop.told()[0]] == ["first", "second"]
    server.kill()
    server = with_workers(serve)
    name, pid = shop.told()
    assert name == "second"
    assert pid != server.process.pid
    shop.open_gate()
    assert server.ask("POST", "/process", {"id": "order/1"}).headers["Idempotency-Replayed"] == "true"


def test_identical_posts_over_two_workers_start_one_run(serve: Any, shop: Any) -> None:
    """Fifty at once: 202 or 200 each, one id, one Location, and exactly one that was not replayed."""
    server = with_workers(serve)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.ask("POST", "/quick", {"id": "order/42"}), range(50)))
    assert {answer.status for answer in answers} <= {200, 202}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert [answer.headers["Idempotency-Replayed"] for answer in answers].count(None) == 1


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold SQLite's write lock, as another process of the host does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("exists", [True, False], ids=["store", "no store yet"])
@pytest.mark.parametrize("lifespan", ["on", "off"])
def test_a_locked_store_holds_up_nobody_else(uvicorn: Any, shop: Any, exists: bool, lifespan: str) -> None:
    """While another process writes, an unrelated route answers, from the very first request on; orders wait for it."""
    path = shop.folder / "resonate.db"
    if exists:
        server = uvicorn()
        server.ask("POST", "/quick", {"id": "before"})
        server.stop()
    with ThreadPoolExecutor(1) as pool:
        with locked(path):
            server = uvicorn("--lifespan", lifespan)
            assert server.ask("GET", "/state").status == 200
            order = pool.submit(server.ask, "POST", "/quick", {"id": "a"})
            for _ in range(100):
                assert server.ask("GET", "/state").status == 200
            assert not order.done()
        assert order.result(30).status in (200, 202)


def test_a_store_that_gets_locked_later_holds_up_nobody_else(uvicorn: Any, shop: Any) -> None:
    """Reading goes on beside the other writer, too."""
    server = uvicorn()
    location = server.ask("POST", "/quick", {"id": "before"}).headers["Location"]
    with ThreadPoolExecutor(1) as pool:
        with locked(shop.folder / "resonate.db"):
            order = pool.submit(server.ask, "POST", "/quick", {"id": "a"})
            for _ in range(100):
                assert server.ask("GET", "/state").status == 200
                assert server.ask("GET", location).status == 200
            assert not order.done()
        assert order.result(30).status in (200, 202)


def test_the_frameworks_threads_are_not_ours(uvicorn: Any) -> None:
    """With every thread of anyio's limiter and of asyncio's executor taken, runs are started, executed and shown."""
    server = uvicorn()
    with ThreadPoolExecutor(40) as pool:
        blocked = [pool.submit(server.ask, "GET", "/block") for _ in range(40)]
        until(lambda: server.ask("GET", "/state").json["waiting"] == 40)
        assert server.ask("GET", "/fill").status == 200
        location = server.ask("POST", "/quick", {"id": "a"}).headers["Location"]
        until(lambda: server.ask("GET", location).json["done"])
        server.ask("POST", "/open")
        assert [answer.result(30).status for answer in blocked] == [200] * 40


def test_async_steps_run_on_the_apps_own_loop(uvicorn: Any) -> None:
    """A client that the app's lifespan has opened serves them."""
    server = uvicorn()
    url = f"http://127.0.0.1:{server.port}/state"
    location = server.ask("POST", "/fetched", {"id": "a", "url": url}).headers["Location"]
    shown = until(lambda: (found := server.ask("GET", location).json)["done"] and found)
    assert [shown["result"][0]["pid"], shown["result"][1]] == [server.ask("GET", "/state").json["pid"], True]


def test_an_async_step_in_flight_goes_on_after_a_restart(uvicorn: Any, shop: Any) -> None:
    """A server that is told to end gives the run back, and no failure is recorded of the step that it stopped."""
    server = uvicorn(RESONATE_GRACE_MS="200")
    location = server.ask("POST", "/slowly", {"id": "a"}).headers["Location"]
    assert shop.told()[0] == "slow"
    output = server.stop()
    assert "Exception" not in output
    assert "Traceback" not in output
    server = uvicorn()
    assert shop.told()[0] == "slow"
    [step] = until(lambda: server.ask("GET", location).json["steps"])
    assert (step["status"], step["attempt"]) == ("running", 1)


@contextmanager
def watching(server: Any, location: str) -> Iterator[http.client.HTTPResponse]:
    """Open a stream of events and read its beginning."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("GET", location, headers={"Accept": "text/event-stream"})
        response = connection.getresponse()
        assert response.status == 200
        while not response.readline().startswith(b"data:"):
            pass
        yield response


def streams(server: Any) -> int:
    return int(server.ask("GET", "/state").json["streams"])


def test_a_stream_ends_with_its_run(uvicorn: Any, shop: Any) -> None:
    """What is recorded is told as it happens."""
    server = uvicorn()
    location = server.ask("POST", "/process", {"id": "a"}).headers["Location"]
    with watching(server, location) as response:
        assert [shop.told()[0], shop.told()[0]] == ["first", "second"]
        shop.open_gate()
        assert b"event: done" in response.read()


def test_a_stream_ends_with_its_client(uvicorn: Any) -> None:
    """A client that has gone is noticed, also below a middleware that would not tell."""
    server = uvicorn()
    location = server.ask("POST", "/process", {"id": "a"}).headers["Location"]
    with watching(server, location), watching(server, location):
        until(lambda: streams(server) == 2)
    until(lambda: streams(server) == 0)


def test_a_stream_ends_with_its_server(uvicorn: Any) -> None:
    """A server that is told to end does so, though somebody watches; the client sees a clean end."""
    server = uvicorn(RESONATE_GRACE_MS="200")
    location = server.ask("POST", "/process", {"id": "a"}).headers["Location"]
    with watching(server, location) as response:
        output = server.stop()
        response.read()
    assert server.process.returncode in (0, -15)
    assert "Traceback" not in output


def test_a_wait_ends_with_its_server(uvicorn: Any) -> None:
    """Nobody who waits for a run holds up the end of the server: they are answered with what there is."""
    server = uvicorn(RESONATE_GRACE_MS="200")
    location = server.ask("POST", "/process", {"id": "a"}).headers["Location"]
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        connection.request("GET", location, headers={"Prefer": "wait=25"})
        server.ask("GET", "/state")  # answered after the other request was taken in
        server.stop()
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["done"]) == (200, False)


def test_a_reloaders_parent_opens_nothing(serve: Any, shop: Any) -> None:
    """`uvicorn --reload` serves from a child, and only that has the store."""
    server = with_workers(serve, *UVICORN, "--reload")
    assert server.ask("POST", "/quick", {"id": "a"}).status in (200, 202)
    links = [os.readlink(link) for link in Path(f"/proc/{server.process.pid}/fd").iterdir() if link.exists()]
    assert [link for link in links if "resonate.db" in link] == []
