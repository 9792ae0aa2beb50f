"""Real server processes for black-box tests: started, asked over HTTP, killed; and the ledger that their steps write.

Nothing here sleeps for a fixed time: tests wait for conditions, with deadlines.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

LISTENING = re.compile(r"http://127\.0\.0\.1:(\d+)")
FRAMEWORKS = ("FLASK_", "WERKZEUG_", "GUNICORN_", "DJANGO_")
OURS = (*FRAMEWORKS, "RESONATE_", "ORDERS_", "APPROVAL_", "EXPENSES_", "MAIL_", "SMTP_", "EFFECT_LEDGER")
"""What a server does not inherit from the environment of the tests, but for the size of the cache."""


def until(condition: Callable[[], T], seconds: float = 20.0, what: str = "the condition") -> T:
    """Return what `condition` returns once that is true. Raises: AssertionError after `seconds`."""
    ends_at = time.monotonic() + seconds
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < ends_at, f"{what} was not met within {seconds} s"
        pause.wait(0.005)
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it came over the wire."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body's document."""
        return json.loads(self.body)


def free_port() -> int:
    """Return a port for a server that cannot choose one, or has to come back at the same.

    It is below those that systems give to clients and to whoever asks for any, so that none of them takes it while
    the server is away; and no two processes of one test run get the same.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    for port in random.sample(range(20_000 + 1_000 * worker, 21_000 + 1_000 * worker), 1_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


class Server:
    """A server process and its children, in a session of their own; it chose its port itself and prints it."""

    def __init__(self, command: Sequence[str], *, folder: Path, log: Path, environ: Mapping[str, str]) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(OURS) or k == "RESONATE_CACHE_SIZE"}
        self._log = log
        with log.open("w") as output:
            self.started_at = time.time()
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env={**inherited, "PYTHONUNBUFFERED": "1", **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._port: int | None = None

    @property
    def output(self) -> str:
        """Return what the server has printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def port(self) -> int:
        """Return the port, waiting for the server to listen."""
        if self._port is None:
            found = until(lambda: LISTENING.search(self.output) or self.process.poll() is not None, what="listening")
            assert isinstance(found, re.Match), f"the server ended:\n{self.output}"
            self._port = int(found[1])
        return self._port

    @property
    def url(self) -> str:
        """Return the server's origin."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, document: object = None, **fields: str) -> Answer:
        """Send one request, `document` as JSON or bytes as they are; `Content_Type=` and the like are its fields.

        Raises: OSError or HTTPException when there is no answer.
        """
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        body = document if isinstance(document, bytes) else None
        if document is not None:
            headers.setdefault("Content-Type", "application/json")
            body = json.dumps(document).encode() if body is None else body
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def kill(self) -> None:
        """Kill every process of the session at once, as a lost machine does; harmless when repeated."""
        if self.process.poll() is None or self._survivors():
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(30)
        until(lambda: not self._survivors(), what="the end of all processes")

    def stop(self) -> int:
        """Ask the server to end and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def _survivors(self) -> list[int]:
        """Return the processes of the session that run; those that nobody has reaped do not."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            except (OSError, ValueError):
                continue
            if int(group) == self.process.pid and state not in "ZX":
                found.append(int(stat.parent.name))
        return found


@dataclass(frozen=True, slots=True)
class Ledger:
    """The file to which steps write a line when they begin, before anything else."""

    path: Path

    def lines(self, run: str | None = None, step: str | None = None) -> list[dict[str, Any]]:
        """Return the lines of a run and of a step, or of all, in order."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return []
        found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in found if run in (None, line["run"]) and step in (None, line["step"])]

    def steps(self, run: str) -> list[str]:
        """Return the names of a run's steps in the order in which they began."""
        return [line["step"] for line in self.lines(run)]

    def wait_for(self, run: str, step: str, *, count: int = 1, seconds: float = 20.0) -> dict[str, Any]:
        """Return the line with which a step of a run begins for the `count`-th time. Raises: AssertionError."""
        what = f"the beginning of {step} of {run}, having {self.steps(run)},"
        return until(lambda: self.lines(run, step)[count - 1 : count], seconds, what)[0]
