"""Results as JSON lines, and the table at the end: each measure beside the limit, the peer and its targets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.targets import TARGETS, Reference, Target

Value = float | int | str
US = "resonate_web"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one case of one benchmark gave; `system` is who did the work."""

    bench: str
    case: str
    system: str = US
    values: dict[str, Value] = field(default_factory=dict)

    def line(self) -> str:
        """Return the result as one line of JSON; floats are rounded to five digits."""
        rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in self.values.items()}
        return json.dumps({"system": self.system, "bench": self.bench, "case": self.case, **rounded})


def parse(line: str) -> Result:
    """Read a line that `Result.line` wrote."""
    found = json.loads(line)
    system, bench, case = (str(found.pop(name)) for name in ("system", "bench", "case"))
    return Result(system=system, bench=bench, case=case, values=found)


def table(results: Sequence[Result]) -> str:
    """Return one row for every target that was measured.

    `x limit` is how many times the limit's time was taken, `x peer` how many times better than the peer.
    """
    head = ("", "measure", "here", "unit", "x limit", "peer", "x peer", "first", "goal", "reached")
    rows = [row for target in TARGETS if (row := _row(target, results)) is not None]
    return _aligned([head, *rows])


def _row(target: Target, results: Sequence[Result]) -> tuple[str, ...] | None:
    same = [r for r in results if (r.bench, r.case) == (target.bench, target.case)]
    ours = [r for r in same if r.system == US]
    here = _value(ours, target.field)
    if here is None:
        return None
    limit = None if target.limit is None else _limit(target.limit, results, results.index(ours[0]))
    peer = _value([r for r in same if r.system != US], target.field)
    return (
        target.row,
        target.measure,
        _number(here),
        target.unit,
        _number(_times(here, limit, target.less)),
        _number(peer),
        _number(_times(peer, here, target.less)),
        _number(target.first),
        _number(target.goal),
        _reached(target, here),
    )


def _limit(reference: Reference, results: Sequence[Result], at: int) -> float | None:
    """Return the reference as measured last before the result at `at`, else the next one after it."""
    nearest = [*reversed(results[:at]), *results[at:]]
    found = _value([r for r in nearest if (r.bench, r.case) == (reference.bench, reference.case)], reference.field)
    return None if found is None else found * reference.times


def _value(results: Sequence[Result], name: str) -> float | None:
    value = results[0].values.get(name) if results else None
    return None if value is None or isinstance(value, str) else float(value)


def _times(worse: float | None, better: float | None, less: bool) -> float | None:
    """Return how many times `better` is better."""
    if worse is None or better is None:
        return None
    over, under = (worse, better) if less else (better, worse)
    return over / under if under else None


def _reached(target: Target, here: float) -> str:
    for name, bar in (("goal", target.goal), ("first", target.first)):
        if bar is not None and (here <= bar if target.less else here >= bar):
            return name
    return "NO"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {0, 1, 3, 9}
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
