"""Bodies that are sent bit by bit: they end with the client and with the server, whatever lies between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from resonate_web.errors import Stopped
from resonate_web.resonate.performing import stopping

LOOK_S = 0.5
"""How often a stream looks whether the server wants to end."""


class Streamed(Response):
    """Sends chunks as they come, until there are no more, the client has gone, or the server wants to end."""

    def __init__(self, chunks: Any, status: int) -> None:
        super().__init__(status_code=status)
        self._chunks: AsyncGenerator[bytes, None] = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending, gone = asyncio.create_task(self._sent(send)), asyncio.create_task(_disconnected(receive))
        try:
            while not (sending.done() or gone.done() or stopping()):
                await asyncio.wait((sending, gone), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = gone.done() and not gone.cancelled()
            for task in (sending, gone):
                task.cancel()
            await asyncio.wait((sending, gone))
        if not sending.cancelled() and not left:
            sending.result()
        if not left:
            await send({"type": "http.response.body", "body": b""})

    async def _sent(self, send: Send) -> None:
        try:
            async for chunk in self._chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except Stopped:
            pass  # our client was closed; whoever watches comes back to the next process
        finally:
            await self._chunks.aclose()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
