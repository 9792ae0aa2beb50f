"""Resonate for Starlette and FastAPI: `resonate = Resonate(app)`, or its routes and its middleware in the app's lists.

One object is one client: its settings, workflows and dependencies, and what is open. It opens nothing before the
app's lifespan, or the first request.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast, overload

try:
    from starlette.applications import Starlette
except ImportError as error:
    raise ImportError("resonate_web.starlette needs Starlette: pip install 'resonate-web[starlette]'") from error

from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from resonate_web.config import from_mapping
from resonate_web.errors import ConfigError
from resonate_web.gateway.idempotency import Rules
from resonate_web.gateway.routes import Gateway
from resonate_web.resonate import Resonate as Core
from resonate_web.starlette import idempotent, mount
from resonate_web.starlette.life import Life
from resonate_web.starlette.middleware import Middleware, current
from resonate_web.starlette.verbs import Verbs, get_resonate
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.registry import Registry
from resonate_web.workflow.retry import RetryPolicy

__all__ = ["Resonate", "Verbs", "get_resonate"]

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=Exception)


class Resonate(Verbs):
    """The plugin. Keyword arguments are settings (`Settings`), above the environment; `templates` has own pages."""

    def __init__(
        self, app: Starlette | None = None, *, templates: mount.Templates | None = None, **settings: Any
    ) -> None:
        self.registry = Registry()
        self.codec = Codec()
        self.settings = from_mapping(
            {f"RESONATE_{name.upper()}": value for name, value in settings.items()}, os.environ
        )
        self._dependencies: dict[str, object] = {}
        self._override = None if templates is None else mount.override(templates)
        super().__init__(Life(self._made), {})
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

    @overload
    def register(self, fn: F) -> F: ...

    @overload
    def register(
        self,
        *,
        name: str | None = None,
        version: int = 1,
        on_cancel: Callable[..., Any] | str | None = None,
        retry: RetryPolicy | None = None,
    ) -> Callable[[F], F]: ...

    def register(self, fn: F | None = None, **options: Any) -> F | Callable[[F], F]:
        """Register a workflow or step; call or decorator. Returns the function unchanged. Raises: AlreadyRegistered."""

        def add(fn: F) -> F:
            self.registry.add(fn, **options)
            return fn

        return add if fn is None else add(fn)

    @overload
    def idempotent(self, endpoint: F) -> F: ...

    @overload
    def idempotent(
        self,
        *,
        required: bool = False,
        allow_anonymous: bool = False,
        headers: tuple[str, ...] = (),
        fingerprint: Callable[[Request], str | Awaitable[str]] | None = None,
    ) -> Callable[[F], F]: ...

    def idempotent(self, endpoint: F | None = None, **rules: Any) -> F | Callable[[F], F]:
        """Let a POST or PATCH endpoint run once per Idempotency-Key; goes below the route's decorator.

        `required`: a request without a key is refused. `allow_anonymous`: clients that nobody identifies share keys.
        `headers`: fields to store beside the usual ones. `fingerprint`: what makes two requests the same one.
        """
        checked = Rules(**rules)

        def decorate(endpoint: F) -> F:
            return cast(F, idempotent.decorated(self._life, lambda: current(self._life), endpoint, checked))

        return decorate if endpoint is None else decorate(endpoint)

    def set_dependency(self, name: str, value: object) -> None:
        """Give `ctx.get_dependency(name)` a value."""
        self._dependencies[name] = value

    def register_error(self, class_: type[E]) -> type[E]:
        """Let this exception class cross the boundary as itself; also a decorator."""
        self.codec.register_error(class_)
        return class_

    def _made(self) -> Gateway:
        core = Core(self.settings, registry=self.registry, codec=self.codec, dependencies=self._dependencies)
        return Gateway(core, override=self._override)
