"""Figures of this process and of samples."""

from __future__ import annotations

import os
import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

UNFINISHED = "state <> 'fulfilled'"


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the sample below which `share` of all lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(samples: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(samples)


def memory_kb() -> int:
    """Return the resident memory of this process in kB."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    raise OSError("/proc/self/status has no VmRSS")


def threads() -> int:
    """Return the number of threads of this process, those of C code included."""
    return len(os.listdir("/proc/self/task"))


@dataclass(slots=True)
class Spent:
    """Wall and processor seconds of a block; filled when it ends."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def spent() -> Iterator[Spent]:
    """Measure a block."""
    figures = Spent()
    wall, cpu = time.perf_counter(), time.process_time()
    yield figures
    figures.wall, figures.cpu = time.perf_counter() - wall, time.process_time() - cpu


def await_tasks(store: Path, count: int, condition: str, limit_s: float) -> float:
    """Wait until exactly `count` tasks in a store's file meet an SQL condition; return how many seconds that took.

    Asks the file, so it counts what every process has committed. Raises: TimeoutError.
    """
    began, pause = time.perf_counter(), threading.Event()
    with closing(sqlite3.connect(store)) as connection:
        while True:
            found = connection.execute(f"SELECT count(*) FROM resonate_tasks WHERE {condition}").fetchone()[0]
            took = time.perf_counter() - began
            if found == count:
                return took
            if took > limit_s:
                raise TimeoutError(f"after {limit_s:g} s {found} tasks instead of {count} are {condition}")
            pause.wait(0.02)


@contextmanager
def most_threads() -> Iterator[list[int]]:
    """Watch how many threads there are at most during a block; the one that watches is not counted."""
    most, over = [threads()], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            most[0] = max(most[0], threads() - 1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()
