"""Somebody who waits for a promise, or for news of a run: tells a future, and is forgotten with it."""

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


class News:
    """A follower that fulfils `future` when something of a run is recorded, and leaves the server as a waiter does."""

    __slots__ = ("__weakref__", "future")

    def __init__(self, server: Server, id: str) -> None:
        self.future: Future[None] = Future()
        me = weakref.ref(self)
        server.follow(id, self)
        self.future.add_done_callback(lambda _: _unfollow(server, id, me))

    def __call__(self) -> None:
        """Take the news."""
        try:
            self.future.set_result(None)
        except InvalidStateError:  # told twice, or whoever waited has gone
            pass


def _leave(server: Server, id: str, waiter: weakref.ref[Waiter]) -> None:
    found = waiter()
    if found is not None:
        server.unwatch(id, found)


def _unfollow(server: Server, id: str, news: weakref.ref[News]) -> None:
    found = news()
    if found is not None:
        server.unfollow(id, found)
