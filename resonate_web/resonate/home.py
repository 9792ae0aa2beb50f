"""What is open in this process, shared by the copies of one client; a forked child starts with nothing."""

from __future__ import annotations

import os
import threading
import weakref

from resonate_web.resonate.runtime import Runtime


class Home:
    """Where the copies of one client (see `options`) share what is open."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.runtime: Runtime | None = None
        self.closed = False
        self._count = 0
        _HOMES.add(self)

    def token(self, runtime: Runtime) -> str:
        """Return a text that no other start has."""
        with self.lock:
            self._count += 1
            return f"{runtime.name}-{self._count}"

    def forked(self) -> None:
        """Start afresh in a forked child."""
        self.lock = threading.RLock()
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


_HOMES: weakref.WeakSet[Home] = weakref.WeakSet()
_LEFT_TO_PARENT: list[Runtime] = []


def _forked() -> None:
    for home in list(_HOMES):
        home.forked()


os.register_at_fork(after_in_child=_forked)
