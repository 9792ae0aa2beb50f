"""What an endpoint, a script or a shell asks of the client; what blocks has an awaitable twin with an `a` before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

from resonate_web.errors import ConfigError, WrongCall
from resonate_web.gateway.messages import Request
from resonate_web.resonate import Options
from resonate_web.resonate import Resonate as Core
from resonate_web.resonate.calls import Calls
from resonate_web.resonate.handle import refuse_blocking
from resonate_web.starlette.life import Life
from resonate_web.starlette.messages import rendered
from resonate_web.starlette.middleware import current, root


class Verbs(Calls):
    """What a client can do, under given options."""

    def __init__(self, life: Life, options: dict[str, Any]) -> None:
        self._life = life
        self._options = options

    def options(self, **options: Any) -> Verbs:
        """Return the same verbs under options (`Options`): `timeout=`, `tags=`, `version=`, `target=`, `on_failed=`."""
        return Verbs(self._life, {**self._options, **options})

    def start(self, id: str | None, fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Response:
        """Start a run, or join the one of that id, and return the answer of a `def` endpoint.

        202, durable when it is sent. `async def` endpoints use `await astart(...)`.
        Raises: InvalidId, TooLarge, IdInUse, StoreUnavailable, which are answered as problem documents unless the app
        handles them; NotRegistered and Unserializable, which are errors of the endpoint; WrongCall outside of one,
        or on the event loop.
        """
        refuse_blocking("start()", "await resonate.astart(...)", waits=False)
        request, state = self._request("start()", "run() or begin_run()"), self._life.state
        flow = state.gateway.start(request, id, fn, args, kwargs, Options().with_(**self._options))
        return rendered(state.core.on_thread.perform(flow), state.core.on_loop)

    async def astart(self, id: str | None, fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Response:
        """Await `start`, in `async def` endpoints."""
        request, state = self._request("astart()", "arun() or abegin_run()"), self._life.state
        flow = state.gateway.start(request, id, fn, args, kwargs, Options().with_(**self._options))
        return rendered(await self._life.perform(flow), state.core.on_loop)

    def status_url(self, id: str) -> str:
        """Return the URL of a run's status, signed where links give access; absolute if RESONATE_BASE_URL is set."""
        return self._life.state.gateway.status_url(id, root(self._life))

    def cancel_url(self, id: str) -> str:
        """Return the URL that cancels a run when something is posted to it; a person who opens it finds a form."""
        return self._life.state.gateway.cancel_url(id, root(self._life))

    def ensure_started(self) -> None:
        """Start the engine in this process; idempotent. Needed only where neither a lifespan nor a request does it."""
        self._life.state.core.ensure_started()

    def close(self) -> None:
        """Stop the engine in this process; idempotent. What runs is finished within the grace period or released."""
        self._life.close()

    def _core(self) -> Core:
        core = self._life.state.core
        return core.options(**self._options) if self._options else core

    def _request(self, call: str, instead: str) -> Request:
        request = current(self._life)
        if request is None:
            raise WrongCall(
                f"{call} answers a request, and none is known here: add Middleware(resonate.middleware) to the app; "
                f"outside of a request use {instead}"
            )
        return request


def get_resonate(connection: HTTPConnection) -> Verbs:
    """Return the client that serves a request or WebSocket; for FastAPI's `Depends`. Raises: ConfigError."""
    found: Verbs | None = connection.scope.get("state", {}).get("resonate")
    if found is None:
        raise ConfigError("this request knows no Resonate: add Middleware(resonate.middleware) to the app")
    return found
