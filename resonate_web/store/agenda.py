"""What is due, collected from sources that are each sorted by time; shared by all stores so that they cut alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from resonate_web.machine.steps import Step
from resonate_web.store.base import Due


class Agenda:
    """Collects at most `limit` due steps and the next instant (ms) at which to ask again."""

    def __init__(self, now: int, limit: int) -> None:
        self._now = now
        self._limit = limit
        self._steps: list[Step] = []
        self._next_at: int | None = None

    @property
    def wanted(self) -> int:
        """How many rows of the next source are worth reading: what still fits, and one to know what follows."""
        return self._limit - len(self._steps) + 1

    def take(self, source: Iterable[tuple[int, Step]]) -> None:
        """Add the due steps of `source`, (instant, step) by ascending instant; read one row too far at most."""
        for at, step in source:
            if at > self._now:
                self._wake(at)
                return
            if len(self._steps) >= self._limit:
                self._wake(self._now)
                return
            self._steps.append(step)

    def due(self) -> Due:
        """Return what was collected."""
        return Due(steps=tuple(self._steps), next_at=self._next_at)

    def _wake(self, at: int) -> None:
        if self._next_at is None or at < self._next_at:
            self._next_at = at


def serves(addresses: Iterable[str], target: str) -> bool:
    """Tell whether one of `addresses` is `target` or a segment-wise prefix of it (`poll://any@g` of `poll://any@g/p`)."""
    return any(target == address or target.startswith(f"{address}/") for address in addresses)


def widest(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return `addresses` without repetitions and without those that another one already serves."""
    unique = dict.fromkeys(addresses)
    return tuple(a for a in unique if not serves((b for b in unique if b != a), a))
