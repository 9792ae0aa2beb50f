"""Steps that run long get their pending row, so that a person can see them.

One look at all running bodies every `announce_ms` costs a short step nothing: no timer of its own, no lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from resonate_web.clock import Clock
from resonate_web.turns import Lane
from resonate_web.workflow.nodes import Node


class Announced(Protocol):
    """A run whose steps may run long."""

    def announce(self, node: Node) -> None:
        """Store the pending row of a step."""
        ...


class Announcer:
    """The bodies that run now and have no row yet."""

    def __init__(self, clock: Clock, lane: Callable[[], Lane], announce_ms: int) -> None:
        self._clock = clock
        self._lane = lane
        self._announce_ms = announce_ms
        self._running: dict[str, tuple[int, Announced, Node]] = {}
        self._looking = False

    def started(self, attempt: Announced, node: Node) -> None:
        """Note a body that begins."""
        now = self._clock.now()
        self._running[node.id] = (now, attempt, node)
        if not self._looking:
            self._looking = True
            self._lane().at(now + self._announce_ms, self._look)

    def ended(self, node: Node) -> None:
        """Forget a body."""
        self._running.pop(node.id, None)

    def _look(self) -> None:
        now = self._clock.now()
        for id, (since, attempt, node) in list(self._running.items()):
            if now - since >= self._announce_ms:
                self._running.pop(id, None)
                attempt.announce(node)
        self._looking = bool(self._running)
        if self._looking:
            self._lane().at(now + max(1, self._announce_ms // 2), self._look)
