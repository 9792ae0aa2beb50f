"""How the gateway is mounted in a Flask app, and how a step gets the app's world.

Nothing here holds the app: it is found through `current_app` or a weak reference, so that an app made for one
test can be collected.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import flask
from jinja2 import TemplateNotFound
from werkzeug.routing import BaseConverter

from resonate_web.errors import ConfigError, ResonateError
from resonate_web.flask.messages import rendered
from resonate_web.gateway import problems
from resonate_web.gateway.pages import Override
from resonate_web.gateway.routes import ROUTES

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
    for number, (head, exact) in enumerate(_heads(prefix)):
        # Not by add_url_rule: a rule without methods takes them all, and the gateway knows what each deserves.
        rule = head if exact else f"{head}<resonate_rest:rest>"
        app.url_map.add(app.url_rule_class(rule, endpoint=f"{ENDPOINT}{number}", merge_slashes=False))
        app.view_functions[f"{ENDPOINT}{number}"] = view
    for class_ in problems.ANSWERED:
        app.register_error_handler(class_, _problem)


def refuse_conflicts(app: flask.Flask, prefix: str) -> None:
    """Raise ConfigError when a route of the app's own lies where ours are mounted, naming both."""
    for head, exact in _heads(prefix):
        ours = head if exact else f"{head}<id>"
        for rule in app.url_map.iter_rules():
            meets = rule.rule == head if exact else rule.rule.startswith(head)
            if meets and not rule.endpoint.startswith(ENDPOINT):
                raise ConfigError(
                    f"the app's route {rule.rule!r} ({rule.endpoint}) lies where {ours!r} of resonate_web is "
                    "mounted: rename it, or move ours with RESONATE_PREFIX"
                )


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


def override(app: weakref.ref[flask.Flask]) -> Override:
    """Return how a page is rendered with the app's own template of that name, where it has one."""

    def render(name: str, context: dict[str, Any]) -> str | None:
        found = app()
        if found is None:
            return None
        try:
            template = found.jinja_env.get_template(name)
        except TemplateNotFound as error:
            if error.name != name:  # something that the app's own template includes
                raise
            return None
        return flask.render_template(template, **context)

    return render


def exempt(app: flask.Flask, view: Callable[..., flask.Response]) -> None:
    """Have Flask-WTF, where an app uses it, leave our forms to the gateway, which checks nonces of its own."""
    protection = app.extensions.get("csrf")
    if protection is not None and hasattr(protection, "exempt"):
        protection.exempt(view)


def _heads(prefix: str) -> list[tuple[str, bool]]:
    """Return how our paths begin, and whether that is the whole path."""
    return list(dict.fromkeys((prefix + route.head, route.exact) for route in ROUTES))


def _problem(error: ResonateError) -> flask.Response:
    return rendered(problems.problem_of(error), flask.current_app.extensions["resonate"].core.on_thread)
