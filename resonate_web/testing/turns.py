"""Turns of several processes in one thread: what is ready runs in a random order that a seed repeats.

Each process of a simulation is one `SimTurns`; those made with `fork` share the thread, the clock and the dice.
Alarms ring on the virtual clock. Nothing sleeps: waiting runs what is ready, then lets time pass to the next alarm.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from concurrent.futures import Future
from random import Random
from typing import TypeVar

from resonate_web.testing.clock import VirtualClock
from resonate_web.turns import Work

T = TypeVar("T")


class Deadlock(Exception):
    """A wait that nothing will ever end: no work is ready and no alarm is set."""


class SimTurns:
    """Implements `Turns` for one process of a simulation."""

    def __init__(
        self, clock: VirtualClock, *, seed: int = 0, name: str = "process", table: Table | None = None
    ) -> None:
        self.name = name
        self.table = table or Table(clock, seed)
        self.table.seats.append(self)
        self.alive = True
        """False after `kill`: nothing runs any more and nothing is accepted."""
        self.closed = False
        self.frozen = False
        """True while the process is stopped as if by SIGSTOP: its work waits, and so do its alarms."""
        self._work: list[Work] = []
        self._lanes: dict[str, SimLane] = {}

    def fork(self, name: str) -> SimTurns:
        """Return the turns of another process in the same thread."""
        return SimTurns(self.table.clock, name=name, table=self.table)

    # Turns

    def spawn(self, work: Work) -> None:
        """Run `work` at a time that the dice decide."""
        if self.alive and not self.closed:
            self._work.append(work)

    def lane(self, name: str) -> SimLane:
        """Return the lane of that name."""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = SimLane(self, name)
        return lane

    def wait(self, future: Future[T], timeout_ms: int | None) -> T:
        """Run what others have to do, letting time pass, until the future is done.

        Raises: TimeoutError, Deadlock, or what the future holds.
        """
        clock = self.table.clock
        end = None if timeout_ms is None else clock.elapsed() + timeout_ms
        while not future.done():
            if not self.alive:
                raise Deadlock(f"{self.name} is dead")
            if self.table.turn():
                continue
            left = None if end is None else end - clock.elapsed()
            step = self.table.next_alarm()
            if left is not None and (step is None or step > left):
                clock.advance(max(0, left))
                raise TimeoutError(f"not done within {timeout_ms} ms")
            if step is None:
                raise Deadlock("nothing is ready, no alarm is set, and the future is not done")
            clock.advance(step)
        return future.result(0)

    def close(self, grace_ms: int) -> None:
        """Run what is ready, then take no more work; what a lane is given from now on runs at once."""
        self.table.run_until_idle()
        self.closed = True
        self._work.clear()
        self._lanes.clear()

    # The test's side

    def kill(self) -> None:
        """End the process as SIGKILL does: what is queued is forgotten, nothing is accepted any more."""
        self.alive = False
        self._work.clear()
        self._lanes.clear()

    def run_until_idle(self) -> None:
        """Run what is ready, in every process, until nothing is; no time passes."""
        self.table.run_until_idle()

    def pass_time(self, ms: int) -> None:
        """Let time pass, alarm by alarm, running what becomes ready."""
        self.table.pass_time(ms)

    def ready(self) -> int:
        """Return how many pieces of work could run now."""
        if not self.alive or self.frozen:
            return 0
        return len(self._work) + sum(lane.ready() for lane in self._lanes.values())

    def take(self, position: int) -> tuple[str, Work]:
        """Return the label and the work at `position` of those that are ready, to be run at once."""
        if position < len(self._work):
            return "run", self._work.pop(position)
        lanes = [lane for lane in self._lanes.values() if lane.ready()]
        lane = lanes[position - len(self._work)]
        return lane.name, lane.take()

    def next_alarm(self) -> int | None:
        """Return the instant (ms) of the next alarm."""
        if not self.alive or self.frozen:
            return None
        return min((at for lane in self._lanes.values() if (at := lane.next_alarm()) is not None), default=None)


class SimAlarm:
    """An entry of a lane's heap."""

    __slots__ = ("work",)

    def __init__(self, work: Work) -> None:
        self.work: Work | None = work

    def cancel(self) -> None:
        """Do not run."""
        self.work = None


class SimLane:
    """Runs one piece of work after the other: never a second one while the first waits for something."""

    def __init__(self, turns: SimTurns, name: str) -> None:
        self.name = name
        self._turns = turns
        self._soon: deque[Work] = deque()
        self._heap: list[tuple[int, int, SimAlarm]] = []
        self._order = itertools.count()
        self._busy = False

    def soon(self, work: Work) -> None:
        """Run `work` after what is queued."""
        if self._turns.closed:
            work()
        elif self._turns.alive:
            self._soon.append(work)

    def at(self, instant: int, work: Work) -> SimAlarm:
        """Run `work` when the virtual clock shows `instant` (ms)."""
        alarm = SimAlarm(work)
        if self._turns.alive and not self._turns.closed:
            heapq.heappush(self._heap, (instant, next(self._order), alarm))
        return alarm

    def next_alarm(self) -> int | None:
        """Return the instant (ms) of the next alarm; none while the lane waits for something."""
        while self._heap and self._heap[0][2].work is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap and not self._busy else None

    def ready(self) -> bool:
        """Tell whether the lane could run something now."""
        if self._busy:
            return False
        at = self.next_alarm()
        return bool(self._soon) or (at is not None and at <= self._turns.table.clock.now())

    def take(self) -> Work:
        """Return the next work, to be run at once."""
        if self._soon:
            work = self._soon.popleft()
        else:
            found = heapq.heappop(self._heap)[2].work
            assert found is not None
            work = found

        def run() -> None:
            self._busy = True
            try:
                work()
            finally:
                self._busy = False

        return run


class Table:
    """What the processes of a simulation share: the thread, the clock, the dice and the log."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self.clock = clock
        self.dice = Random(seed)
        self.seats: list[SimTurns] = []
        self.log: list[str] = []
        """One line per turn, `<instant> <process> <lane>`: the same seed gives the same log."""

    def turn(self) -> bool:
        """Run one piece of ready work, chosen by the dice; tell whether there was one."""
        counts = [seat.ready() for seat in self.seats]
        total = sum(counts)
        if total == 0:
            return False
        position = self.dice.randrange(total)
        for seat, count in zip(self.seats, counts, strict=True):
            if position < count:
                self._run(seat, position)
                return True
            position -= count
        return False

    def _run(self, seat: SimTurns, position: int) -> None:
        label, work = seat.take(position)
        self.log.append(f"{self.clock.now()} {seat.name} {label}")
        try:
            work()
        except Exception:
            if seat.alive:  # what a killed process meets on its way out concerns nobody
                raise

    def run_until_idle(self) -> None:
        """Run until nothing is ready; no time passes."""
        while self.turn():
            pass

    def next_alarm(self) -> int | None:
        """Return the time in ms until the next alarm of any process."""
        instants = [at for seat in self.seats if (at := seat.next_alarm()) is not None]
        return max(0, min(instants) - self.clock.now()) if instants else None

    def pass_time(self, ms: int) -> None:
        """Let time pass, alarm by alarm, running what becomes ready."""
        end = self.clock.elapsed() + ms
        self.run_until_idle()
        while (left := end - self.clock.elapsed()) > 0:
            step = self.next_alarm()
            self.clock.advance(left if step is None else min(step, left))
            self.run_until_idle()
