"""Retry policies as frozen values. Delays are given in seconds and counted in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from resonate_web.errors import NotRegistered, Unserializable, WrongCall

PERMANENT: tuple[type[BaseException], ...] = (
    TypeError,
    NameError,
    AttributeError,
    AssertionError,
    Unserializable,
    NotRegistered,
    WrongCall,
)
"""Errors that no repetition cures: they are never retried unless a policy's caller says otherwise."""


class RetryPolicy(Protocol):
    """How long to wait before a retry."""

    def delay_ms(self, retry: int) -> int | None:
        """Return the wait in ms before retry number `retry` (from 1), None to give up."""
        ...


@dataclass(frozen=True, slots=True)
class Exponential:
    """Wait `delay`, then `factor` times longer each time, at most `max_delay` seconds."""

    delay: float = 1.0
    factor: float = 2.0
    max_retries: int = 10
    max_delay: float = 30.0

    def delay_ms(self, retry: int) -> int | None:
        """Return the wait in ms before retry number `retry`, None to give up."""
        if retry > self.max_retries:
            return None
        try:
            delay = self.delay * float(self.factor) ** (retry - 1)
        except OverflowError:
            delay = self.max_delay
        return int(1000 * min(self.max_delay, delay))


@dataclass(frozen=True, slots=True)
class Linear:
    """Wait `delay` seconds more each time."""

    delay: float = 1.0
    max_retries: int = 10

    def delay_ms(self, retry: int) -> int | None:
        """Return the wait in ms before retry number `retry`, None to give up."""
        return int(1000 * self.delay * retry) if retry <= self.max_retries else None


@dataclass(frozen=True, slots=True)
class Constant:
    """Wait `delay` seconds each time."""

    delay: float = 1.0
    max_retries: int = 10

    def delay_ms(self, retry: int) -> int | None:
        """Return the wait in ms before retry number `retry`, None to give up."""
        return int(1000 * self.delay) if retry <= self.max_retries else None


@dataclass(frozen=True, slots=True)
class Never:
    """Do not retry."""

    def delay_ms(self, retry: int) -> int | None:
        """Return None: give up."""
        return None
