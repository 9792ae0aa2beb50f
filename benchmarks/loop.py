"""One run of many steps; and how soon it goes on after its process was killed.

`python -m benchmarks.loop victim|recover FOLDER STEPS` are the two processes of the second case.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import ours, processes
from benchmarks.report import Result, parse

KILLED_AT = 0.95


def measure(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Run to the end; then be killed near the end and go on."""
    for steps in (200, 1000) if quick else (1000, 5000):
        yield _to_the_end(_made(folder / f"run{steps}"), steps)
        place = str(_made(folder / f"killed{steps}"))
        processes.run("benchmarks.loop", "victim", place, str(steps), killed=True)
        yield parse(processes.run("benchmarks.loop", "recover", place, str(steps)))


class Loop:
    """The workflow, and when its step was started in this process; `killed_at` is the last step of this process."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.starts: list[float] = []
        self.killed_at = killed_at

    def step(self, i: int) -> dict[str, int]:
        """One turn."""
        self.starts.append(time.perf_counter())
        if i == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"i": i, "square": i * i}

    def workflow(self) -> Callable[..., Any]:
        """Return the workflow: a checkpoint per turn."""

        def loop(ctx: Any, steps: int) -> Any:
            total = 0
            for i in range(1, steps + 1):
                total += (yield ctx.run(self.step, i))["i"]
            return total

        return loop


def _to_the_end(folder: Path, steps: int) -> Result:
    loop = Loop()
    workflow = loop.workflow()
    with ours.started(folder, workflow) as (resonate, _):
        before, began = resonate.runtime.server.commits, time.perf_counter()
        assert resonate.run("loop", workflow, steps) == steps * (steps + 1) // 2
        ended = time.perf_counter()
        commits = resonate.runtime.server.commits - before
    tenth = steps // 10
    return Result(
        bench="loop",
        case=f"{steps} steps",
        values={
            "total_s": ended - began,
            "ms_per_step": (ended - began) * 1000 / steps,
            "first_tenth_s": loop.starts[tenth] - began,
            "last_tenth_s": ended - loop.starts[-tenth],
            "commits_per_step": commits / steps,
        },
    )


def _victim(folder: Path, steps: int) -> None:
    workflow = Loop(killed_at=int(steps * KILLED_AT)).workflow()
    with ours.started(folder, workflow) as (resonate, _):
        resonate.run("loop", workflow, steps)


def _recover(folder: Path, steps: int) -> Result:
    loop = Loop()
    began = time.perf_counter()
    with ours.started(folder, loop.workflow()) as (resonate, _):
        up = time.perf_counter()
        assert resonate.get("loop").result(timeout=60) == steps * (steps + 1) // 2
        ended = time.perf_counter()
    return Result(
        bench="loop",
        case=f"{steps} steps, killed",
        values={
            "killed_at": int(steps * KILLED_AT),
            "start_s": up - began,
            "first_step_s": loop.starts[0] - up,
            "finish_s": ended - up,
            "steps_started": len(loop.starts),
        },
    )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    role, place, count = sys.argv[1:]
    if role == "victim":
        _victim(Path(place), int(count))
    else:
        print(_recover(Path(place), int(count)).line())
