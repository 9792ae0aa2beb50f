"""One run that starts a thousand things at once and joins them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.measuring import most_threads, spent
from benchmarks.report import Result

WIDTH = 1000


def square(i: int) -> int:
    """One step."""
    return i * i


def child(ctx: Any, i: int) -> Any:
    """A run of one step."""
    return (yield ctx.run(square, i))


def wide_steps(ctx: Any, n: int) -> Any:
    """Run `n` steps at once."""
    values = yield ctx.all([ctx.run(square, i) for i in range(n)])
    return sum(values)


def wide_children(ctx: Any, n: int) -> Any:
    """Start `n` runs and wait for all."""
    values = yield ctx.all([ctx.rpc(child, i) for i in range(n)])
    return sum(values)


def measure(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Join steps, then child runs; a quick run does the same."""
    for case, workflow in (("steps", wide_steps), ("children", wide_children)):
        place = folder / case
        place.mkdir()
        with ours.started(place, workflow, child) as (resonate, file):
            resonate.run("warm", workflow, 20)
            commits, rows = resonate.runtime.server.commits, file.rows
            with most_threads() as threads, spent() as all_of_it:
                assert resonate.run("wide", workflow, WIDTH) == sum(i * i for i in range(WIDTH))
            yield Result(
                bench="fanout",
                case=f"{WIDTH} {case}",
                values={
                    "total_s": all_of_it.wall,
                    "cpu_s": all_of_it.cpu,
                    "commits": resonate.runtime.server.commits - commits,
                    "rows": file.rows - rows,
                    "threads": threads[0],
                },
            )
