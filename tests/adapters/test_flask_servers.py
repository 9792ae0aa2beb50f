"""The Flask extension in real server processes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

FLASK = ("flask", "--app", "app", "run", "--port", "0")
GUNICORN = ("gunicorn", "-b", "127.0.0.1:0", "-w", "2", "--threads", "4", "app:app")
HOOKS = "from resonate_web.gunicorn import post_worker_init, worker_exit\n"

ODD_IDS = ["a/b/c d", "50%", "50%25", "%2e%2e/x", "ü/日本/😀", "a?b#c&d=e;f+g", "x" * 200, "ä" * 200]


@pytest.mark.parametrize("command", [FLASK, GUNICORN], ids=["werkzeug", "gunicorn"])
def test_odd_ids_survive_a_real_server(serve: Any, command: tuple[str, ...]) -> None:
    """Each Location, sent as it came, leads to the status of exactly that id; a stranger's variant does not."""
    server = serve(*command)
    for id in ODD_IDS:
        started = server.ask("POST", "/quick", {"id": id})
        assert started.status == 202, started.body
        location = started.headers["Location"]
        found = server.ask("GET", location)
        assert (found.status, found.json["id"]) == (200, id)
        assert found.json["links"]["self"] == location
        assert server.ask("GET", location[:-1]).status == 404
        assert server.ask("GET", location.partition("?")[0]).status == 404


@pytest.mark.parametrize("command", [FLASK, GUNICORN], ids=["werkzeug", "gunicorn"])
def test_methods_on_a_real_server(serve: Any, command: tuple[str, ...]) -> None:
    """HEAD has the length of GET and no body, OPTIONS none at all, and a revalidation costs no document."""
    server = serve(*command)
    location = server.ask("POST", "/process", {"id": "order/1"}).headers["Location"]
    got, head = server.ask("GET", location), server.ask("HEAD", location)
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    again = server.ask("GET", location, If_None_Match=got.headers["ETag"])
    assert again.status in (200, 304)  # 200 only if a step ended in between
    assert (again.body == b"") == (again.status == 304)
    options = server.ask("OPTIONS", location)
    assert (options.status, options.headers["Allow"], options.body) == (204, "GET, HEAD, OPTIONS", b"")
    assert server.ask("DELETE", location).status == 405
    assert server.ask("BREW", location).headers["Content-Type"] == "application/problem+json"


def test_identical_posts_over_two_processes_start_one_run(serve: Any, site: Any) -> None:
    """Fifty at once: 202 or 200 each, one id, one Location, and exactly one that was not replayed."""
    server = serve(*GUNICORN)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.ask("POST", "/quick", {"id": "order/42"}), range(50)))
    assert {answer.status for answer in answers} <= {200, 202}
    assert {answer.json["id"] for answer in answers} == {"order/42"}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert [answer.headers["Idempotency-Replayed"] for answer in answers].count(None) == 1
    other = server.ask("POST", "/quick", {"id": "order/42", "items": 2})
    assert (other.status, other.headers["Location"]) == (409, None)


def interrupted(serve: Any, site: Any, command: tuple[str, ...], **environ: str) -> None:
    """Start a run, and kill all processes while its second step runs."""
    server = serve(*command, **environ)
    assert server.ask("POST", "/process", {"id": "order/1"}).status == 202
    assert site.told()[0] == "first"
    assert site.told()[0] == "second"
    server.kill()


def recovers(server: Any, site: Any) -> int:
    """Wait, without any request, for the second step to begin again; return the process that runs it."""
    name, pid = site.told()
    assert name == "second"
    return int(pid)


def with_hooks(site: Any) -> tuple[str, ...]:
    with (site.folder / "gunicorn.conf.py").open("a") as conf:
        conf.write(HOOKS)
    return GUNICORN


def opened(pid: int, name: str) -> list[str]:
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists()]
    return [link for link in links if name in link]


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["plain", "preload"])
def test_gunicorn_recovers_without_a_request(serve: Any, site: Any, preload: tuple[str, ...]) -> None:
    """With the hook a worker takes up what was interrupted; the master has neither a thread nor the store."""
    command = (*with_hooks(site), *preload)
    interrupted(serve, site, command)
    server = serve(*command)
    pid = recovers(server, site)
    master = server.process.pid
    assert pid != master
    assert len(os.listdir(f"/proc/{master}/task")) == 1
    assert opened(master, "resonate.db") == []
    site.open_gate()
    assert server.ask("POST", "/process", {"id": "order/1"}).headers["Idempotency-Replayed"] == "true"


def test_a_worker_that_is_told_to_end_gives_its_runs_back(serve: Any, site: Any) -> None:
    """SIGTERM ends gunicorn in its grace time, with the hook's close; what was running goes on after a restart."""
    command = with_hooks(site)
    server = serve(*command, RESONATE_GRACE_MS="200")
    server.ask("POST", "/process", {"id": "order/1"})
    assert [site.told()[0], site.told()[0]] == ["first", "second"]
    output = server.stop()
    assert server.process.returncode == 0
    assert "Exception" not in output
    recovers(serve(*command), site)
    site.open_gate()


@pytest.mark.parametrize("arguments", [(), ("--debug",)], ids=["plain", "reloader"])
def test_flask_run_recovers_eagerly_in_the_process_that_serves(
    serve: Any, site: Any, arguments: tuple[str, ...]
) -> None:
    """With RESONATE_AUTOSTART=eager no request is needed, and a reloader's parent never opens the store."""
    command = ("flask", "--app", "app", *arguments, "run", "--port", "0")
    interrupted(serve, site, FLASK)
    server = serve(*command, RESONATE_AUTOSTART="eager")
    pid = recovers(server, site)
    parent = server.process.pid
    assert (pid == parent) == (not arguments)
    if arguments:
        assert opened(parent, "resonate.db") == []
    assert server.ask("GET", "/pid").json == pid
    site.open_gate()


def test_a_command_takes_up_nothing(serve: Any, site: Any) -> None:
    """`flask resonate ...` reads and settles beside an interrupted run, eager or not, and runs none of its steps."""
    interrupted(serve, site, FLASK)
    environ = {**os.environ, **site.environ, "RESONATE_AUTOSTART": "eager"}
    for arguments, expected in [
        ("list", "order/1"),
        ("tree order/1", "first"),
        ("cancel order/1", "rejected_canceled"),
    ]:
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "app", "resonate", *arguments.split()],
            cwd=site.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    assert site.silent()


def test_a_worker_executes_what_the_web_processes_leave_to_it(serve: Any, site: Any) -> None:
    """`flask resonate worker` works whatever RESONATE_WORKER says to the others; SIGTERM gives back what it holds."""
    web = serve(*FLASK, RESONATE_WORKER="off")
    command = ("flask", "--app", "app", "resonate", "worker")
    assert web.ask("POST", "/process", {"id": "order/1"}).status == 202
    worker = serve(*command, listens=False, RESONATE_WORKER="off", RESONATE_GRACE_MS="200")
    assert [site.told()[0], site.told()] == ["first", ("second", worker.process.pid)]
    output = worker.stop()
    assert worker.process.returncode == 0
    assert "executing runs of sqlite:///" in output
    serve(*command, listens=False)
    assert site.told()[0] == "second"
    site.open_gate()
