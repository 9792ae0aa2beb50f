"""Time, the only place where the wall clock is read.

Everything below takes a `Clock`; a test hands in one that it moves by hand.
"""

from __future__ import annotations

import time
from typing import Protocol

FOREVER = 100 * 365 * 24 * 3600 * 1000
"""A deadline that does not matter: 100 years, in ms."""


class Clock(Protocol):
    """Where `now` comes from."""

    def now(self) -> int:
        """Return milliseconds since the Unix epoch."""
        ...

    def elapsed(self) -> int:
        """Return milliseconds on a clock that never steps and counts while the machine sleeps."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> int:
        """Return milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def elapsed(self) -> int:
        """Return milliseconds since boot (CLOCK_BOOTTIME where the system has it)."""
        return time.clock_gettime_ns(_STEADY) // 1_000_000


_STEADY: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
