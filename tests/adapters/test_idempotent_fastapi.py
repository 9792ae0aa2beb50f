"""Idempotent operations of FastAPI: dependencies, models, routers, uploads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Response, UploadFile
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response as StarletteResponse
from starlette.routing import Mount
from starlette.testclient import TestClient

from resonate_web.errors import ConfigError
from resonate_web.starlette import Resonate


class Order(BaseModel):
    """What a client sends."""

    item: str
    quantity: int = 1


class Receipt(BaseModel):
    """What a client gets."""

    number: int
    item: str
    by: str


@pytest.fixture
def resonate() -> Resonate:
    """Return a plugin without an app."""
    return Resonate(store="memory://", principal=lambda request: request.headers.get("X-User"))


def client(resonate: Resonate, app: Starlette) -> TestClient:
    """Bind the plugin to an app and return a client of it."""
    resonate.init_app(app)
    return TestClient(app, raise_server_exceptions=False)


KEY = {"Idempotency-Key": "k", "X-User": "ada"}


LOG: list[str] = []
"""What happened, in order."""


@pytest.fixture(autouse=True)
def _forget() -> None:
    """Begin with an empty log."""
    LOG.clear()


async def user(x_user: Annotated[str | None, Header()] = None) -> str:
    """Depend on who asks."""
    LOG.append("user")
    if x_user is None:
        raise HTTPException(401)
    return x_user


async def session() -> AsyncIterator[str]:
    """Depend on something that is opened and closed."""
    LOG.append("open")
    yield "session"
    LOG.append("close")


def _depending(decorate: Callable[[Any], Any], router: Any) -> None:
    """Give a router an operation with dependencies, models, and a status of its own."""

    @router.post("/orders/{shop}", status_code=201, response_model=Receipt)
    @decorate
    async def create(
        shop: str,
        order: Order,
        response: Response,
        who: Annotated[str, Depends(user)],
        database: Annotated[str, Depends(session)],
    ) -> Any:
        LOG.append("run")
        response.headers["Location"] = f"/orders/{shop}/{LOG.count('run')}"
        return {"number": LOG.count("run"), "item": order.item, "by": who, "secret": database}


def _plain(resonate: Resonate) -> Starlette:
    app = FastAPI()
    _depending(resonate.idempotent, app)
    return app


def _included(resonate: Resonate) -> Starlette:
    app, outer, inner = FastAPI(), APIRouter(prefix="/v1"), APIRouter(prefix="/shop")
    _depending(resonate.idempotent, inner)
    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    return app


def _mounted(resonate: Resonate) -> Starlette:
    inner = FastAPI()
    _depending(resonate.idempotent, inner)
    return Starlette(routes=[Mount("/outer", routes=[Mount("/inner", app=inner)])])


def _wrapped(resonate: Resonate) -> Starlette:
    app = FastAPI()
    _depending(resonate.idempotent, app)

    async def pass_on(request: Request, call_next: Any) -> StarletteResponse:
        response: StarletteResponse = await call_next(request)
        response.headers["X-Seen"] = "yes"
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    return app


APPS = [(_plain, ""), (_included, "/api/v1/shop"), (_mounted, "/outer/inner"), (_wrapped, "")]


@pytest.mark.parametrize(("make", "root"), APPS, ids=["plain", "included", "mounted", "behind a middleware"])
def test_a_fastapi_operation_with_dependencies_and_models(
    resonate: Resonate, make: Callable[..., Starlette], root: str
) -> None:
    """The answer is what FastAPI made of the model; login and session are asked each time, the operation once."""
    with client(resonate, make(resonate)) as asking:
        first, second = (asking.post(f"{root}/orders/berlin", json={"item": "pen"}, headers=KEY) for _ in range(2))
        assert (first.status_code, first.json()) == (201, {"number": 1, "item": "pen", "by": "ada"})
        assert (second.status_code, second.content) == (201, first.content)
        assert second.headers["location"] == first.headers["location"] == "/orders/berlin/1"
        assert second.headers["idempotency-replayed"] == "true"
        assert LOG == ["user", "open", "run", "close", "user", "open", "close"]
        other = asking.post(f"{root}/orders/berlin", json={"item": "ink"}, headers=KEY)
        assert other.status_code == 422
        assert other.json()["type"].endswith("idempotency-key-reused")
        LOG.clear()
        assert asking.post(f"{root}/orders/berlin", json={}, headers={**KEY, "Idempotency-Key": "i"}).status_code == 422
        stranger = {"Idempotency-Key": "k"}
        assert asking.post(f"{root}/orders/berlin", json={"item": "pen"}, headers=stranger).status_code == 401
        assert "run" not in LOG


def test_the_schema_is_that_of_the_operation(resonate: Resonate) -> None:
    """FastAPI describes parameters, body and answer as if the decorator were not there."""
    bare, decorated = FastAPI(), FastAPI()
    _depending(resonate.idempotent, decorated)
    _depending(lambda operation: operation, bare)
    assert decorated.openapi() == bare.openapi()


def test_what_fails_after_the_operation_frees_the_key(resonate: Resonate) -> None:
    """An answer that does not fit its model is a 500, which is not stored."""
    app, tries = FastAPI(), []

    @app.post("/pay", response_model=Receipt)
    @resonate.idempotent
    def pay() -> Any:
        tries.append(1)
        return {"number": "none" if len(tries) == 1 else len(tries), "item": "pen", "by": "ada"}

    with client(resonate, app) as asking:
        assert [asking.post("/pay", headers=KEY).status_code for _ in range(3)] == [500, 200, 200]
    assert len(tries) == 2


def test_an_upload_is_part_of_the_request(resonate: Resonate) -> None:
    """FastAPI parses the form before the operation runs; its bytes tell requests apart all the same."""
    app = FastAPI()

    @app.post("/upload")
    @resonate.idempotent
    async def upload(file: UploadFile) -> Any:
        return {"size": len(await file.read())}

    def sent(asking: TestClient, content: bytes) -> Any:
        body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + content + b"\r\n--b--\r\n"
        return asking.post("/upload", content=body, headers={**KEY, "Content-Type": "multipart/form-data; boundary=b"})

    with client(resonate, app) as asking:
        assert [sent(asking, b"one").json() for _ in range(2)] == [{"size": 3}] * 2
        assert sent(asking, b"two").status_code == 422
        assert sent(asking, b"x" * 1_100_000).status_code == 413


def test_the_decorator_goes_below_the_routes(resonate: Resonate) -> None:
    """The other way round it would do nothing: the first request with a key says so."""
    app = FastAPI()

    @resonate.idempotent
    @app.post("/pay")
    async def pay() -> str:
        return "told"

    resonate.init_app(app)
    with TestClient(app) as asking, pytest.raises(ConfigError, match="below the route's decorator"):
        asking.post("/pay", headers=KEY)
