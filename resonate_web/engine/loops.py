"""Where async steps run: the app's own event loop while it runs, else one of the engine's in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

Body = Callable[[], Coroutine[Any, Any, Any]]


class Loops:
    """Runs coroutines for threads that must not wait for them."""

    def __init__(self) -> None:
        self._app: _AppLoop | None = None
        self._own: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._lock = threading.Lock()

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Prefer the app's loop from now on, for as long as it runs."""
        if self._app is None or self._app.loop is not loop:
            self._app = _AppLoop(loop)

    def run(self, body: Body) -> Future[Any]:
        """Run what `body` makes; the future holds its outcome.

        A body whose loop ends under it begins anew on the engine's own. After `close` the future is canceled.
        """
        outcome: Future[Any] = Future()
        app = self._app
        if app is None or not app.begin(body, outcome, self._run_on_own):
            self._run_on_own(body, outcome)
        return outcome

    def close(self) -> None:
        """Stop the engine's own loop."""
        with self._lock:
            self._closed = True
            if self._own is not None:
                self._own.call_soon_threadsafe(self._own.stop)
                self._own = None

    def _run_on_own(self, body: Body, outcome: Future[Any]) -> None:
        def ended(task: asyncio.Task[Any]) -> None:
            _tell(task, outcome, stopped=self._closed)

        with self._lock:  # what is handed over before the stop begins before it
            if not self._closed:
                loop = self._own = self._own or _started()
                loop.call_soon_threadsafe(_begin, loop, body, ended)
                return
        outcome.cancel()


class _AppLoop:
    """An app's loop, watched by a task on it: a loop that ends cancels its tasks, and with this one learns it at once.

    What was handed over under the lock before that runs at least once more, so that no body is forgotten.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._over = False
        self._lock = threading.Lock()
        self._watch: asyncio.Task[None] | None = None
        self._call(self._start_watching)

    def begin(self, body: Body, outcome: Future[Any], otherwise: Callable[[Body, Future[Any]], None]) -> bool:
        """Run a body here and tell whether that is possible; if the loop ends meanwhile, `otherwise` gets it."""

        def ended(task: asyncio.Task[Any]) -> None:
            if task.cancelled() and self._over:
                otherwise(body, outcome)
            else:
                _tell(task, outcome, stopped=False)

        def start() -> None:
            if self._over:
                otherwise(body, outcome)
            else:
                _begin(self.loop, body, ended)

        return self._call(start)

    def _call(self, work: Callable[[], None]) -> bool:
        with self._lock:
            if self._over or not self.loop.is_running():
                return False
            try:
                self.loop.call_soon_threadsafe(work)
            except RuntimeError:  # it was closed just now
                return False
            return True

    def _start_watching(self) -> None:
        self._watch = self.loop.create_task(self._watched(), name="resonate-watch")

    async def _watched(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with self._lock:
                self._over = True


_TASKS: set[asyncio.Task[Any]] = set()
"""Tasks that run: an event loop itself keeps only weak references."""


def _begin(loop: asyncio.AbstractEventLoop, body: Body, ended: Callable[[asyncio.Task[Any]], None]) -> None:
    task = loop.create_task(body())
    _TASKS.add(task)
    task.add_done_callback(ended)
    task.add_done_callback(_TASKS.discard)


def _tell(task: asyncio.Task[Any], outcome: Future[Any], *, stopped: bool) -> None:
    """Hand on what a task came to. One that was stopped has come to nothing; one that cancels itself has failed."""
    if task.cancelled():
        if stopped:
            outcome.cancel()
        else:
            outcome.set_exception(asyncio.CancelledError())
        return
    error = task.exception()
    if error is None:
        outcome.set_result(task.result())
    else:
        outcome.set_exception(error)


def _started() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=_serve, args=(loop,), name="resonate-loop", daemon=True).start()
    return loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
