"""What we want to reach, beside what the store's limit allows.

The bars were set on a small machine (2 cores, a commit to disk in about 0.15 ms). Absolute figures differ between
machines and hours; the ratios to the limit and to a peer, taken in one run, are what can be compared. `first` is the
least that is acceptable, `goal` what we are after.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The figure of another case, times a factor: what the same work costs at least."""

    case: str
    field: str
    times: float = 1.0
    bench: str = "limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One measure. `less` tells that smaller is better; a bar of None does not exist."""

    row: str
    measure: str
    bench: str
    case: str
    field: str
    unit: str
    first: float | None
    goal: float
    less: bool = True
    limit: Reference | None = None


LONE = "1 row per commit"
GROUPED = "64 rows per commit"

COMMITS = 6
"""An order alone waits for this many commits: its start, four steps, its end."""
ROWS = 8
"""Rows that an order writes: promise and task at the start, four steps, promise and task at the end."""

# An order's rows at the speed of shared commits.
_ORDERS = Reference(case=GROUPED, field="rows_per_s", times=1 / ROWS)

TARGETS = (
    Target(row="S1", measure="order alone, start to result, median", bench="orders", case="alone", field="median_ms",
           unit="ms", first=5, goal=2.5, limit=Reference(case=LONE, field="median_ms_per_row", times=COMMITS)),
    Target(row="S2", measure="orders, 32 in flight", bench="orders", case="32 in flight", field="per_s",
           unit="1/s", first=700, goal=2000, less=False, limit=_ORDERS),
    Target(row="S3", measure="orders, 256 in flight", bench="orders", case="256 in flight", field="per_s",
           unit="1/s", first=1000, goal=2500, less=False, limit=_ORDERS),
    Target(row="S5", measure="commits of an order alone", bench="orders", case="alone", field="commits_per_order",
           unit="", first=6, goal=5),
    Target(row="S5", measure="commits per order, 256 in flight", bench="orders", case="256 in flight",
           field="commits_per_order", unit="", first=0.5, goal=0.1),
    Target(row="S6", measure="loop of 5,000 steps, each", bench="loop", case="5000 steps", field="ms_per_step",
           unit="ms", first=1.0, goal=0.4, limit=Reference(case=LONE, field="mean_ms_per_row")),
    Target(row="S7", measure="killed at step 4,750: first new step", bench="loop", case="5000 steps, killed",
           field="first_step_s", unit="s", first=0.5, goal=0.1),
    Target(row="S8", measure="1,000 concurrent steps, joined", bench="fanout", case="1000 steps", field="total_s",
           unit="s", first=1.0, goal=0.3, limit=Reference(case=GROUPED, field="mean_ms_per_row", times=1.0)),
    Target(row="S8", measure="threads meanwhile", bench="fanout", case="1000 steps", field="threads",
           unit="", first=None, goal=50),
    Target(row="S9", measure="1,000 child runs, joined", bench="fanout", case="1000 children", field="total_s",
           unit="s", first=2.0, goal=0.6, limit=Reference(case=GROUPED, field="mean_ms_per_row", times=4.0)),
    Target(row="S10", measure="10,000 sleepers: start", bench="sleepers", case="10000 sleepers", field="start_s",
           unit="s", first=20, goal=5, limit=Reference(case=GROUPED, field="mean_ms_per_row", times=40.0)),
    Target(row="S10", measure="memory of each", bench="sleepers", case="10000 sleepers", field="kb_each",
           unit="kB", first=8, goal=3),
    Target(row="S10", measure="threads meanwhile", bench="sleepers", case="10000 sleepers", field="threads",
           unit="", first=50, goal=20),
    Target(row="S10", measure="all due at once: wake and end", bench="sleepers", case="10000 sleepers", field="wake_s",
           unit="s", first=15, goal=4, limit=Reference(case=GROUPED, field="mean_ms_per_row", times=50.0)),
    Target(row="S11", measure="POST /orders, finished", bench="http", case="POST /orders", field="finished_per_s",
           unit="1/s", first=500, goal=1500, less=False,
           limit=Reference(bench="http", case="POST /orders, nothing durable", field="per_s")),
    Target(row="S11", measure="the same, p99", bench="http", case="POST /orders", field="p99_ms",
           unit="ms", first=None, goal=60,
           limit=Reference(bench="http", case="POST /orders, nothing durable", field="p99_ms")),
    Target(row="S11", measure="the same, backlog at the end", bench="http", case="POST /orders", field="backlog_s",
           unit="s", first=1.0, goal=1.0),
    Target(row="S13", measure="GET /status/<id>", bench="http", case="GET /status", field="per_s",
           unit="1/s", first=2000, goal=3500, less=False,
           limit=Reference(bench="http", case="GET /status, nothing durable", field="per_s")),
    Target(row="-", measure="process killed: a sibling begins the step again", bench="takeover",
           case="a sibling lives on", field="longest_s", unit="s", first=2, goal=2),
    Target(row="S15", measure="killed with 1,000 orders in flight: all finished", bench="crash1000",
           case="1000 orders", field="finish_s", unit="s", first=10, goal=2),
    Target(row="S17", measure="packages that [flask] adds to a Flask app", bench="install", case="packages",
           field="added", unit="", first=12, goal=10),
    Target(row="S17", measure="import and first use in a Flask app", bench="install", case="import",
           field="median_s", unit="s", first=1.0, goal=0.7),
)  # fmt: skip
"""Factors of grouped rows: `mean_ms_per_row * k` are the seconds of 1,000 * k rows."""
