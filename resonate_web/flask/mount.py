"""How the gateway is mounted in a Flask app, and how a step gets the app's world.

Nothing here holds the app: it is found through `current_app` or a weak reference, so that an app made for one
test can be collected.
"""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import flask
from werkzeug.routing import BaseConverter

from resonate_web.config import Settings
from resonate_web.errors import ConfigError, ResonateError
from resonate_web.gateway import problems
from resonate_web.gateway.access import bearer
from resonate_web.gateway.messages import Headers, Request, Response
from resonate_web.gateway.routes import ROUTES

Identify = Callable[[flask.Request], str | None]
ENDPOINT = "resonate_route_"


class Rest(BaseConverter):
    """The rest of a path, whatever it holds: the gateway judges it, so that all frameworks refuse alike."""

    regex = "(?s:.*?)"
    part_isolating = False


def mount(app: flask.Flask, prefix: str, view: Callable[..., flask.Response]) -> None:
    """Route our paths, with every method, to `view`, and make problems of our errors in all of the app's views.

    Raises: ConfigError for a route that the app already defines.
    """
    refuse_conflicts(app, prefix)
    app.url_map.converters.setdefault("resonate_rest", Rest)
    for number, head in enumerate(_heads(prefix)):
        # Not by add_url_rule: a rule without methods takes them all, and the gateway knows what each deserves.
        rule = f"{head}<resonate_rest:rest>"
        app.url_map.add(app.url_rule_class(rule, endpoint=f"{ENDPOINT}{number}", merge_slashes=False))
        app.view_functions[f"{ENDPOINT}{number}"] = view
    for class_ in problems.ANSWERED:
        app.register_error_handler(class_, _problem)


def refuse_conflicts(app: flask.Flask, prefix: str) -> None:
    """Raise ConfigError when a route of the app's own lies where ours are mounted, naming both."""
    for head in _heads(prefix):
        for rule in app.url_map.iter_rules():
            if rule.rule.startswith(head) and not rule.endpoint.startswith(ENDPOINT):
                raise ConfigError(
                    f"the app's route {rule.rule!r} ({rule.endpoint}) lies where {head + '<id>'!r} of resonate_web is "
                    "mounted: rename it, or move ours with RESONATE_PREFIX"
                )


def current(identify: Identify) -> Request:
    """Return Flask's current request as the gateway's."""
    request: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]
    return Request(
        method=request.method,
        path=request.path,
        query=request.query_string.decode("latin-1"),
        headers=Headers(request.headers.items()),
        root=request.script_root,
        read=request.get_data,
        identify=lambda: identify(request),
        native=request,
    )


def rendered(response: Response) -> flask.Response:
    """Return the gateway's response as Flask's."""
    # As a list: from bytes Flask would set the length itself, and a HEAD's is that of the GET.
    body = [response.body] if isinstance(response.body, bytes) else response.body
    found = flask.Response(body, response.status, list(response.headers))
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


def secrets(app: weakref.ref[flask.Flask]) -> Callable[[], list[str | bytes]]:
    """Return how to read the app's secrets, oldest first: Flask lists its fallbacks newest first."""

    def read() -> list[str | bytes]:
        found = app()
        config = {} if found is None else found.config
        return [*reversed(config.get("SECRET_KEY_FALLBACKS") or ()), config.get("SECRET_KEY") or ""]

    return read


def world(app: weakref.ref[flask.Flask]) -> Callable[[], AbstractContextManager[None]]:
    """Return the surroundings of one attempt of a step: a fresh app context, so that sessions are torn down after it.

    Where one for the same app is active it is used: a second one would remove the outer one's session.
    """

    @contextmanager
    def around() -> Iterator[None]:
        found = app()
        if found is None or (flask.has_app_context() and flask.current_app == found):
            yield
            return
        with found.app_context():
            yield

    return around


def _heads(prefix: str) -> list[str]:
    return list(dict.fromkeys(prefix + route.head for route in ROUTES))


def _problem(error: ResonateError) -> flask.Response:
    return rendered(problems.problem_of(error))
