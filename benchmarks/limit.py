"""What the disk and SQLite alone allow with the same file settings: rows of a checkpoint's size, nothing else.

Measured anew before each benchmark: on shared machines a disk is ten times slower in one minute than in the next.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import median
from benchmarks.report import Result
from benchmarks.targets import GROUPED, LONE

_TABLE = (
    "CREATE TABLE p (id TEXT PRIMARY KEY, state TEXT NOT NULL, parent TEXT, param TEXT, value TEXT, created INTEGER)"
)
_VALUE = '{"reservation":"r-o123","qty":2}'


def measure(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Write single rows and groups of 64."""
    seconds = 0.3 if quick else 1.0
    for case, group in ((LONE, 1), (GROUPED, 64)):
        yield Result(bench="limit", case=case, system="sqlite3", values=_write(folder / f"{group}.db", group, seconds))


def _write(path: Path, group: int, seconds: float) -> dict[str, float | int | str]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(_TABLE)
    rows, commits = 0, list[float]()
    began = before = time.perf_counter()
    while before - began < seconds:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO p VALUES (?,?,?,?,?,?)", [_row(rows + i) for i in range(group)])
        connection.execute("COMMIT")
        rows += group
        now = time.perf_counter()
        commits.append(now - before)
        before = now
    took = before - began
    connection.close()
    return {
        "rows": rows,
        "rows_per_s": rows / took,
        "mean_ms_per_row": took * 1000 / rows,
        "median_ms_per_row": median(commits) * 1000 / group,
        "sqlite": sqlite3.sqlite_version,
    }


def _row(i: int) -> tuple[str, str, str, str, str, int]:
    return f"order/o{i // 5}.{i % 5}", "resolved", f"order/o{i // 5}", '{"id":"o1"}', _VALUE, 1_700_000_000_000 + i
