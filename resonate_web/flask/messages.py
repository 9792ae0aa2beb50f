"""Requests and answers, from Flask's to the gateway's and back, and who is asking."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from io import BytesIO
from urllib.parse import urlencode

import flask

from resonate_web.config import Settings
from resonate_web.errors import TooLarge
from resonate_web.gateway.access import bearer
from resonate_web.gateway.forms import FORM_TYPE
from resonate_web.gateway.messages import Headers, Request, Response
from resonate_web.resonate.performing import OnThread

Identify = Callable[[flask.Request], str | None]
PATIENCE_MS = 5_000
"""How long a request may wait at most: it holds a thread of the server."""
STREAM_MS = 20_000
"""How long a stream of events may hold one."""


def current(identify: Identify, limit: int) -> Request:
    """Return Flask's current request as the gateway's; of a body without a length at most `limit` bytes are read."""
    request: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]
    return Request(
        method=request.method,
        path=request.path,
        query=request.query_string.decode("latin-1"),
        headers=Headers(request.headers.items()),
        root=request.script_root,
        origin=f"{request.scheme}://{request.host}",
        read=lambda: _body(request, limit),
        identify=lambda: identify(request),
        native=request,
        patience_ms=PATIENCE_MS if request.is_multithread else 0,
        stream_ms=STREAM_MS if request.is_multithread else 0,
    )


def rendered(response: Response, driver: OnThread) -> flask.Response:
    """Return the gateway's response as Flask's."""
    # As a list: from bytes Flask would set the length itself, and a HEAD's is that of the GET.
    body = [response.body] if isinstance(response.body, bytes) else driver.chunks(response.body)
    found = flask.Response(body, response.status, list(response.headers))
    found.automatically_set_content_length = False  # that of a stream's HEAD is not 0
    if response.header("Content-Type") is None:
        del found.headers["Content-Type"]  # Flask's default, untrue for an empty body
    return found


def identifier(settings: Settings, key: Callable[[], bytes]) -> Identify:
    """Return who a request comes from: as configured, else Flask-Login's user, else a hash of Authorization."""

    def identify(request: flask.Request) -> str | None:
        if settings.principal is not None:
            return settings.principal(request)
        if hasattr(flask.current_app, "login_manager"):
            user = importlib.import_module("flask_login").current_user
            if user.is_authenticated:
                return f"user:{user.get_id()}"
        return bearer(request.headers.get("Authorization"), key)

    return identify


def bound(request: flask.Request, limit: int) -> None:
    """Read a body of unknown length, and put it back for whoever reads it next. Raises: TooLarge."""
    if request.content_length is not None or "wsgi.input_terminated" not in request.environ:
        return
    source, body = request.environ["wsgi.input"], bytearray()
    while len(body) <= limit and (piece := source.read(limit + 1 - len(body))):
        body += piece
    if len(body) > limit:
        raise TooLarge(f"the request's body is longer than {limit} bytes")
    request.environ["wsgi.input"] = BytesIO(body)


def _body(request: flask.Request, limit: int) -> bytes:
    """Return the body; of a form that a hook of the app has parsed already, which used it up, the same inputs."""
    bound(request, limit)
    raw = request.get_data()
    if raw or request.mimetype != FORM_TYPE:
        return raw
    return urlencode(list(request.form.items(multi=True))).encode()
