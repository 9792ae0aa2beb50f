"""The project on real servers: gunicorn, uvicorn, runserver; odd ids, recovery without a request, no growing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from resonate_web.testing.servers import Server, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PROJECT = Path(__file__).parent / "project"
GUNICORN = ("gunicorn", "-c", "gunicorn.conf.py", "-b", "127.0.0.1:0", "-w", "2", "--threads", "4", "bookshop.serving")
UVICORN = ("uvicorn", "--port", "0", "bookshop.serving:asgi")
BARE = ("uvicorn", "--port", "0", "--lifespan", "off", "bookshop.serving:bare_asgi")
COMMANDS = [GUNICORN, UVICORN, BARE]
NAMES = ["gunicorn", "uvicorn", "bare"]
ODD_IDS = ["a/b/c d", "50%", "50%25", "%2e%2e/x", "ü/日本/😀", "a?b#c&d=e;f+g", "x" * 200, "ä" * 200]


@dataclass(frozen=True)
class Shop:
    """The project's folder for one test, and the pipes by which its steps talk to the test."""

    folder: Path
    environ: dict[str, str]
    servers: list[Server]
    ear: int

    def serve(self, *command: str, **environ: str) -> Server:
        """Start a server."""
        log = self.folder / f"server{len(self.servers)}.log"
        server = Server(command, folder=PROJECT, log=log, environ={**self.environ, **environ})
        self.servers.append(server)
        return server

    def runserver(self, *options: str, **environ: str) -> Server:
        """Start Django's own server on a port that is free now."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        return self.serve("django", "runserver", *options, address, **environ)

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=PROJECT,
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def told(self) -> tuple[str, int]:
        """Wait for a step to begin; return its name and its process."""
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self.ear, 1)
        name, pid = line.split()
        return name.decode(), int(pid)

    def open_gate(self) -> None:
        """Let the step behind the gate end."""
        (self.folder / "gate").write_text("open")

    def interrupt(self, *command: str) -> None:
        """Start a run, and kill all processes while its second step runs."""
        server = self.serve(*command)
        assert server.ask("POST", "/start/process", {"id": "order/1"}).status == 202
        assert [self.told()[0], self.told()[0]] == ["first", "second"]
        server.kill()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Return a project without any table: neither sessions nor users are needed by our routes."""
    environ = {
        "SHOP_FOLDER": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "bookshop.settings",
        "PYTHONPATH": str(PROJECT),
        "TOLD": str(tmp_path / "told"),
        "GATE": str(tmp_path / "gate"),
    }
    os.mkfifo(environ["TOLD"])
    os.mkfifo(environ["GATE"])
    ear = os.open(environ["TOLD"], os.O_RDWR)  # its own writer too: it never ends, and no step waits to tell
    found = Shop(tmp_path, environ, [], ear)
    yield found
    for server in found.servers:
        server.kill()
    os.close(ear)


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_odd_ids_survive_a_real_server(shop: Shop, command: tuple[str, ...]) -> None:
    """Each Location, sent as it came, leads to the status of exactly that id; a stranger's variant does not."""
    server = shop.serve(*command)
    for id in ODD_IDS:
        started = server.ask("POST", "/start/quick", {"id": id})
        assert started.status == 202, started.body
        location = started.headers["Location"]
        found = server.ask("GET", location)
        assert (found.status, found.json["id"]) == (200, id)
        assert server.ask("GET", location[:-1]).status == 404
        assert server.ask("GET", location.partition("?")[0]).status == 404


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_methods_on_a_real_server(shop: Shop, command: tuple[str, ...]) -> None:
    """HEAD has the length of GET and no body, OPTIONS none at all."""
    server = shop.serve(*command)
    location = server.ask("POST", "/astart/asking", {"id": "a"}).headers["Location"]
    head = server.ask("HEAD", location)
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    assert server.ask("OPTIONS", location).status == 204
    assert server.ask("BREW", location).headers["Content-Type"] == "application/problem+json"
    waited = server.ask("GET", location, Prefer="wait=1")
    assert (waited.status, waited.json["done"]) == (200, False)


@pytest.mark.parametrize("command", [GUNICORN, UVICORN], ids=["gunicorn", "uvicorn"])
def test_an_interrupted_run_goes_on_without_a_request(shop: Shop, command: tuple[str, ...]) -> None:
    """Gunicorn by its hook, ASGI by our lifespan."""
    shop.interrupt(*command)
    server = shop.serve(*command)
    assert shop.told()[0] == "second"
    shop.open_gate()
    again = server.ask("POST", "/start/process", {"id": "order/1"})
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("options", [("--noreload",), ()], ids=["plain", "reloader"])
def test_runserver_goes_on_eagerly_in_the_process_that_serves(shop: Shop, options: tuple[str, ...]) -> None:
    """With AUTOSTART eager no request is needed, and a reloader's parent never opens the store."""
    shop.interrupt(*GUNICORN)
    server = shop.runserver(*options, RESONATE_AUTOSTART="eager")
    name, pid = shop.told()
    assert name == "second"
    parent = server.process.pid
    assert (pid == parent) == bool(options)
    if not options:
        links = [os.readlink(link) for link in Path(f"/proc/{parent}/fd").iterdir() if link.exists()]
        assert [link for link in links if "resonate.db" in link] == []
    shop.open_gate()


def test_a_command_takes_up_nothing(shop: Shop) -> None:
    """`manage.py resonate ...` reads and settles beside an interrupted run, eager or not."""
    shop.interrupt(*GUNICORN)
    assert "order/1  pending  process" in shop.manage("resonate", "list")
    assert "first" in shop.manage("resonate", "tree", "order/1")
    assert "rejected_canceled" in shop.manage("resonate", "cancel", "order/1")
    assert "was rejected_canceled already" in shop.manage("resonate", "resolve", "order/1")


def test_a_worker_executes_until_it_is_told_to_end(shop: Shop) -> None:
    """Web processes may leave all work to it; SIGTERM gives back what it holds."""
    server = shop.serve(*UVICORN, RESONATE_WORKER="off")
    location = server.ask("POST", "/start/process", {"id": "order/1"}).headers["Location"]
    worker = shop.serve("django", "resonate", "worker", RESONATE_WORKER="off", RESONATE_GRACE_MS="200")
    assert [shop.told()[0], shop.told()] == ["first", ("second", worker.process.pid)]
    assert worker.stop() == 0
    assert "executing runs of sqlite:///" in worker.output
    shop.serve("django", "resonate", "worker")
    assert shop.told()[0] == "second"
    shop.open_gate()
    until(lambda: server.ask("GET", location).json["done"])


@pytest.mark.parametrize("command", [GUNICORN, BARE], ids=["gunicorn", "bare"])
def test_persistent_connections_do_not_grow(shop: Shop, command: tuple[str, ...]) -> None:
    """With CONN_MAX_AGE=600, a hundred runs whose steps use the ORM leave at most one connection per thread."""
    shop.manage("migrate", "--run-syncdb", "--verbosity", "0")
    server = shop.serve(*command, RESONATE_THREADS="3", SHOP_CONN_MAX_AGE="600")
    locations = [server.ask("POST", "/start/counting", {"id": f"a{n}"}).headers["Location"] for n in range(100)]
    for location in locations:
        until(lambda location=location: server.ask("GET", location).json["done"])  # type: ignore[misc]
    assert server.ask("GET", locations[0]).json["result"] == [0, 0]
    for process in _processes(server):
        links = [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir() if link.exists()]
        assert len([link for link in links if link.endswith("default.sqlite3")]) <= 3 + 4 + 2


def _processes(server: Server) -> list[int]:
    """Return the server and its children."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [server.process.pid, *map(int, children)]
