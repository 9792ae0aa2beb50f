"""The hooks, called as gunicorn calls them."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest

from resonate_web.config import Settings, from_mapping
from resonate_web.gunicorn import post_worker_init, worker_exit
from resonate_web.resonate import Resonate


def worker_of(core: Resonate, pid: int | None = None) -> Any:
    app = SimpleNamespace(extensions={"resonate": SimpleNamespace(core=core)})
    cfg = SimpleNamespace(threads=16)
    log = logging.getLogger("gunicorn.error")
    return SimpleNamespace(wsgi=app, pid=pid or os.getpid(), cfg=cfg, log=log, alive=True)


def test_a_worker_starts_and_stops_its_engine() -> None:
    """After the first hook the engine executes without a request; the second may come twice."""
    core = Resonate(Settings(store="memory://"))
    core.register(lambda ctx: "done", name="quick")
    worker = worker_of(core)
    post_worker_init(worker)
    assert core.run("a", "quick") == "done"
    worker_exit(None, worker)
    worker_exit(None, worker)


def test_a_store_that_is_away_does_not_stop_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that died here would be started again and again; it serves, and the log says why nothing runs."""
    core = Resonate(Settings(store="sqlite:////proc/no/such.db"))
    post_worker_init(worker_of(core))
    worker_exit(None, worker_of(core))


def test_an_application_without_us_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Forgetting the extension, or hiding it in a closure, is an error in the log."""
    post_worker_init(SimpleNamespace(wsgi=len, log=logging.getLogger("gunicorn.error")))
    assert "no Resonate was found" in caplog.text


def test_off_means_off() -> None:
    """RESONATE_AUTOSTART=off is respected: nothing is opened, not even a store that is away."""
    core = Resonate(Settings(store="sqlite:////proc/no/such.db", autostart="off"))
    post_worker_init(worker_of(core))


def test_the_master_closes_nothing() -> None:
    """Gunicorn calls worker_exit in the master for a worker that it lost; that worker's engine is not the master's."""
    core = Resonate(Settings(store="memory://"))
    core.register(lambda ctx: "done", name="quick")
    worker_exit(None, worker_of(core, pid=1))
    assert core.run("a", "quick") == "done"
    core.close()


@pytest.mark.parametrize(("config", "seats"), [({}, 4), ({"RESONATE_MAX_WAITS": 9}, 9)])
def test_a_quarter_of_the_threads_may_wait(config: dict[str, int], seats: int) -> None:
    """Long polls and streams leave three quarters of a worker's threads alone, unless a setting says otherwise."""
    core = Resonate(from_mapping({"RESONATE_STORE": "memory://", "RESONATE_AUTOSTART": "off", **config}, {}))
    post_worker_init(worker_of(core))
    assert core.on_thread.seats == seats


def test_nobody_waits_in_a_worker_that_ends() -> None:
    """A worker that was told to end is not held up by its long polls and streams."""
    core = Resonate(Settings(store="memory://", autostart="off"))
    worker = worker_of(core)
    post_worker_init(worker)
    assert core.on_thread.stopping() is False
    worker.alive = False
    assert core.on_thread.stopping() is True
