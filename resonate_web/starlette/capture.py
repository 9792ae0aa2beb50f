"""What an endpoint with a claimed key sends: held back until it is stored, or passed on when it cannot be."""

from __future__ import annotations

import asyncio
import sys

from starlette.types import Message, Send

from resonate_web.gateway import idempotency
from resonate_web.gateway.idempotency import Claim, Rules
from resonate_web.gateway.messages import Response
from resonate_web.starlette.life import Life


class Captured:
    """One answer. Its client sees it complete when it is on disk, never before."""

    def __init__(self, life: Life, claim: Claim, rules: Rules, send: Send) -> None:
        self._life = life
        self._claim: Claim | None = claim
        self._rules = rules
        self._send = send
        self._start: Message | None = None
        """The beginning of the answer, while it is held back."""
        self._body = bytearray()

    async def take(self, message: Message) -> None:
        """Take a message of the app's: hold it, or pass it on."""
        if message["type"] == "http.response.start" and self._claim is not None:
            self._start = message
        elif message["type"] != "http.response.body":
            if self._start is not None:  # the body goes a way on which nobody sees it
                await self._let_go()
            await self._send(message)
        elif self._start is None:
            if not message.get("more_body", False):
                await self._release()
            await self._send(message)
        else:
            await self._take_body(message.get("body", b""), message.get("more_body", False))

    async def end(self) -> None:
        """Free the key if no whole answer was sent; a request that was cancelled does not wait for it."""
        if self._claim is None:
            return
        if isinstance(sys.exception(), asyncio.CancelledError):
            claim, self._claim = self._claim, None
            idempotency.abandon(self._life.state.core, claim)
        else:
            await self._release()

    async def _take_body(self, piece: bytes, more: bool) -> None:
        assert self._start is not None
        self._body += piece
        if not more:
            await self._keep(self._start)
        elif self._streams(self._start):
            await self._let_go()

    def _streams(self, start: Message) -> bool:
        """Tell whether the body is to arrive bit by bit, or is too long to be stored."""
        length = next((value for name, value in start["headers"] if name.lower() == b"content-length"), None)
        limit = self._life.state.core.settings.max_stored_response
        return length is None or int(length) > limit or len(self._body) > limit

    async def _keep(self, start: Message) -> None:
        claim, self._claim, self._start = self._claim, None, None
        assert claim is not None
        fields = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"])
        response = Response(status=start["status"], headers=fields, body=bytes(self._body))
        core = self._life.state.core
        kept = await self._life.perform(idempotency.keep(core, claim, response, self._rules))
        await self._send(start if kept else _unstored(start))
        await self._send({"type": "http.response.body", "body": bytes(self._body)})

    async def _let_go(self) -> None:
        start, self._start = self._start, None
        assert start is not None
        await self._send(_unstored(start))
        if self._body:
            await self._send({"type": "http.response.body", "body": bytes(self._body), "more_body": True})

    async def _release(self) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            await self._life.perform(idempotency.release(self._life.state.core, claim))


def _unstored(start: Message) -> Message:
    return {**start, "headers": [*start["headers"], (idempotency.STORED.lower().encode(), b"false")]}
