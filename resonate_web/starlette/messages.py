"""ASGI's requests as the gateway's, and the gateway's answers as Starlette's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse
from starlette.types import Receive, Scope

from resonate_web.config import Settings
from resonate_web.gateway.access import bearer
from resonate_web.gateway.messages import Headers, Request, Response, no_body
from resonate_web.resonate.performing import OnLoop
from resonate_web.starlette.streams import Streamed

Identify = Callable[[StarletteRequest], str | None]
PATIENCE_MS = 25_000
"""How long a request may wait at most: it holds no thread, but proxies give up after 30 seconds."""
STREAM_MS = 300_000
"""How long a stream lasts at most; its client continues with the next one."""


def root_of(scope: Scope) -> str:
    """Return where the app that serves this request is mounted."""
    return str(scope.get("root_path", "")).rstrip("/")


def path_of(scope: Scope, root: str) -> str:
    """Return the path below the mount point `root`, decoded once, as the server has done it."""
    path = str(scope["path"])
    return path[len(root) :] if path.startswith(f"{root}/") else path


def request_of(scope: Scope, root: str, identify: Identify, read: Callable[[], bytes] = no_body) -> Request:
    """Return a request as the gateway's. Who asks is looked up when it matters: middlewares may yet say it."""
    native = StarletteRequest(scope)
    return Request(
        method=scope["method"],
        path=path_of(scope, root),
        query=scope["query_string"].decode("latin-1"),
        headers=Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        root=root,
        origin=f"{scope.get('scheme', 'http')}://{native.headers.get('host', '')}",
        read=read,
        identify=lambda: identify(native),
        native=native,
        patience_ms=PATIENCE_MS,
        stream_ms=STREAM_MS,
    )


async def body_of(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the body, or more than `limit` bytes of one that is longer. Raises: ClientDisconnect."""
    length = HTTPConnection(scope).headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        return b""  # refused by its length
    body, more = bytearray(), True
    while more and len(body) <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def identifier(settings: Settings, key: Callable[[], bytes]) -> Identify:
    """Return who a request comes from: as configured, else the authenticated user, else a hash of Authorization."""

    def identify(request: StarletteRequest) -> str | None:
        if settings.principal is not None:
            return settings.principal(request)
        user = request.scope.get("user")
        if user is not None and user.is_authenticated:
            return f"user:{_identity(user)}"
        return bearer(request.headers.get("authorization"), key)

    return identify


def _identity(user: Any) -> str:
    try:
        return str(user.identity)
    except NotImplementedError:  # a user that only has a name, such as SimpleUser in Starlette 0
        return str(user.display_name)


def rendered(response: Response, driver: OnLoop) -> StarletteResponse:
    """Return the gateway's response as Starlette's, with exactly its fields: a HEAD's length is that of the GET."""
    if isinstance(response.body, bytes):
        found = StarletteResponse(status_code=response.status)
        found.body = response.body
    else:
        found = Streamed(driver.chunks(response.body), response.status)
    found.raw_headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    return found
