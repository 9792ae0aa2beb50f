"""The orders example under gunicorn, two workers with eight threads each, loaded by 32 connections."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks import load, processes
from benchmarks.measuring import UNFINISHED, await_tasks
from benchmarks.report import Result

EXAMPLE = processes.ROOT / "example_projects" / "orders_flask"
_PAUSE = threading.Event()
"""Never set: waiting for it is a pause."""


def measure(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Measure the example, then the same without durability."""
    seconds = 3 if quick else 8
    store = folder / "orders.db"
    env = {"RESONATE_STORE": f"sqlite:///{store}"}
    with _serving(["-c", "gunicorn.conf.py", "app:app"], EXAMPLE, env, folder) as port:
        location = _warm_up(port)
        yield _result("GET /status", load.apply(port, location, seconds))
        posted = load.apply(port, "/orders", seconds, tag=f"load-{os.getpid()}")
        backlog = await_tasks(store, 0, UNFINISHED, limit_s=60)
        yield _result(
            "POST /orders", posted, finished_per_s=posted.good / (posted.seconds + backlog), backlog_s=backlog
        )
        yield _result("GET /status, after the orders", load.apply(port, location, seconds))
    with _serving(["benchmarks.bare_app:app"], processes.ROOT, {}, folder) as port:
        _warm_up(port)
        yield _result("GET /status, nothing durable", load.apply(port, "/status/order/first-0", seconds))
        yield _result("POST /orders, nothing durable", load.apply(port, "/orders", seconds, tag="load"))


def _result(case: str, done: load.Load, **more: float) -> Result:
    values: dict[str, float | int | str] = {
        "client": done.client,
        "per_s": done.good / done.seconds,
        "p50_ms": done.p50_ms,
        "p99_ms": done.p99_ms,
        "requests": done.good,
        "bad": done.bad,
    }
    return Result(bench="http", case=case, values={**values, **more})


@contextmanager
def _serving(app: list[str], cwd: Path, env: dict[str, str], folder: Path) -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = int(probe.getsockname()[1])
    log = folder / "server.log"
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--log-level", "error"]
    command += ["-w", "2", "-k", "gthread", "--threads", "8", *app]
    with processes.server(command, cwd=cwd, env=env, log=log):
        try:
            _await_server(port)
            yield port
        except (OSError, http.client.HTTPException) as error:
            raise processes.Failed(f"{' '.join(command)}: {error!r}\n{log.read_text()[-2000:]}") from error


def _await_server(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            _ask(port, "GET", "/status/nothing")
            return
        except OSError:
            if time.monotonic() > until:
                raise
            _PAUSE.wait(0.05)


def _warm_up(port: int) -> str:
    """Place some orders, so that both workers are warm; return the path of the first one's status."""
    locations = [_ask(port, "POST", "/orders", load.order(f"first-{i}")) for i in range(40)]
    _PAUSE.wait(1)
    return locations[0]


def _ask(port: int, method: str, path: str, body: object = None) -> str:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if method == "POST" and response.status >= 300:
            raise processes.Failed(f"{method} {path}: {response.status} {response.read()[:500]!r}")
        location = response.headers.get("Location", "")
        return location.removeprefix(f"http://127.0.0.1:{port}")
