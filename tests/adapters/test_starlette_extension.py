"""The Starlette plugin as an object: binding, settings, conflicts, lives, event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.templating import Jinja2Templates
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from resonate_web.errors import AlreadyRegistered, ConfigError, Stopped, WrongCall
from resonate_web.starlette import Resonate, get_resonate
from resonate_web.testing.servers import until

WAIT_S = 10


async def hello(request: Request) -> Response:
    return PlainTextResponse(f"hello {request.path_params.get('rest', '')}")


def name_of(ctx):
    return ctx.id
    yield


@pytest.fixture
def resonate() -> Iterator[Resonate]:
    made = Resonate(store="memory://")
    yield made
    made.close()


def test_one_line_is_enough(resonate: Resonate) -> None:
    """`init_app` adds routes and middleware; the lifespan of the app's own starts and stops the engine within."""
    seen: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        seen.append(resonate.core.ready)
        yield
        with pytest.raises(Stopped):
            resonate.core.ensure_started()
        seen.append(True)

    app = Starlette(routes=[Route("/", hello)], lifespan=lifespan)
    resonate.init_app(app)
    assert app.state.resonate is resonate
    with TestClient(app):
        until(lambda: resonate.core.ready, WAIT_S)
    assert seen == [False, True]


def test_what_lives_is_counted(resonate: Resonate) -> None:
    """Of a lifespan within another, as when it is composed by hand, the last one ends the engine."""

    @asynccontextmanager
    async def composed(app: Starlette) -> AsyncIterator[None]:
        async with resonate.lifespan(app):
            yield
            assert resonate.core.ready

    app = Starlette(routes=resonate.routes, middleware=[Middleware(resonate.middleware)], lifespan=composed)
    with TestClient(app):
        until(lambda: resonate.core.ready, WAIT_S)
    assert not resonate.core.ready


def test_the_lifespan_of_a_parent_is_enough(resonate: Resonate) -> None:
    """A mounted app has none of its own: its parent's takes ours as it is."""
    resonate.register(name_of)
    parent = Starlette(routes=[Mount("/shop", Starlette(routes=resonate.routes))], lifespan=resonate.lifespan)
    with TestClient(parent):
        until(lambda: resonate.core.ready, WAIT_S)


def test_nothing_is_opened_before_the_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Construction and init_app make no thread and no file, whatever autostart says."""
    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    for autostart in ("lazy", "eager", "off"):
        Resonate(Starlette(), autostart=autostart).register(name_of)
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


def test_the_default_store_is_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starlette has no folder for such things; `store=` or RESONATE_STORE names a better one."""
    monkeypatch.chdir(tmp_path)
    resonate = Resonate()
    resonate.register(name_of)
    assert resonate.run("a", name_of) == "a"
    resonate.close()
    assert (tmp_path / "resonate.db").exists()


@pytest.mark.parametrize("lifespan", [True, False])
@pytest.mark.parametrize(("autostart", "expected"), [("lazy", True), ("eager", True), ("off", False)])
def test_the_first_request_of_any_path_starts_the_engine(autostart: str, expected: bool, lifespan: bool) -> None:
    """Also one that is not found; with off, neither it nor a lifespan does."""
    resonate = Resonate(store="memory://", autostart=autostart)
    app = Starlette()
    resonate.init_app(app)
    with TestClient(app) if lifespan else nullcontext(TestClient(app)) as client:
        assert client.get("/nowhere").status_code == 404
        until(lambda: "resonate-start" not in {thread.name for thread in threading.enumerate()}, WAIT_S)
        assert resonate.core.runtime.started == expected
    resonate.close()


def test_settings_are_read_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyword beats the environment; an unknown one names the nearest."""
    monkeypatch.setenv("RESONATE_GROUP", "env")
    monkeypatch.setenv("RESONATE_THREADS", "3")
    resonate = Resonate(group="keyword")
    monkeypatch.setenv("RESONATE_THREADS", "4")
    assert (resonate.settings.group, resonate.settings.threads) == ("keyword", 3)
    with pytest.raises(ConfigError, match="RESONATE_PREFIX"):
        Resonate(prefx="/x")


def test_a_second_registration_is_an_error(resonate: Resonate) -> None:
    """The message says what to do instead; the first registration stands."""
    app = Starlette()
    resonate.init_app(app)
    for second in (resonate, Resonate()):
        with pytest.raises(ConfigError, match="already has a Resonate"):
            second.init_app(app)
    assert len(app.user_middleware) == 1


def test_an_app_that_has_served_is_refused(resonate: Resonate) -> None:
    """Its middleware is built; nothing is half bound."""
    app = Starlette()
    TestClient(app).get("/")
    with pytest.raises(ConfigError, match="before its first request"):
        resonate.init_app(app)
    assert app.routes == []


CONFLICTS = [
    Route("/status/{name}", hello, name="mine"),
    Route("/status/one", hello, name="mine"),
    Mount("/status", Router([Route("/{name}", hello)]), name="mine"),
    Mount("", routes=[Route("/status/{name:path}", hello, name="mine")]),
]


@pytest.mark.parametrize("route", CONFLICTS, ids=["pattern", "one path", "mount", "below a mount"])
def test_a_route_of_the_apps_own_is_an_error(resonate: Resonate, route: Any) -> None:
    """Both are named, and how to part them: when it is there at first, at startup, or with the first request."""
    with pytest.raises(ConfigError, match=r"'/status/?.*\(mine\).*'/status/<id>'.*prefix="):
        resonate.init_app(Starlette(routes=[route]))
    app = Starlette()
    resonate.init_app(app)
    app.routes.append(route)
    for _ in range(2):
        with pytest.raises(ConfigError, match="mine"):
            TestClient(app).get("/")
    with pytest.raises(ConfigError, match="mine"), TestClient(app):
        pass
    Resonate(Starlette(routes=[route]), prefix="/durable")


def test_a_route_that_fastapi_includes_is_an_error_too(resonate: Resonate) -> None:
    """However its routers keep their routes."""
    router = APIRouter(prefix="/status")
    router.get("/{name}", name="mine")(lambda name: name)
    app = FastAPI()
    app.include_router(router)
    with pytest.raises(ConfigError, match="'/status/<id>'"):
        resonate.init_app(app)


def test_neighbours_are_no_conflict(resonate: Resonate) -> None:
    """A health page at /status/, pages of the same name below another path, other hosts, and a catch-all."""
    app = Starlette(
        routes=[
            Route("/statuses", hello),
            Mount("/shop", routes=[Route("/status/{rest}", hello)]),
            Host("api.example", Router([Route("/{rest:path}", hello)])),
            Route("/{rest:path}", hello),
        ]
    )
    resonate.init_app(app)
    client = TestClient(app)
    assert [client.get(path).text for path in ("/shop/status/x", "/a/b")] == ["hello x", "hello a/b"]
    assert client.get("/status/x").headers["Content-Type"] == "application/problem+json"
    assert client.get("/status/a%0Ab").headers["Content-Type"] == "application/problem+json"


def test_routes_below_a_mount_are_an_error(resonate: Resonate) -> None:
    """Links made in the app would not lead there; a prefix moves both."""
    app = Starlette(routes=[Mount("/durable", routes=resonate.routes)], middleware=[Middleware(resonate.middleware)])
    with pytest.raises(ConfigError, match="prefix='/durable'"):
        TestClient(app).get("/")


def test_functions_are_registered_and_returned_unchanged(resonate: Resonate) -> None:
    """As a call or as a decorator, with or without options; one name has one function; dependencies reach them."""
    assert resonate.register(name_of) is name_of
    assert resonate.register(name="other", version=2)(name_of) is name_of
    with pytest.raises(AlreadyRegistered):
        resonate.register(name="name_of")(hello)

    @resonate.register
    def needs(ctx):
        return ctx.get_dependency("db")
        yield

    resonate.set_dependency("db", 7)
    assert resonate.run("a", needs) == 7


def test_outside_of_a_request_the_error_says_what_is_missing(resonate: Resonate) -> None:
    """`start` needs our middleware around the endpoint, and so does the handle of a request."""

    async def create(request: Request) -> Response:
        return await resonate.astart("a", name_of)

    with pytest.raises(WrongCall, match=r"Middleware\(resonate\.middleware\).*run\(\)"):
        resonate.start("a", name_of)
    with pytest.raises(WrongCall, match=r"Middleware\(resonate\.middleware\).*arun\(\)"):
        TestClient(Starlette(routes=[Route("/", create)])).get("/")
    with pytest.raises(ConfigError, match=r"Middleware\(resonate\.middleware\)"):
        get_resonate(HTTPConnection({"type": "http"}))


def test_a_websocket_has_the_handle_too(resonate: Resonate) -> None:
    """It starts runs by the verbs that answer no request."""
    resonate.register(name_of)

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        found = get_resonate(websocket)
        await websocket.send_text(await found.arun("a", name_of))
        with pytest.raises(WrongCall):
            await found.astart("b", name_of)
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/", talk)])
    resonate.init_app(app)
    with TestClient(app) as client, client.websocket_connect("/") as websocket:
        assert websocket.receive_text() == "a"


def test_two_apps_in_one_process_do_not_meet() -> None:
    """Each client answers for its own app, one within the other, with its own links and store."""
    outer, inner = Resonate(store="memory://"), Resonate(store="memory://")
    made = []
    for resonate in (outer, inner):
        resonate.register(name_of)

    async def create(request: Request) -> Response:
        made.extend([await outer.astart("a", name_of), await inner.astart("a", name_of)])
        assert get_resonate(request) is inner
        return made[0]

    within = Starlette(routes=[Route("/create", create)])
    inner.init_app(within)
    app = Starlette(routes=[Mount("/within", within)])
    outer.init_app(app)
    with TestClient(app) as client:
        client.get("/within/create")
        links = [response.headers["Location"] for response in made]
        assert [link.partition("?")[0] for link in links] == ["/status/a", "/within/status/a"]
        assert [client.get(link).status_code for link in links] == [200, 200]
    inner.close()


def test_an_async_step_outlives_a_loop_that_ends(resonate: Resonate) -> None:
    """Without a lifespan each request of a test client has a loop of its own: a step on it begins anew elsewhere."""
    begun: list[asyncio.AbstractEventLoop] = []
    gate = threading.Event()

    async def fetch() -> str:
        begun.append(asyncio.get_running_loop())
        while not gate.is_set():
            await asyncio.sleep(0.001)
        return "fetched"

    async def create(request: Request) -> Response:
        response = await resonate.astart("a", fetches)
        while not begun:
            await asyncio.sleep(0.001)
        return response

    @resonate.register
    def fetches(ctx):
        return (yield ctx.run(fetch))

    app = Starlette(routes=[Route("/", create)])
    resonate.init_app(app)
    assert TestClient(app).get("/").status_code == 202
    until(lambda: len(begun) == 2, WAIT_S)
    gate.set()
    assert resonate.get("a").result(WAIT_S) == "fetched"
    assert begun[0] is not begun[1]
    view = resonate.core.view("a")
    assert view is not None
    assert [step.failures for step in view.steps] == [()]


def test_templates_of_the_apps_own_come_first(tmp_path: Path) -> None:
    """A page whose template there is, is rendered with it; a fault in it is not hidden, and other pages are ours."""
    (tmp_path / "resonate").mkdir()
    problem = tmp_path / "resonate" / "problem.html"
    problem.write_text("sorry: {{ page.status }}")
    app = Starlette()
    Resonate(app, store="memory://", autostart="off", templates=Jinja2Templates(tmp_path))
    client = TestClient(app, headers={"Accept": "text/html"})
    assert client.get("/status/a").text == "sorry: 404"
    problem.write_text("{% include 'missing.html' %}")
    with pytest.raises(LookupError, match="missing"):
        client.get("/status/a")
    problem.unlink()
    assert "<h1" in client.get("/status/a").text


def test_importing_starts_nothing() -> None:
    """The plugin starts no thread and opens no file; the core imports no framework."""
    code = (
        "import os, sys, threading\n"
        "import starlette.applications\n"
        "files = set(os.listdir('/proc/self/fd'))\n"
        "import resonate_web.starlette\n"
        "assert not {'flask', 'django', 'apscheduler', 'fastapi'} & set(sys.modules), sys.modules\n"
        "assert threading.active_count() == 1\n"
        "assert set(os.listdir('/proc/self/fd')) == files\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_starlette_the_import_names_the_extra() -> None:
    """What to install is in the error."""
    code = "import sys\nsys.modules['starlette'] = None\nimport resonate_web.starlette\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'resonate-web[starlette]'" in done.stderr
