"""Turns on threads: a bounded pool for runs and steps, and one thread per lane. All are daemons, made when needed."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

from resonate_web.clock import Clock
from resonate_web.turns import Work

T = TypeVar("T")
log = logging.getLogger("resonate_web.engine")

LONGEST_WAIT = 1.0
"""Seconds after which a lane looks at the clock again, so that a clock that was set does not strand it."""


class ThreadTurns:
    """The turns of a serving process."""

    def __init__(self, clock: Clock, *, threads: int) -> None:
        self._pool = _Pool(threads)
        self._clock = clock
        self._lanes: dict[str, ThreadLane] = {}
        self._lock = threading.Lock()

    def spawn(self, work: Work) -> None:
        """Run `work` on a pool thread."""
        self._pool.put(work)

    def lane(self, name: str) -> ThreadLane:
        """Return the lane of that name; its thread starts with its first work."""
        lane = self._lanes.get(name)
        if lane is None:
            with self._lock:
                lane = self._lanes.setdefault(name, ThreadLane(name, self._clock))
        return lane

    def wait(self, future: Future[T], timeout_ms: int | None) -> T:
        """Wait for a future's result."""
        return future.result(None if timeout_ms is None else timeout_ms / 1000)

    def close(self, grace_ms: int) -> None:
        """Stop the lanes, then the pool; steps that run longer than `grace_ms` are left to their daemon threads."""
        self._pool.close(grace_ms / 1000)
        for lane in list(self._lanes.values()):
            lane.close()


class ThreadAlarm:
    """An entry of a lane's heap."""

    __slots__ = ("_work",)

    def __init__(self, work: Work) -> None:
        self._work: Work | None = work

    def cancel(self) -> None:
        """Do not run."""
        self._work = None

    def take(self) -> Work | None:
        """Return what to run, None when canceled."""
        work, self._work = self._work, None
        return work


class ThreadLane:
    """A thread that runs what is queued and what is due."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._changed = threading.Condition()
        self._soon: deque[Work] = deque()
        self._heap: list[tuple[int, int, ThreadAlarm]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def soon(self, work: Work) -> None:
        """Run `work` after what is queued."""
        with self._changed:
            if not self._closed:
                self._soon.append(work)
                self._ensure_thread()
                self._changed.notify()
                return
        run_logged(work)  # the last commits of a process that shuts down are made by whoever asks for them

    def at(self, instant: int, work: Work) -> ThreadAlarm:
        """Run `work` at `instant` (ms)."""
        alarm = ThreadAlarm(work)
        with self._changed:
            # Waited for on the steady clock: a wall clock that is set must not delay a retry or a heartbeat.
            due = self._clock.elapsed() + max(0, instant - self._clock.now()) + 1
            first = not self._heap or due < self._heap[0][0]
            heapq.heappush(self._heap, (due, next(self._order), alarm))
            self._ensure_thread()
            if first:
                self._changed.notify()
        return alarm

    def close(self) -> None:
        """Take nothing more; the thread ends after what is queued, and what was due later does not run."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def _ensure_thread(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name=f"resonate-{self._name}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            run_logged(work)

    def _next(self) -> Work | None:
        with self._changed:
            while self._soon or not self._closed:
                if self._soon:  # also of a closed lane: somebody may wait for it, as for a commit that was handed over
                    return self._soon.popleft()
                wait = LONGEST_WAIT
                if self._heap:
                    left = self._heap[0][0] - self._clock.elapsed()
                    if left <= 0:
                        work = heapq.heappop(self._heap)[2].take()
                        if work is not None:
                            return work
                        continue
                    wait = min(wait, left / 1000)
                    self._changed.wait(wait)
                else:
                    self._changed.wait()
            return None


class _Pool:
    """Threads that are started when work waits and none is idle, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False

    def put(self, work: Work) -> None:
        with self._lock:
            if self._closed:
                return
            self._queue.put(work)
            self._waiting -= 1
            if self._waiting < 0 and len(self._threads) < self._limit:
                name = f"resonate-run-{len(self._threads) + 1}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def close(self, grace: float) -> None:
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._queue.put(None)
        end = time.monotonic() + grace
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while True:
            with self._lock:
                self._waiting += 1
            work = self._queue.get()
            if work is None:
                return
            run_logged(work)
            del work


def run_logged(work: Work) -> None:
    """Run one piece of work; what it raises is a fault of this library and must not end the thread."""
    try:
        work()
    except BaseException:  # a SystemExit would end the thread, which others count on
        log.exception("internal error; the run's lease will expire and another attempt will be made")
