"""A clock that only tests move."""

from __future__ import annotations


class VirtualClock:
    """Implements `Clock`; all instants and durations in ms."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self._now = now
        self._elapsed = 1_000_000

    def now(self) -> int:
        """Return the instant that was set."""
        return self._now

    def elapsed(self) -> int:
        """Return the steady clock: it moves with `advance` only."""
        return self._elapsed

    def advance(self, ms: int) -> None:
        """Let time pass on both clocks. Raises: ValueError when it would run backwards."""
        if ms < 0:
            raise ValueError(f"time does not run backwards: {ms} ms")
        self._now += ms
        self._elapsed += ms

    def step(self, ms: int) -> None:
        """Set the wall clock forwards or backwards, as an operator or a time server does."""
        self._now += ms
