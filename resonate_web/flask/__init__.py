"""Resonate for Flask: `resonate = Resonate(app)`, or `resonate = Resonate()` and `resonate.init_app(app)` in a factory.

The extension object is app-free: workflows and dependencies are registered on it, once for all its apps. What
belongs to one app, its client and its gateway, rests in `app.extensions["resonate"]`.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

try:
    import flask
except ImportError as error:
    raise ImportError("resonate_web.flask needs Flask: pip install 'resonate-web[flask]'") from error

from resonate_web.config import from_mapping
from resonate_web.errors import ConfigError
from resonate_web.flask import cli, eager, idempotent, life, messages, mount
from resonate_web.flask.verbs import State, Verbs, get_resonate
from resonate_web.gateway.declaring import Declarations
from resonate_web.gateway.idempotency import Rules
from resonate_web.gateway.routes import Gateway
from resonate_web.resonate import Resonate as Core
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.registry import Registry

__all__ = ["Resonate", "State", "get_resonate"]

F = TypeVar("F", bound=Callable[..., Any])
logger = logging.getLogger(__name__)


class Resonate(Declarations, Verbs):
    """The extension. Keyword arguments are settings (`Settings`), below `app.config` and above the environment."""

    def __init__(self, app: flask.Flask | None = None, **settings: Any) -> None:
        Declarations.__init__(self, Registry(), Codec(), {})
        Verbs.__init__(self, {})
        self._settings = {f"RESONATE_{name.upper()}": value for name, value in settings.items()}
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Bind to an app: read its RESONATE_* settings once and mount the routes; nothing is opened or started.

        Raises: ConfigError for a second registration, a wrong setting, or a route that the app already defines.
        """
        if "resonate" in app.extensions:
            raise ConfigError(f"the app {app.name!r} already has a Resonate: make one and import it where needed")
        store = {"store": f"sqlite:///{os.path.join(app.instance_path, 'resonate.db')}"}
        settings = from_mapping({**self._settings, **app.config}, os.environ, defaults=store)
        weak = weakref.ref(app)
        core = Core(
            settings,
            registry=self.registry,
            codec=self.codec,
            dependencies=self._dependencies,
            around_step=mount.world(weak),
        )
        gateway = Gateway(core, secrets=mount.secrets(weak), override=mount.override(weak))
        mount.mount(app, settings.prefix, _view)
        identify = messages.identifier(settings, core.secret)
        app.extensions["resonate"] = State(core=core, gateway=gateway, identify=identify)
        weakref.finalize(app, life.abandon, core).atexit = False  # at exit the core closes by itself
        app.before_request_funcs.setdefault(None, []).insert(
            0, partial(life.first_use, _view)
        )  # before any that answers by itself
        app.cli.add_command(cli.group)
        if settings.autostart == "eager":
            eager.arm(app, core.ensure_started)

    def _decorated(self, handler: F, rules: Rules) -> F:
        return cast(F, idempotent.decorated(handler, rules))


def _view(rest: str = "") -> flask.Response:
    state = get_resonate()
    core = state.core
    flow, driver = state.gateway.handle(messages.current(state.identify, core.settings.max_body)), core.on_thread
    return flask.abort(404) if flow is None else messages.rendered(driver.perform(flow), driver)
