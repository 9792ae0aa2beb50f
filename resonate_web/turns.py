"""Turns: who runs what and when. Threads in production, one seeded thread in a simulation.

Everything above takes a `Turns`; nothing else starts a thread or waits for one.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

T = TypeVar("T")
Work = Callable[[], None]


class Alarm(Protocol):
    """Something that will run later."""

    def cancel(self) -> None:
        """Do not run it; harmless when it has run."""
        ...


class Lane(Protocol):
    """Runs work one after the other, in a thread of its own where there are threads."""

    def soon(self, work: Work) -> None:
        """Run `work` after what is queued."""
        ...

    def at(self, instant: int, work: Work) -> Alarm:
        """Run `work` when the clock shows `instant` (ms since the epoch)."""
        ...


class Turns(Protocol):
    """Where work runs."""

    def spawn(self, work: Work) -> None:
        """Run `work` on one of a bounded number of threads; it waits its turn when all are busy."""
        ...

    def lane(self, name: str) -> Lane:
        """Return the lane of that name: `committer`, `pump` or `heartbeat`."""
        ...

    def wait(self, future: Future[T], timeout_ms: int | None) -> T:
        """Wait for a future's result. Raises: TimeoutError, or what the future holds."""
        ...

    def close(self, grace_ms: int) -> None:
        """Take no more work and wait at most `grace_ms` for what runs; never hangs."""
        ...
