"""What surrounds an app: it knows the request for `start`, answers our errors, and lives as long as the app."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resonate_web.gateway import problems
from resonate_web.gateway.messages import Request
from resonate_web.starlette import idempotent, messages, mount
from resonate_web.starlette.life import Life


@dataclass(slots=True)
class Served:
    """A request that is served, and where the app of one client is mounted; a mount within changes the scope."""

    scope: Scope
    root: str
    size: int = 0
    """How many bytes the app has read of a body whose length was not told."""


_CURRENT: ContextVar[Mapping[Life, Served]] = ContextVar("resonate_request", default=MappingProxyType({}))


def current(life: Life) -> Request | None:
    """Return the request that is served here, in async code or in a thread of it; None outside of one.

    Its body is the endpoint's: only the length is known.
    """
    served = _CURRENT.get().get(life)
    if served is None:
        return None
    core = life.state.core
    identify = messages.identifier(core.settings, core.secret)
    return messages.request_of(served.scope, served.root, identify, lambda: bytes(served.size))


def root(life: Life) -> str:
    """Return where the app is mounted; outside of a request that is not known, and the root of the server."""
    served = _CURRENT.get().get(life)
    return "" if served is None else served.root


class Middleware:
    """Pure ASGI. It reads no body and changes no answer, but for idempotent endpoints and for errors of ours.

    `handle` is what endpoints find in the state of their request.
    """

    def __init__(self, app: ASGIApp, life: Life, handle: object) -> None:
        self.app = app
        self._life = life
        self._handle = handle
        self._checked = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the app's lifespan."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):
            self._check(scope)
            self._life.wake()
            scope.setdefault("state", {})["resonate"] = self._handle
            if scope["type"] == "http":
                await self._serve(scope, receive, send)
            else:
                await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        async def receiving() -> Message:
            message = await receive()
            served.size += len(message.get("body", b""))
            return message

        served = Served(scope, messages.root_of(scope))
        token = _CURRENT.set({**_CURRENT.get(), self._life: served})
        try:
            await idempotent.serve(self._life, self.app, scope, receiving, sending)
        except problems.ANSWERED as error:
            if begun:
                raise
            await messages.rendered(problems.problem_of(error), self._life.state.core.on_loop)(scope, receive, send)
        finally:
            _CURRENT.reset(token)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the engine within the app's own lifespan: what that opens and closes is there for the steps."""
        async with AsyncExitStack() as stack:

            async def receiving() -> Message:
                message = await receive()
                if message["type"] == "lifespan.shutdown":
                    await stack.aclose()
                return message

            async def sending(message: Message) -> None:
                if message["type"] == "lifespan.startup.complete":
                    self._check(scope)
                    await stack.enter_async_context(self._life.lifespan())
                await send(message)

            await self.app(scope, receiving, sending)

    def _check(self, scope: Scope) -> None:
        """Compare the app's routes, all known by now, with ours. Raises: ConfigError."""
        if not self._checked:
            mount.refuse_conflicts(getattr(scope.get("app"), "routes", ()), self._life)
            self._checked = True
