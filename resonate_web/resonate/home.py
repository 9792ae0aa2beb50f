"""What is open in this process, shared by the copies of one client; a forked child starts with nothing."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from concurrent.futures import Future, InvalidStateError
from typing import Any

from resonate_web.errors import Stopped
from resonate_web.resonate.runtime import Runtime
from resonate_web.workflow.links import Links, no_links


class Home:
    """Where the copies of one client (see `options`) share what is open."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.runtime: Runtime | None = None
        self.closed = False
        self.links: Links = no_links
        self.loop: asyncio.AbstractEventLoop | None = None
        self._count = 0
        self._expected: set[Future[Any]] = set()
        _HOMES.add(self)

    def token(self, runtime: Runtime) -> str:
        """Return a text that no other start has."""
        with self.lock:
            self._count += 1
            return f"{runtime.name}-{self._count}"

    def link(self, id: str, approver: str, expires_at: int) -> str:
        """Return the address of an approval's page, by the `links` of this moment. Raises: ConfigError."""
        return self.links(id, approver, expires_at)

    def expect(self, future: Future[Any]) -> None:
        """Note that somebody waits: after `close` nothing else would end that."""
        expected = self._expected
        expected.add(future)
        future.add_done_callback(expected.discard)

    def forked(self) -> None:
        """Start afresh in a forked child."""
        self.lock = threading.RLock()
        self._expected = set()
        self.loop = None
        if self.runtime is not None:
            # The parent's connections must not be closed here: closing them would drop the parent's locks.
            _LEFT_TO_PARENT.append(self.runtime)
            self.runtime = None

    def close(self) -> None:
        """Close what this process opened; harmless when repeated."""
        with self.lock:
            runtime, self.runtime = self.runtime, None
            self.closed = True
        if runtime is not None and runtime.process == os.getpid():
            runtime.close()
            for future in list(self._expected):
                try:
                    future.set_exception(
                        Stopped("this Resonate was closed while somebody waited; the run goes on later")
                    )
                except InvalidStateError:  # it ended meanwhile
                    pass


_HOMES: weakref.WeakSet[Home] = weakref.WeakSet()
_LEFT_TO_PARENT: list[Runtime] = []


def _forked() -> None:
    for home in list(_HOMES):
        home.forked()


os.register_at_fork(after_in_child=_forked)
