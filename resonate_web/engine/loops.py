"""Where async steps run: the app's own event loop while it runs, else one of the engine's in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any


class Loops:
    """Runs coroutines for threads that must not wait for them."""

    def __init__(self) -> None:
        self._app: asyncio.AbstractEventLoop | None = None
        self._own: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Prefer the app's loop from now on."""
        self._app = loop

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a coroutine; the future holds its outcome."""
        app = self._app
        if app is not None and app.is_running():
            return asyncio.run_coroutine_threadsafe(coroutine, app)
        return asyncio.run_coroutine_threadsafe(coroutine, self._ensure())

    def close(self) -> None:
        """Stop the engine's own loop."""
        with self._lock:
            loop, self._own = self._own, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def _ensure(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._own is None:
                self._own = loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(loop,), name="resonate-loop", daemon=True).start()
            return self._own


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
