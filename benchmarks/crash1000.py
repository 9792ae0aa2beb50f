"""The only process is killed with a thousand orders in the middle; a new one finishes them.

`python -m benchmarks.crash1000 victim|recover FOLDER ORDERS` are the two processes.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import ours, processes, work
from benchmarks.measuring import UNFINISHED
from benchmarks.report import Result, parse

IN_FLIGHT = 256


def measure(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Kill, restart, wait for the last order."""
    n = 200 if quick else 1000
    processes.run("benchmarks.crash1000", "victim", str(folder), str(n), killed=True)
    yield parse(processes.run("benchmarks.crash1000", "recover", str(folder), str(n)))


class Gate:
    """Stops every order before its first step until all are started, then kills the process half-way."""

    def __init__(self, kill_at: int) -> None:
        self.open = threading.Event()
        self._kill_at = kill_at
        self._passed = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Pass, as a step."""
        self.open.wait()
        with self._lock:
            self._passed += 1
            if self._passed >= self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


def gated_order(ctx: Any, order: work.Order) -> Any:
    """The order workflow, its steps behind the gate if there is one."""
    gate = ctx.get_dependency("gate")

    def validate(order: work.Order) -> work.Order:
        gate()
        return work.validate(order)

    def reserve(order: work.Order) -> work.Order:
        gate()
        return work.reserve(order)

    def charge(order: work.Order) -> work.Order:
        gate()
        return work.charge(order)

    yield ctx.run(validate, order)
    reservation = yield ctx.run(reserve, order)
    charged = yield ctx.run(charge, order)
    return (yield ctx.run(work.confirm, order, reservation, charged))


def _victim(folder: Path, n: int) -> None:
    gate = Gate(kill_at=2 * n)
    with ours.started(folder, gated_order) as (resonate, _):
        resonate.set_dependency("gate", gate)

        async def one(i: int) -> None:
            await resonate.abegin_run(f"order/{i}", gated_order, work.order(i))

        ours.keep_in_flight(n, IN_FLIGHT, one)
        gate.open.set()
        threading.Event().wait()


def _recover(folder: Path, n: int) -> Result:
    unfinished = _unfinished(folder)
    steps = [0]
    resonate, _ = ours.client(folder)
    resonate.register(gated_order)
    resonate.set_dependency("gate", lambda: steps.__setitem__(0, steps[0] + 1))
    began = time.perf_counter()
    resonate.ensure_started()
    up = time.perf_counter()
    results = [resonate.get(f"order/{i}").result(timeout=100) for i in range(n)]
    ended = time.perf_counter()
    resonate.close()
    assert [r["id"] for r in results] == [work.order(i)["id"] for i in range(n)]
    assert _unfinished(folder) == 0
    return Result(
        bench="crash1000",
        case=f"{n} orders",
        values={
            "unfinished": unfinished,
            "start_s": up - began,
            "finish_s": ended - up,
            "gated_steps_started": steps[0],
        },
    )


def _unfinished(folder: Path) -> int:
    """Count, while nobody else has the file open."""
    with closing(sqlite3.connect(folder / "resonate.db")) as connection:
        return int(connection.execute(f"SELECT count(*) FROM resonate_tasks WHERE {UNFINISHED}").fetchone()[0])


if __name__ == "__main__":
    role, place, count = sys.argv[1:]
    if role == "victim":
        _victim(Path(place), int(count))
    else:
        print(_recover(Path(place), int(count)).line())
