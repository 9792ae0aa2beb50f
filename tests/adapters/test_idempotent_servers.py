"""Idempotent handlers on real servers: many at once, killed in the middle, later than their lease."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import cast

import pytest

from resonate_web.testing.servers import Answer, Server, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

HANDLER = """
import os

from resonate_web.testing.servers import until


def answer(id):
    with open(os.environ["RUNS"], "a") as runs:
        runs.write(f"{id} {os.getpid()}\\n")
    if id.startswith("gated"):
        until(lambda: os.path.exists(os.environ["GATE"]), 60)
    return {"id": id, "pid": os.getpid()}
"""

FLASK = """
import os

from flask import Flask
from handler import answer
from resonate_web.flask import Resonate

app = Flask(__name__)
app.secret_key = "development"
resonate = Resonate(app)


@app.post("/pay/<id>")
@resonate.idempotent(allow_anonymous=True)
def pay(id):
    return answer(id), 201


@app.after_request
def sign(response):
    response.headers["X-Pid"] = str(os.getpid())
    return response
"""

FASTAPI = """
import os

from fastapi import FastAPI
from handler import answer
from resonate_web.starlette import Resonate

app = FastAPI()
resonate = Resonate(app, signing_keys=("development " * 4,))


@app.post("/pay/{id}", status_code=201)
@resonate.idempotent(allow_anonymous=True)
def pay(id: str):
    return answer(id)


@app.middleware("http")
async def sign(request, call_next):
    response = await call_next(request)
    response.headers["X-Pid"] = str(os.getpid())
    return response
"""

GUNICORN = "\n".join(
    [
        "from resonate_web.gunicorn import post_worker_init, worker_exit",
        "control_socket_disable = True",
        'worker_class = "gthread"',
    ]
)

SERVERS = {
    "gunicorn": ("gunicorn", "-b", "127.0.0.1:0", "-w", "2", "--threads", "25", "shop_flask:app"),
    "uvicorn": ("uvicorn", "--port", "0", "--workers", "2", "shop_fastapi:app"),
}


class Place:
    """A folder with the apps, their store, and the file in which handlers write that they run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[Server] = []
        for name, text in (("handler.py", HANDLER), ("shop_flask.py", FLASK), ("shop_fastapi.py", FASTAPI)):
            (folder / name).write_text(text)
        (folder / "gunicorn.conf.py").write_text(GUNICORN)

    def serve(self, name: str, **environ: str) -> Server:
        """Start a server with two processes."""
        given = {
            "RESONATE_STORE": f"sqlite:///{self.folder / 'resonate.db'}",
            "RUNS": str(self.folder / "runs"),
            "GATE": str(self.folder / "gate"),
        }
        server = Server(SERVERS[name], folder=self.folder, log=self.folder / "log", environ={**given, **environ})
        self.servers.append(server)
        until(lambda: _listens(server.port))  # a parent names the port before its children listen
        return server

    def runs(self, id: str) -> list[int]:
        """Return the processes in which the handler has run for an id."""
        try:
            lines = (self.folder / "runs").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [int(pid) for name, pid in map(str.split, lines) if name == id]

    def open_gate(self) -> None:
        """Let every handler that waits go on."""
        (self.folder / "gate").touch()


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return a place whose servers are gone when the test ends."""
    made = Place(tmp_path)
    yield made
    for server in made.servers:
        server.kill()


def pay(server: Server, id: str) -> Answer:
    """Pay under a key of that id."""
    return server.ask("POST", f"/pay/{id}", {"id": id}, Idempotency_Key=id)


def outcome(server: Server, id: str) -> Answer:
    """Ask until it is no longer in flight."""

    def ended() -> Answer | None:
        answer = pay(server, id)
        return answer if answer.status != 409 else None

    return cast(Answer, until(ended, what=f"the answer to {id}"))


@pytest.mark.parametrize("name", SERVERS)
def test_one_of_fifty_runs(place: Place, name: str) -> None:
    """50 equal requests at once over two processes: one handler runs, and everybody ends with its answer."""
    server = place.serve(name)
    served: Counter[str] = Counter()
    with ThreadPoolExecutor(50) as pool:
        for number in range(10):
            id = f"order-{number}"
            barrier = threading.Barrier(50)

            def one(_: int, id: str = id, barrier: threading.Barrier = barrier) -> Answer:
                barrier.wait(30)
                return pay(server, id)

            answers = list(pool.map(one, range(50)))
            served.update(answer.headers["X-Pid"] for answer in answers)
            first = [a for a in answers if a.status == 201 and a.headers["Idempotency-Replayed"] is None]
            assert len(first) == len(place.runs(id)) == 1
            assert {answer.status for answer in answers} <= {201, 409}
            assert {a.body for a in answers if a.status == 201} == {first[0].body}
            assert all(a.headers["Retry-After"] == "1" for a in answers if a.status == 409)
            assert outcome(server, id).body == first[0].body
    assert len(served) == 2, f"one process had all the work: {served}"


@pytest.mark.parametrize("name", SERVERS)
def test_a_body_in_chunks_has_a_limit(place: Place, name: str) -> None:
    """One byte over it is 413 and runs nothing; one byte less arrives."""
    server = place.serve(name)
    for id, size, status in (("over", 1_048_577, 413), ("under", 1_048_575, 201)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        pieces = (b"x" * min(65_536, size - sent) for sent in range(0, size, 65_536))
        connection.request("POST", f"/pay/{id}", pieces, {"Idempotency-Key": id}, encode_chunked=True)
        assert connection.getresponse().status == status
        connection.close()
    assert (len(place.runs("over")), len(place.runs("under"))) == (0, 1)


@pytest.mark.parametrize("lease", ["2000", "600000"])
def test_a_killed_handler_runs_again(place: Place, lease: str) -> None:
    """After `kill -9` of its worker the key is free soon, whatever the lease; the retry runs the handler."""
    server = place.serve("gunicorn", RESONATE_IDEMPOTENT_LEASE_MS=lease)
    with ThreadPoolExecutor(1) as pool:
        lost: Future[Answer] = pool.submit(pay, server, "gated")
        [pid] = until(lambda: place.runs("gated"), what="the handler")
        assert pay(server, "gated").status == 409
        os.kill(pid, signal.SIGKILL)
        with pytest.raises((OSError, HTTPException)):
            lost.result(30)
        again = pool.submit(outcome, server, "gated")
        until(lambda: len(place.runs("gated")) == 2, what="the second run")
        place.open_gate()
        answer = again.result(30)
    assert (answer.status, answer.headers["Idempotency-Replayed"]) == (201, None)
    assert answer.json["pid"] == place.runs("gated")[1] != pid
    replayed = pay(server, "gated")
    assert (replayed.body, replayed.headers["Idempotency-Replayed"]) == (answer.body, "true")


def test_a_handler_that_is_later_than_its_lease(place: Place) -> None:
    """A frozen worker's key is free after its lease. When it wakes up, its client is answered, unstored."""
    server = place.serve("gunicorn", RESONATE_IDEMPOTENT_LEASE_MS="1000")
    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(pay, server, "gated")
        [pid] = until(lambda: place.runs("gated"), what="the handler")
        os.kill(pid, signal.SIGSTOP)
        second = pool.submit(outcome, server, "gated")
        until(lambda: len(place.runs("gated")) == 2, what="the second run")
        place.open_gate()
        kept = second.result(30)
        os.kill(pid, signal.SIGCONT)
        unstored = late.result(30)
    assert (kept.status, kept.headers["Idempotency-Stored"]) == (201, None)
    assert (unstored.status, unstored.headers["Idempotency-Stored"]) == (201, "false")
    assert kept.json["pid"] != unstored.json["pid"] == pid
    assert pay(server, "gated").body == kept.body
    assert "RESONATE_IDEMPOTENT_LEASE_MS" in server.output
