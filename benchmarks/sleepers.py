"""Runs that only sleep: what each costs while it does, and how long it takes to wake them all."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.measuring import memory_kb, most_threads
from benchmarks.report import Result
from resonate_web import Resonate
from resonate_web.engine.events import Event

IN_FLIGHT = 256
WARM_UP = 500


def sleeper(ctx: Any, until: float) -> Any:
    """Sleep to an instant. Reading the clock here is harmless: only the first execution sets the timer."""
    yield ctx.sleep(max(0.0, until - time.time()))
    return until


class Tally:
    """How many runs have been suspended and finished."""

    def __init__(self, resonate: Resonate) -> None:
        self._changed = threading.Condition()
        self._counts = {"suspended": 0, "finished": 0}
        resonate.events.subscribe(self._count)

    def _count(self, event: Event) -> None:
        if event.kind in self._counts:
            with self._changed:
                self._counts[event.kind] += 1
                self._changed.notify_all()

    def wait(self, kind: str, n: int, limit_s: float) -> None:
        """Wait until `n` runs have done so."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._counts[kind] >= n, limit_s):
                raise TimeoutError(f"only {self._counts[kind]} of {n} runs have {kind}")


def measure(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Start all of them, look at the process while they sleep, wake them at one instant."""
    n = 1000 if quick else 10_000
    with ours.started(folder, sleeper) as (resonate, _), most_threads() as threads:
        tally = Tally(resonate)
        rate = WARM_UP / _start(resonate, "warm", WARM_UP, time.time() + 1)
        tally.wait("finished", WARM_UP, 60)
        gc.collect()
        before = memory_kb()
        until = time.time() + 5 + 2 * n / rate
        began = time.perf_counter()
        _start(resonate, "sleeper", n, until)
        tally.wait("suspended", n, 120)
        start = time.perf_counter() - began
        gc.collect()
        each = (memory_kb() - before) / n
        idle = time.process_time()
        left = until - time.time()
        threading.Event().wait(max(0.0, left))
        idle = (time.process_time() - idle) / max(left, 0.001)
        tally.wait("finished", WARM_UP + n, 120)
        wake = time.time() - until
    yield Result(
        bench="sleepers",
        case=f"{n} sleepers",
        values={
            "start_s": start,
            "kb_each": each,
            "threads": threads[0],
            "idle_cpu_share": idle if left > 0 else 0,
            "wake_s": wake,
            "all_asleep_in_time": int(left > 0),
        },
    )


def _start(resonate: Resonate, name: str, n: int, until: float) -> float:
    async def one(i: int) -> None:
        await resonate.abegin_run(f"{name}/{i}", sleeper, until)

    began = time.perf_counter()
    ours.keep_in_flight(n, IN_FLIGHT, one)
    return time.perf_counter() - began
