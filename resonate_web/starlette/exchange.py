"""What passes between the server and the app for a request with a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from resonate_web.errors import ConfigError, TooLarge
from resonate_web.gateway.idempotency import Claim, Rules
from resonate_web.starlette.capture import Captured
from resonate_web.starlette.life import Life

INNER: WeakSet[Callable[..., Any]] = WeakSet()
"""Endpoints as they were before they were decorated."""


class Exchange:
    """One request with a key, between the server and the app: it keeps what is read and catches what is sent."""

    def __init__(self, life: Life, scope: Scope, receive: Receive, send: Send) -> None:
        self._life = life
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = life.state.core.settings.max_body
        self._body: bytearray | None = bytearray()
        self._more = True
        self._waiting: list[Message] = []
        self._captured: Captured | None = None

    async def receive(self) -> Message:
        """Give the app its next message: what was read for the key first."""
        return self._waiting.pop(0) if self._waiting else await self._read()

    async def body(self) -> bytes:
        """Return the whole body, whatever the app has read of it. Raises: TooLarge, ClientDisconnect."""
        while self._more and self._body is not None:
            message = await self._read()
            self._waiting.append(message)
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
        if self._body is None:
            raise TooLarge(f"the request's body is longer than {self._limit} bytes")
        return bytes(self._body)

    def catch(self, claim: Claim, rules: Rules) -> None:
        """Store what is sent from now on under a claim."""
        self._captured = Captured(self._life, claim, rules, self._send)

    async def send(self, message: Message) -> None:
        """Take a message of the app's. Raises: ConfigError when its route leads past the decorator."""
        if self._captured is None and self._scope.get("endpoint") in INNER:
            raise ConfigError(
                f"@resonate.idempotent has no effect on {self._scope['path']}: put it below the route's decorator"
            )
        await (self._send if self._captured is None else self._captured.take)(message)

    async def end(self) -> None:
        """Free a key whose handler gave no whole answer; also when the request was cancelled."""
        if self._captured is not None:
            await self._captured.end()

    async def _read(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._more = message.get("more_body", False)
            if self._body is not None:
                self._body += message.get("body", b"")
                if len(self._body) > self._limit:
                    self._body = None  # the app may go on reading, the key has no use for it
        return message
