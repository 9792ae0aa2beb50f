"""`@resonate.idempotent` around a view: it runs once per Idempotency-Key, and its answer is replayed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import flask
from werkzeug.exceptions import HTTPException

from resonate_web.errors import ConfigError
from resonate_web.flask import messages
from resonate_web.flask.verbs import State, get_resonate
from resonate_web.gateway import idempotency
from resonate_web.gateway.idempotency import Rules
from resonate_web.gateway.messages import Request, Response

_INNER: WeakSet[Callable[..., Any]] = WeakSet()
"""Views as they were before they were decorated."""


def decorated(view: Callable[..., Any], rules: Rules) -> Callable[..., Any]:
    """Return a view that runs at most once per key. What it raises is answered by the app's own handlers."""

    @functools.wraps(view)
    def answered(*args: Any, **kwargs: Any) -> Any:
        state = get_resonate()
        core, driver = state.core, state.core.on_thread
        claim = driver.perform(idempotency.claim(core, _request(state, rules), rules))
        if claim is None:
            return flask.current_app.ensure_sync(view)(*args, **kwargs)
        if isinstance(claim, Response):
            return messages.rendered(claim, driver)
        try:
            response = _run(view, args, kwargs)
            found = _captured(response)
        except BaseException:
            driver.perform(idempotency.release(core, claim))
            raise
        if not driver.perform(idempotency.keep(core, claim, found, rules)):
            response.headers[idempotency.STORED] = "false"
        return response

    _INNER.add(view)
    return idempotency.marked(answered, view)


def refuse_bypassed(app: flask.Flask) -> None:
    """Raise ConfigError when a route leads to a decorated view's inside: the decorator was put above the route's."""
    for endpoint, view in app.view_functions.items():
        if view in _INNER:
            raise ConfigError(f"@resonate.idempotent has no effect on {endpoint!r}: put it below the route's decorator")


def _run(view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> flask.Response:
    app = flask.current_app
    try:
        answer = app.ensure_sync(view)(*args, **kwargs)
    except Exception as error:  # `abort(404)` is an answer too
        answer = app.handle_user_exception(error)
    if isinstance(answer, HTTPException):
        answer = answer.get_response(flask.request.environ)  # Flask would call it as an app, with a stream for a body
    return app.make_response(answer)


def _captured(response: flask.Response) -> Response | None:
    if response.is_streamed or response.direct_passthrough:
        return None
    return Response(status=response.status_code, headers=tuple(response.headers.items()), body=response.get_data())


def _request(state: State, rules: Rules) -> Request:
    """Return the request, its body read if it has a key."""
    limit = state.core.settings.max_body
    request = messages.current(state.identify, limit)
    if idempotency.wanted(request, rules) is None:
        return request
    messages.bound(flask.request, limit)
    return replace(request, read=functools.partial(_body, request.read))


def _body(read: Callable[[], bytes]) -> bytes:
    """Return the body; of a form with files that a hook of the app has parsed already, what it held."""
    raw, request = read(), flask.request
    if raw or request.mimetype != "multipart/form-data":
        return raw
    files = [(name, file.filename or "", file.stream) for name, file in request.files.items(multi=True)]
    return idempotency.parsed(request.form.items(multi=True), files)
