"""The same orders with DBOS Transact on SQLite, as it ships: `python -m benchmarks.dbos_orders FOLDER quick|full`.

Run by the Python that has `dbos`; uses nothing of ours but the steps.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from benchmarks import work
from benchmarks.measuring import median, quantile, spent, threads
from benchmarks.report import Result


def main(folder: Path, quick: bool) -> None:
    """Print the results of the cases of `orders`."""
    dbos: Any = importlib.import_module("dbos")
    start = _declared(dbos.DBOS)
    url = f"sqlite:///{folder / 'dbos.sqlite'}"
    dbos.DBOS(config={"name": "orders", "system_database_url": url, "run_admin_server": False, "log_level": "ERROR"})
    dbos.DBOS.launch()

    def begin(id: str, i: int) -> Any:
        with dbos.SetWorkflowID(id):
            return start(work.order(i))

    for i in range(20):
        begin(f"warm/{i}", i).get_result()
    print(_alone(begin, 60 if quick else 300).line(), flush=True)
    for in_flight in (32, 256):
        print(_many(begin, in_flight, 300 if quick else 800).line(), flush=True)
    dbos.DBOS.destroy()


def _declared(dbos: Any) -> Any:
    validate, reserve, charge, confirm = (
        dbos.step()(step) for step in (work.validate, work.reserve, work.charge, work.confirm)
    )

    def process_order(order: work.Order) -> Any:
        validate(order)
        reservation, charged = reserve(order), charge(order)
        return confirm(order, reservation, charged)

    workflow = dbos.workflow()(process_order)
    return lambda order: dbos.start_workflow(workflow, order)


def _alone(begin: Any, n: int) -> Result:
    samples: list[float] = []
    with spent() as all_of_it:
        for i in range(n):
            began = time.perf_counter()
            begin(f"alone/{i}", i).get_result()
            samples.append((time.perf_counter() - began) * 1000)
    figures = {"median_ms": median(samples), "p99_ms": quantile(samples, 0.99), "cpu_ms": all_of_it.cpu * 1000 / n}
    return Result(system="dbos", bench="orders", case="alone", values={"n": n, **figures})


def _many(begin: Any, in_flight: int, n: int) -> Result:
    flying: deque[Any] = deque()
    with spent() as all_of_it:
        for i in range(n):
            if len(flying) >= in_flight:
                flying.popleft().get_result()
            flying.append(begin(f"{in_flight}/{i}", i))
        while flying:
            flying.popleft().get_result()
    figures = {"per_s": n / all_of_it.wall, "cpu_ms": all_of_it.cpu * 1000 / n, "threads": threads()}
    return Result(system="dbos", bench="orders", case=f"{in_flight} in flight", values={"n": n, **figures})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "quick")
