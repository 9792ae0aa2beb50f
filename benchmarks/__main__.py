"""`python -m benchmarks [name ...]`: measure, print JSON lines, then a table of ratios and targets.

Every benchmark runs in a process and a folder of its own, on loopback only, for a bounded time. `limit`, what the disk
and SQLite alone allow, is measured before each of the others, so that ratios compare figures of the same minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from benchmarks import processes
from benchmarks.report import Result, parse, table

NAMES = ("orders", "loop", "fanout", "sleepers", "http", "crash1000", "takeover", "install", "limit")
LIMIT_S = {"loop": 300.0, "sleepers": 400.0, "install": 900.0}
"""Seconds that one benchmark may take; 180 where nothing is said."""


def main() -> int:
    """Run the chosen benchmarks; return the exit status: 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="smaller numbers; only some targets are compared")
    parser.add_argument("--folder", type=Path, help="where the stores are made and removed (default: the system's)")
    parser.add_argument("--peer-python", metavar="PATH", help="a Python that has dbos, to run the same orders with it")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    chosen = [name for name in NAMES if name in (options.names or NAMES)]
    results: list[Result] = []
    failed: list[str] = []
    for name in chosen:
        try:
            if name not in ("limit", "install"):
                measure("limit", options, results)
            measure(name, options, results)
        except processes.Failed as error:
            failed.append(name)
            print(f"{name} failed: {error}", file=sys.stderr, flush=True)
    print(f"\n{table(results)}")
    if options.quick:
        print("\nQuick: small numbers, and not every target; compare nothing but orders of magnitude.")
    return 1 if failed else 0


def measure(name: str, options: argparse.Namespace, results: list[Result]) -> None:
    """Run one benchmark, and a peer on the same work where there is one; print and keep each result.

    Raises: processes.Failed; what was measured before is kept.
    """
    size = "quick" if options.quick else "full"
    programs: list[tuple[str, tuple[str, ...], float]] = [
        (sys.executable, ("benchmarks.one", name), LIMIT_S.get(name, 180.0))
    ]
    peer = options.peer_python or (sys.executable if importlib.util.find_spec("dbos") else None)
    if name == "orders" and peer is not None:
        programs.append((peer, ("benchmarks.dbos_orders",), 180.0))
    for python, program, limit_s in programs:
        with tempfile.TemporaryDirectory(prefix="resonate-bench-", dir=options.folder) as folder:
            try:
                printed = processes.run_with(python, *program, folder, size, limit_s=limit_s)
            except processes.Failed as error:
                _keep(error.printed, results)
                raise
            _keep(printed, results)


def _keep(printed: str, results: list[Result]) -> None:
    for line in printed.splitlines():
        if line.startswith('{"system"'):
            print(line, flush=True)
            results.append(parse(line))


if __name__ == "__main__":
    sys.exit(main())
