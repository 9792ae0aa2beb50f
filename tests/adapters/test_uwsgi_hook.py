"""The hook for uWSGI, with stand-ins for the modules that exist only inside of it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from resonate_web.config import Settings
from resonate_web.resonate import Resonate
from resonate_web.uwsgi import start_in_workers, threaded

Inside = Callable[..., Any]


@pytest.fixture
def core() -> Iterator[Resonate]:
    made = Resonate(Settings(store="memory://"))
    yield made
    made.close()


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Inside:
    """Return how to be inside of uWSGI: the options, the number of this worker, the master's process."""

    def enter(options: dict[str, object], worker: int, master: int) -> Any:
        module: Any = ModuleType("uwsgi")
        module.opt = options
        module.worker_id = lambda: worker
        module.masterpid = lambda: master
        decorators: Any = ModuleType("uwsgidecorators")
        decorators.postfork = lambda fn: setattr(module, "post_fork_hook", fn)
        monkeypatch.setitem(sys.modules, "uwsgi", module)
        if master:
            monkeypatch.setitem(sys.modules, "uwsgidecorators", decorators)
        return module

    return enter


def app_of(core: object) -> Any:
    return SimpleNamespace(extensions={"resonate": SimpleNamespace(core=core)})


def started(core: Resonate) -> bool:
    return core.runtime.started


def test_elsewhere_the_call_does_nothing(core: Resonate) -> None:
    """The same module can be served by gunicorn or by `flask run`."""
    start_in_workers(app_of(core))
    assert not started(core)


@pytest.mark.parametrize("master", [0, 7], ids=["without a master", "with a master"])
def test_the_engine_starts_after_the_fork(core: Resonate, inside: Inside, master: int) -> None:
    """Loading happens before the fork and starts nothing; the worker does."""
    uwsgi = inside({"enable-threads": True}, 0, master)
    start_in_workers(app_of(core))
    assert not started(core)
    uwsgi.post_fork_hook()
    assert started(core)


def test_a_lazy_worker_starts_at_once(core: Resonate, inside: Inside) -> None:
    """With lazy-apps the module is loaded in the worker itself."""
    inside({"threads": b"4", "lazy-apps": True}, 2, os.getppid())
    start_in_workers(app_of(core))
    assert started(core)


def test_without_threads_the_log_says_what_to_do(
    core: Resonate, inside: Inside, caplog: pytest.LogCaptureFixture
) -> None:
    """The default of uWSGI would start threads that never run."""
    inside({"master": True}, 2, 7)
    with caplog.at_level(logging.ERROR):
        start_in_workers(app_of(core))
    assert "--enable-threads" in caplog.text
    assert not started(core)


def test_off_means_off(inside: Inside) -> None:
    """RESONATE_AUTOSTART=off is respected."""
    core = Resonate(Settings(store="memory://", autostart="off"))
    inside({"enable-threads": True}, 2, 7)
    start_in_workers(app_of(core))
    assert not started(core)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, False),
        ({"enable-threads": True}, True),
        ({"enable-threads": b"true"}, True),
        ({"enable-threads": b"false"}, False),
        ({"threads": b"1"}, False),
        ({"threads": b"2"}, True),
    ],
)
def test_which_options_mean_threads(options: dict[str, object], expected: bool) -> None:
    """They come as uWSGI read them, as bytes or True."""
    assert threaded(options) is expected
