"""Django knows no lifespan; this wrapper gives it one: `application = ResonateLifespan(get_asgi_application())`.

A process then takes up interrupted runs when its server is ready, before any request, and gives its own back when
the server ends. Without it the first request starts the engine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from resonate_web.django.site import site

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ResonateLifespan:
    """An ASGI application that answers lifespan itself and hands everything else on."""

    def __init__(self, application: Callable[..., Awaitable[Any]]) -> None:
        self.application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection, or the life of the server."""
        if scope["type"] != "lifespan":
            await self.application(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await site.on_loop.read(site.start)
                await send({"type": "lifespan.startup.complete"})
            else:
                core = site.opened
                if core is not None:
                    await site.on_loop.read(core.close)
                await send({"type": "lifespan.shutdown.complete"})
                return
