"""Real server processes for the adapters' tests."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from resonate_web.testing.servers import Answer

PORT = re.compile(r"http://127\.0\.0\.1:(\d+)")

APP = """
import os

from flask import Flask, jsonify, request
from resonate_web.flask import Resonate

app = Flask(__name__)
app.secret_key = "development"
resonate = Resonate(app)


def told(name):
    with open(os.environ["TOLD"], "a") as told:
        told.write(f"{name} {os.getpid()}\\n")


def first(order):
    told("first")
    return 1


def second(order):
    told("second")
    with open(os.environ["GATE"]) as gate:
        return gate.read()


@resonate.register
def process(ctx, order):
    yield ctx.run(first, order)
    return (yield ctx.run(second, order))


@resonate.register
def quick(ctx, order):
    return {"order": order}
    yield


@app.post("/process")
def start_process():
    order = request.get_json()
    return resonate.start(order["id"], process, order)


@app.post("/quick")
def start_quick():
    order = request.get_json()
    return resonate.start(order["id"], quick, order)


@app.get("/pid")
def pid():
    return jsonify(os.getpid())
"""


GUNICORN = "control_socket_disable = True  # newer versions would have a thread for it in the master\n"


class Server:
    """One server process with its children, in a session of its own."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RESONATE_", "FLASK_", "WERKZEUG_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env={**inherited, "PYTHONUNBUFFERED": "1", **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.log: list[str] = []
        self.port = 0

    def listen(self) -> None:
        """Read the server's output up to the line that names its port."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            found = PORT.search(line)
            if found:
                self.port = int(found.group(1))
                return
        pytest.fail("the server ended:\n" + "".join(self.log))

    def ask(self, method: str, path: str, document: object = None, **fields: str) -> Answer:
        """Send one request; the path goes out as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        body = None
        if document is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(document)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def kill(self) -> None:
        """Kill the whole session at once, as a lost machine does, and reap it."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._reap()

    def stop(self) -> str:
        """Ask the server to end and return the rest of its output."""
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> str:
        rest, _ = self.process.communicate(timeout=30)
        self.log.append(rest)
        return rest


Serve = Callable[..., Server]


@dataclass(frozen=True)
class Site:
    """A folder with an app in it, its store, and the pipes by which its steps talk to the test."""

    folder: Path
    environ: dict[str, str]
    ear: int

    def told(self) -> tuple[str, int]:
        """Wait for a step to begin; return its name and its process."""
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self.ear, 1)
        name, pid = line.split()
        return name.decode(), int(pid)

    def silent(self) -> bool:
        """Tell whether no further step has begun."""
        return select.select([self.ear], [], [], 0)[0] == []

    def open_gate(self) -> None:
        """Let the step behind the gate end."""
        Path(self.environ["GATE"]).write_text("open")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Write the app and make its pipes, at which the test and the steps wait for each other: nobody has to sleep."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "gunicorn.conf.py").write_text(GUNICORN)
    environ = {
        "RESONATE_STORE": f"sqlite:///{tmp_path / 'resonate.db'}",
        "TOLD": str(tmp_path / "told"),
        "GATE": str(tmp_path / "gate"),
    }
    os.mkfifo(environ["TOLD"])
    os.mkfifo(environ["GATE"])
    ear = os.open(environ["TOLD"], os.O_RDWR)  # its own writer too: it never ends, and no step waits to tell
    yield Site(tmp_path, environ, ear)
    os.close(ear)


@pytest.fixture
def serve(site: Site) -> Iterator[Serve]:
    """Return a starter of servers on the site; all are gone when the test ends."""
    servers: list[Server] = []

    def start(*command: str, listens: bool = True, **environ: str) -> Server:
        server = Server(list(command), site.folder, {**site.environ, **environ})
        servers.append(server)
        if listens:
            server.listen()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no setting of whoever runs the tests reach the apps, but for the one by which the suite is run twice."""
    for name in list(os.environ):
        if name.startswith("RESONATE_") and name != "RESONATE_CACHE_SIZE":
            monkeypatch.delenv(name)
