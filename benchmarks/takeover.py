"""A process is killed inside a step while another one lives on: how long until that one begins the step again.

`python -m benchmarks.takeover victim FOLDER NUMBER` is the process that dies; the survivor is the benchmark's own.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import ours, processes
from benchmarks.report import Result

LIMIT_S = 30.0


def measure(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Kill one process after the other; the lease is the default, so whoever is fast has noticed the death itself."""
    kills = 2 if quick else 5
    begun = threading.Event()
    at: list[float] = []

    def take_over() -> None:
        at.append(time.time())
        begun.set()

    waits: list[float] = []
    with ours.started(folder, fatal_order) as (resonate, _):
        resonate.set_dependency("charge", take_over)
        for number in range(kills):
            begun.clear()
            processes.run("benchmarks.takeover", "victim", str(folder), str(number), killed=True)
            if not begun.wait(LIMIT_S):
                raise processes.Failed(f"run {number} was not taken over within {LIMIT_S:g} s")
            waits.append(at[-1] - float((folder / f"killed-{number}").read_text()))
    yield Result(
        bench="takeover",
        case="a sibling lives on",
        values={"kills": kills, "median_s": statistics.median(waits), "longest_s": max(waits)},
    )


def fatal_order(ctx: Any) -> Any:
    """A workflow whose second step is fatal to its first process."""
    fate = ctx.get_dependency("charge")

    def charge() -> None:
        fate()

    yield ctx.run(int)
    yield ctx.run(charge)


def _victim(folder: Path, number: int) -> None:
    def die() -> None:
        (folder / f"killed-{number}").write_text(str(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)

    with ours.started(folder, fatal_order) as (resonate, _):
        resonate.set_dependency("charge", die)
        resonate.begin_run(f"fatal/{number}", fatal_order)
        threading.Event().wait()


if __name__ == "__main__":
    _victim(Path(sys.argv[2]), int(sys.argv[3]))
