"""Who follows runs, and how they are told: something of the run was recorded, read it again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping

from resonate_web.server.lineage import first_try
from resonate_web.store.base import Trace

log = logging.getLogger("resonate_web.server")

Follower = Callable[[], None]
"""Called after a commit; it must not block."""


class Followers:
    """Followers by the root id of their run; a run and its later tries are one."""

    def __init__(self) -> None:
        self._by_run: dict[str, list[Follower]] = {}
        self._lock = threading.Lock()
        self._seen: Mapping[str, Trace] = {}

    def __bool__(self) -> bool:
        return bool(self._by_run)

    def add(self, id: str, follower: Follower) -> None:
        """Tell `follower` of everything that is recorded of the run to which `id` belongs."""
        with self._lock:
            self._by_run.setdefault(first_try(id), []).append(follower)

    def remove(self, id: str, follower: Follower) -> None:
        """Forget a follower."""
        run = first_try(id)
        with self._lock:
            followers = self._by_run.get(run, [])
            if follower in followers:
                followers.remove(follower)
            if not followers:
                self._by_run.pop(run, None)

    def runs(self) -> list[str]:
        """Return the root ids that somebody follows."""
        with self._lock:
            return list(self._by_run)

    def recorded(self, ids: Iterable[str]) -> None:
        """Tell the followers of the runs to which these rows belong."""
        self._tell({first_try(id) for id in ids})

    def compare(self, traces: Mapping[str, Trace]) -> None:
        """Tell the followers of runs whose trace is not the one of the last call, or that had none then.

        For those, nobody knows what was recorded since they were first followed. Used by one thread at a time.
        """
        before, self._seen = self._seen, traces
        self._tell(run for run, trace in traces.items() if before.get(run) != trace)

    def _tell(self, runs: Iterable[str]) -> None:
        with self._lock:
            followers = [follower for run in runs for follower in self._by_run.get(run, ())]
        for follower in followers:
            try:
                follower()
            except Exception:  # one follower's fault must not cost the others their news
                log.exception("a follower of a run could not be told")
