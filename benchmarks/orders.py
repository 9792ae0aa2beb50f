"""Four-step orders: one client that waits for each, then many in flight."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import ours, work
from benchmarks.measuring import median, quantile, spent, threads
from benchmarks.report import Result
from resonate_web import Resonate

WARM_UP = 20


def measure(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Measure latency alone, then throughput with 32 and 256 in flight."""
    with ours.started(folder, ours.process_order) as (resonate, file):
        for i in range(WARM_UP):
            resonate.run(f"warm/{i}", ours.process_order, work.order(i))
        yield _alone(resonate, 100 if quick else 1000)
        for in_flight, n in ((32, 600 if quick else 4000), (256, 1000 if quick else 6000)):
            yield _many(resonate, file, in_flight, n)


def _alone(resonate: Resonate, n: int) -> Result:
    samples: list[float] = []
    before = resonate.runtime.server.commits
    with spent() as all_of_it:
        for i in range(n):
            began = time.perf_counter()
            resonate.run(f"alone/{i}", ours.process_order, work.order(i))
            samples.append((time.perf_counter() - began) * 1000)
    return Result(
        bench="orders",
        case="alone",
        values={
            "n": n,
            "median_ms": median(samples),
            "p99_ms": quantile(samples, 0.99),
            "cpu_ms": all_of_it.cpu * 1000 / n,
            "commits_per_order": (resonate.runtime.server.commits - before) / n,
        },
    )


def _many(resonate: Resonate, file: ours.CountingFile, in_flight: int, n: int) -> Result:
    async def one(i: int) -> None:
        await resonate.arun(f"{in_flight}/{i}", ours.process_order, work.order(i))

    commits, rows = resonate.runtime.server.commits, file.rows
    with spent() as all_of_it:
        ours.keep_in_flight(n, in_flight, one)
    commits, rows = resonate.runtime.server.commits - commits, file.rows - rows
    return Result(
        bench="orders",
        case=f"{in_flight} in flight",
        values={
            "n": n,
            "per_s": n / all_of_it.wall,
            "cpu_ms": all_of_it.cpu * 1000 / n,
            "commits_per_order": commits / n,
            "rows_per_order": rows / n,
            "rows_per_commit": rows / commits,
            "threads": threads(),
        },
    )
