"""Runs that only sleep: what each costs while it does, and how long it takes to wake them all."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.measuring import UNFINISHED, await_tasks, memory_kb, most_threads
from benchmarks.report import Result
from resonate_web import Resonate

IN_FLIGHT = 256
WARM_UP = 500


def sleeper(ctx: Any, until: float) -> Any:
    """Sleep to an instant. Reading the clock here is harmless: only the first execution sets the timer."""
    yield ctx.sleep(max(0.0, until - time.time()))
    return until


def measure(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Start all of them, look at the process while they sleep, wake them at one instant."""
    n = 1000 if quick else 10_000
    with ours.started(folder, sleeper) as (resonate, _), most_threads() as threads:
        store = folder / "resonate.db"
        rate = WARM_UP / _start(resonate, "warm", WARM_UP, time.time() + 2)
        await_tasks(store, 0, UNFINISHED, limit_s=60)
        gc.collect()
        before = memory_kb()
        until = time.time() + 5 + 2 * n / rate
        began = time.perf_counter()
        _start(resonate, "sleeper", n, until)
        await_tasks(store, n, "state = 'suspended'", limit_s=120)
        start = time.perf_counter() - began
        gc.collect()
        each = (memory_kb() - before) / n
        idle = time.process_time()
        left = until - time.time()
        threading.Event().wait(max(0.0, left))
        idle = (time.process_time() - idle) / max(left, 0.001)
        await_tasks(store, 0, UNFINISHED, limit_s=120)
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
