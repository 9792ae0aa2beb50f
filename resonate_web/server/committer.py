"""Group commit: who submits while nobody commits becomes the leader and takes all that is queued.

No timer and no linger: groups form by themselves while the previous commit is on its way to the disk. A leader
commits one group, its own batch in it, and hands over to the committer lane; a lone caller never changes threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resonate_web.delivery import Then
from resonate_web.machine.steps import Step
from resonate_web.protocol.requests import Request
from resonate_web.turns import Work

MAX_GROUP = 256
"""Batches per commit at most: more would make everyone wait for the slowest."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that are applied together or not at all, and who wants the answers."""

    requests: tuple[Request | Step, ...]
    then: Then


class Committer:
    """The queue in front of the store. `commit` must answer every batch and never raise."""

    def __init__(self, commit: Callable[[list[Batch]], None], hand_over: Callable[[Work], None]) -> None:
        self._commit = commit
        self._hand_over = hand_over
        self._lock = threading.Lock()
        self._queue: list[Batch] = []
        self._led = False

    def submit(self, batches: Sequence[Batch], *, lead: bool) -> None:
        """Queue batches; with `lead`, commit in this thread if nobody else does."""
        with self._lock:
            self._queue += batches
            if self._led:
                return
            self._led = True
        if lead:
            self._round()
        else:
            self._hand_over(self._drain)

    def _round(self) -> None:
        try:
            self._commit(self._take())
        finally:
            if not self._rest():
                self._hand_over(self._drain)

    def _drain(self) -> None:
        while True:
            try:
                self._commit(self._take())
            except BaseException:
                if not self._rest():
                    self._hand_over(self._drain)
                raise
            if self._rest():
                return

    def _take(self) -> list[Batch]:
        with self._lock:
            group, self._queue = self._queue[:MAX_GROUP], self._queue[MAX_GROUP:]
            return group

    def _rest(self) -> bool:
        with self._lock:
            self._led = bool(self._queue)
            return not self._led
