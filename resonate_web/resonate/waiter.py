"""Somebody who waits for a promise: tells a future, and is forgotten with it."""

from __future__ import annotations

import weakref
from concurrent.futures import Future, InvalidStateError

from resonate_web.protocol.records import Promise
from resonate_web.server.server import Server


class Waiter:
    """A watcher that fulfils `future`; it leaves the server when the future is done, however that came."""

    __slots__ = ("__weakref__", "future")

    def __init__(self, server: Server, id: str) -> None:
        self.future: Future[Promise] = Future()
        # A future keeps its callbacks: one that held the waiter would be a cycle for the garbage collector.
        me = weakref.ref(self)
        server.watch(id, self)
        self.future.add_done_callback(lambda _: _leave(server, id, me))

    def __call__(self, promise: Promise) -> None:
        """Take the settled promise."""
        try:
            self.future.set_result(promise)
        except InvalidStateError:  # told twice, or whoever waited has gone
            pass


def _leave(server: Server, id: str, waiter: weakref.ref[Waiter]) -> None:
    found = waiter()
    if found is not None:
        server.unwatch(id, found)
