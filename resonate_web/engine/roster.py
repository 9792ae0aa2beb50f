"""The runs of this process: those that it holds, and suspended ones whose generators it keeps.

It is the server's `Worker`: it makes room for tasks and takes them. A suspended run's generator is continued only
if this process acquires the task at exactly the next version; otherwise it is dropped and the run is replayed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from resonate_web.delivery import Acquired, Reservation, serves
from resonate_web.engine.attempt import Attempt
from resonate_web.engine.host import Host
from resonate_web.machine.state import TaskRow
from resonate_web.protocol.records import Promise

SUSPECT = 2
"""A run that lost this many owners without a checkpoint is held alone of its kind: when its process dies again, it
was not for another one of them, and a run that was only nearby is not blamed for what others did."""

PROCEED = "resonate_web:proceed"
"""Tag of a note to the process that holds a run: its steps that wait for a retry start now. Its value is the run."""


class Roster:
    """Who runs here. Called by the committing thread and by pool threads."""

    def __init__(self, engine: Host[Attempt]) -> None:
        settings = engine.settings
        self.refused: set[str] = set()
        """Tasks that this process cannot proceed with, and that others may."""
        self._engine = engine
        self._limit = settings.max_runs
        self._keep = settings.cache_size
        self._ttl = settings.lease_ms
        group, pid = settings.group, engine.pid
        self._own = (f"poll://any@{group}", f"poll://uni@{group}/{pid}")
        self._lock = threading.Lock()
        self._held: dict[str, Attempt] = {}
        self._versions: dict[str, int] = {}
        self._parked: OrderedDict[str, Attempt] = OrderedDict()
        self._reserved: dict[str, tuple[Attempt | None, int]] = {}
        self._declined = False
        self._suspect: str | None = None
        self._open = True

    def targets(self) -> Sequence[str]:
        """Return the addresses whose tasks this process takes; none while it is full."""
        if self._open and self._room():
            return self._own
        self._declined = True
        return ()

    def addresses(self) -> Sequence[str]:
        """Return the address of this process."""
        return self._own[1:]

    def serves(self, target: str) -> bool:
        """Tell whether tasks of this target belong here."""
        return serves(self._own, target)

    def reserve(self, task: TaskRow, now: int) -> Reservation | None:
        """Make room for a task, or decline it."""
        if task.strikes >= self._engine.settings.crash_limit:
            self._engine.crashing(task.id, task.strikes)
            return None
        if any(r.pid == self._engine.pid for r in task.refusals):
            return None
        with self._lock:
            if not self._open or not self._room() or not self._alone(task):
                self._declined = True
                return None
            attempt = self._known(task)
            if attempt is not None:
                self._parked.pop(task.id, None)  # not to be evicted meanwhile
            self._reserved[task.id] = (attempt, self._engine.clock.elapsed() + self._ttl)
            pid, ttl = self._engine.pid, self._ttl
            if attempt is not None and attempt.awaiting is not None:
                return Reservation(pid=pid, ttl=ttl, preload="none", reads=attempt.awaiting)
            return Reservation(pid=pid, ttl=ttl, preload="owned")

    def deliver(self, acquired: Acquired) -> None:
        """Take a task that was acquired: continue its generator, or start afresh."""
        id, version = acquired.task.id, acquired.task.version
        with self._lock:
            attempt, lease_until = self._reserved.pop(id)
            before = self._held.get(id) or self._parked.pop(id, None)
            fresh = attempt is None
            if attempt is None:
                attempt = Attempt(self._engine, acquired, lease_until)
            self._held[id] = attempt
            self._versions[id] = version
        if before is not None and before is not attempt:
            before.post(before.close)
        self._engine.emit("acquired", id)
        if fresh:
            attempt.begin()
        else:
            if attempt.born_at != acquired.promise.created_at:
                attempt.post(attempt.close)  # of a run that was pruned; this one has its id
            attempt.resume(version, acquired.records, lease_until)

    def forgo(self, task_id: str) -> None:
        """Give up a reservation."""
        with self._lock:
            attempt, _ = self._reserved.pop(task_id, (None, 0))
            if task_id not in self._held:
                self._acquit(task_id)
            if attempt is not None and task_id not in self._held:
                self._parked[task_id] = attempt

    def unblock(self, promise: Promise) -> None:
        """Pass news of a settled promise to the runs that wait for it."""
        noted = self._held.get(promise.tags.get(PROCEED, ""))
        if noted is not None:
            noted.proceed()
        for attempt in self.held():
            if attempt.waits_for(promise.id):
                attempt.unblocked(promise)

    def ended(self, task_id: str) -> None:
        """Stop a run whose promise was settled by others: canceled, timed out, or resolved from outside."""
        attempt = self._held.get(task_id) or self._parked.get(task_id)
        if attempt is not None and not attempt.fulfilling:
            attempt.lose()

    def held(self) -> list[Attempt]:
        """Return the runs that this process holds."""
        with self._lock:
            return list(self._held.values())

    def park(self, attempt: Attempt) -> None:
        """Keep a suspended run, unless it has been acquired again already; the oldest ones make room."""
        evicted: list[Attempt] = []
        with self._lock:
            if self._held.get(attempt.id) is not attempt or self._versions.get(attempt.id) != attempt.version:
                return
            self._drop(attempt.id)
            self._parked[attempt.id] = attempt
            while len(self._parked) > self._keep:
                evicted.append(self._parked.popitem(last=False)[1])
        for old in evicted:
            old.post(old.close)
        self._nudge()

    def remove(self, attempt: Attempt) -> None:
        """Let go of a run."""
        with self._lock:
            if self._held.get(attempt.id) is attempt:
                self._drop(attempt.id)
            if self._parked.get(attempt.id) is attempt:
                del self._parked[attempt.id]
        self._nudge()

    def close(self) -> None:
        """Take nothing more."""
        self._open = False

    def _known(self, task: TaskRow) -> Attempt | None:
        """Return the run whose generator can go on at the next version; called with the lock."""
        for runs in (self._parked, self._held):
            attempt = runs.get(task.id)
            if attempt is not None and attempt.awaiting is not None and attempt.version == task.version:
                return attempt if self._keep > 0 else None
        return None

    def _drop(self, id: str) -> None:
        self._held.pop(id, None)
        self._versions.pop(id, None)
        self._acquit(id)

    def _alone(self, task: TaskRow) -> bool:
        """Tell whether a run may be held beside the others; a suspect takes the one place there is."""
        if task.strikes < SUSPECT:
            return True
        if self._suspect not in (None, task.id):
            return False
        self._suspect = task.id
        return True

    def _acquit(self, id: str) -> None:
        if self._suspect == id:
            self._suspect = None

    def _room(self) -> bool:
        return len(self._held) + len(self._reserved) < self._limit

    def _nudge(self) -> None:
        if self._declined and self._open and self._room():
            self._declined = False
            self._engine.freed()
