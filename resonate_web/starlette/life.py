"""The client of one `Resonate`, and when it lives: with the lifespans of its app, or from the first request on."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from resonate_web.flow import Flow
from resonate_web.gateway.routes import Gateway
from resonate_web.resonate import Resonate as Core

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class State:
    """What is open at a time; after its end the next use makes another."""

    core: Core
    gateway: Gateway
    starting: bool = False
    """Whether a thread starts the engine just now."""
    keys_read: bool = False
    """Whether the store was opened and its key read, so that signing a link holds nobody up."""


class Life:
    """One client after the other: closed with the app, made anew when the app is served again, as tests do."""

    def __init__(self, make: Callable[[], Gateway]) -> None:
        self._make = make
        self._lifespans = 0
        self._closed = False
        self._lock = threading.Lock()
        self.state = self._made()

    def wake(self) -> State:
        """Note that this event loop serves, and start the engine beside it: nobody waits for that."""
        with self._lock:
            if self._closed:
                self.state, self._closed = self._made(), False
            state = self.state
            state.core.adopt(asyncio.get_running_loop())
            start = not (state.starting or state.core.ready or state.core.settings.autostart == "off")
            state.starting = state.starting or start
        if start:
            threading.Thread(target=_start, args=(state,), name="resonate-start", daemon=True).start()
        return state

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Serve until the block ends; of several at a time, the last one closes the client."""
        self._lifespans += 1
        self.wake()
        try:
            yield
        finally:
            self._lifespans -= 1
            if not self._lifespans:
                await self.state.core.on_loop.read(self.close)  # steps on this very loop may still end

    def close(self) -> None:
        """Stop the engine in this process; idempotent."""
        self._closed = True
        self.state.core.close()

    async def perform(self, flow: Flow[T]) -> T:
        """Return what a flow returns, without ever holding up the event loop. Raises: what it raises."""
        state = self.state
        if not state.keys_read:
            await state.core.on_loop.read(state.core.secret)
            state.keys_read = True
        return await state.core.on_loop.perform(flow)

    def _made(self) -> State:
        gateway = self._make()
        return State(core=gateway.resonate, gateway=gateway)


def _start(state: State) -> None:
    """Start the engine; a store that is away must not take the whole app down."""
    try:
        state.core.ensure_started()
        state.core.secret()
        state.keys_read = True
    except Exception as error:
        logger.warning("the engine could not be started: %r", error, extra={"action": "ensure_started"})
    finally:
        state.starting = False
