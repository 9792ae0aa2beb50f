"""What a view, a command or a shell asks of the current app's client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import flask

from resonate_web.errors import ConfigError, WrongCall
from resonate_web.flask import messages
from resonate_web.gateway.routes import Gateway
from resonate_web.resonate import Options
from resonate_web.resonate import Resonate as Core
from resonate_web.resonate.calls import Calls


@dataclass(slots=True, kw_only=True)
class State:
    """What one app has of Resonate; found by `get_resonate()`."""

    core: Core
    gateway: Gateway
    identify: messages.Identify
    checked: bool = False
    """Whether the app's own routes, all known by the first request, were compared with ours."""


def get_resonate(app: flask.Flask | None = None) -> State:
    """Return the state of an app, by default the current one.

    Raises: WrongCall outside of an app context, ConfigError when the app has no Resonate.
    """
    if app is None and not flask.has_app_context():
        raise WrongCall("no app is active here: use `with app.app_context():`, or give the app to get_resonate(app)")
    state: State | None = (app or flask.current_app).extensions.get("resonate")
    if state is None:
        raise ConfigError("the app has no Resonate: call resonate.init_app(app)")
    return state


class Verbs(Calls):
    """What the current app's client can do, under given options."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    def options(self, **options: Any) -> Verbs:
        """Return the same verbs under options (`Options`): `timeout=`, `tags=`, `version=`, `target=`, `on_failed=`."""
        return Verbs({**self._options, **options})

    def start(self, id: str | None, fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> flask.Response:
        """Start a run, or join the one of that id, and return the answer of the view: 202, durable when it is sent.

        Raises: InvalidId, TooLarge, IdInUse, StoreUnavailable, which Flask answers as problem documents unless the
        app handles them; NotRegistered and Unserializable, which are errors of the view; WrongCall outside of one.
        """
        if not flask.has_request_context():
            raise WrongCall("start() answers a request; elsewhere use run() or begin_run()")
        state = get_resonate()
        request = messages.current(state.identify, state.core.settings.max_body)
        flow = state.gateway.start(request, id, fn, args, kwargs, Options().with_(**self._options))
        return messages.rendered(state.core.on_thread.perform(flow), state.core.on_thread)

    async def astart(
        self, id: str | None, fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> flask.Response:
        """Await `start`, in `async def` views. Each of them holds a thread of the server, so it waits for no run."""
        if not flask.has_request_context():
            raise WrongCall("astart() answers a request; elsewhere use run() or begin_run()")
        state = get_resonate()
        request = replace(messages.current(state.identify, state.core.settings.max_body), patience_ms=0)
        flow = state.gateway.start(request, id, fn, args, kwargs, Options().with_(**self._options))
        return messages.rendered(await state.core.on_loop.perform(flow), state.core.on_thread)

    def cancel_url(self, id: str) -> str:
        """Return the URL that cancels a run when something is posted to it; a person who opens it finds a form."""
        return get_resonate().gateway.cancel_url(id, _root())

    def status_url(self, id: str) -> str:
        """Return the URL of a run's status, signed where links give access; absolute if RESONATE_BASE_URL is set."""
        return get_resonate().gateway.status_url(id, _root())

    def ensure_started(self, app: flask.Flask | None = None) -> None:
        """Start the engine in this process, which serves; idempotent. Only servers without a hook need this call."""
        get_resonate(app).core.ensure_started()

    def close(self, app: flask.Flask | None = None) -> None:
        """Stop the engine in this process; idempotent. What runs is finished within the grace period or released."""
        get_resonate(app).core.close()

    def _core(self) -> Core:
        core = get_resonate().core
        return core.options(**self._options) if self._options else core


def _root() -> str:
    """Return where the app is mounted, also outside of a request."""
    if flask.has_request_context():
        return flask.request.script_root
    root: str = flask.current_app.config["APPLICATION_ROOT"]
    return root
