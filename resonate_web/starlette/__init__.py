"""Resonate for Starlette and FastAPI: `resonate = Resonate(app)`, or its routes and its middleware in the app's lists.

One object is one client: its settings, workflows and dependencies, and what is open. It opens nothing before the
app's lifespan, or the first request.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

try:
    from starlette.applications import Starlette
except ImportError as error:
    raise ImportError("resonate_web.starlette needs Starlette: pip install 'resonate-web[starlette]'") from error

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from resonate_web.config import from_mapping
from resonate_web.errors import ConfigError
from resonate_web.gateway.declaring import Declarations
from resonate_web.gateway.idempotency import Rules
from resonate_web.gateway.routes import Gateway
from resonate_web.resonate import Resonate as Core
from resonate_web.starlette import idempotent, mount
from resonate_web.starlette.life import Life
from resonate_web.starlette.middleware import Middleware, current
from resonate_web.starlette.verbs import Verbs, get_resonate
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.registry import Registry

__all__ = ["Resonate", "Verbs", "get_resonate"]

F = TypeVar("F", bound=Callable[..., Any])


class Resonate(Declarations, Verbs):
    """The plugin. Keyword arguments are settings (`Settings`), above the environment; `templates` has own pages."""

    def __init__(
        self, app: Starlette | None = None, *, templates: mount.Templates | None = None, **settings: Any
    ) -> None:
        Declarations.__init__(self, Registry(), Codec(), {})
        self.settings = from_mapping(
            {f"RESONATE_{name.upper()}": value for name, value in settings.items()}, os.environ
        )
        self._override = None if templates is None else mount.override(templates)
        Verbs.__init__(self, Life(self._made), {})
        self.routes: list[BaseRoute] = mount.routes(self._life)
        if app is not None:
            self.init_app(app)

    @property
    def core(self) -> Core:
        """Return the client; after its end, such as that of a lifespan, the next request makes another."""
        return self._life.state.core

    def init_app(self, app: Starlette) -> None:
        """Give an app our routes and our middleware; nothing is opened or started.

        Raises: ConfigError for a second registration, an app that has served already, or a route in our place.
        """
        if hasattr(app.state, "resonate"):
            raise ConfigError("the app already has a Resonate: make one and import it where needed")
        if app.middleware_stack is not None:
            raise ConfigError("the app has served already: bind Resonate to it before its first request")
        mount.refuse_conflicts(app.routes, self._life)
        app.routes[:0] = self.routes  # first, for what would catch everything
        app.add_middleware(self.middleware)
        app.state.resonate = self

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Wrap an app, as in `Middleware(resonate.middleware)`; it sees the app's lifespan too."""
        return Middleware(app, self._life, self)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Run the engine for as long as the block lasts; only for an app whose lifespan our middleware does not see."""
        async with self._life.lifespan():
            yield

    def _decorated(self, handler: F, rules: Rules) -> F:
        return cast(F, idempotent.decorated(self._life, lambda: current(self._life), handler, rules))

    def _made(self) -> Gateway:
        core = Core(self.settings, registry=self.registry, codec=self.codec, dependencies=self._dependencies)
        return Gateway(core, override=self._override)
