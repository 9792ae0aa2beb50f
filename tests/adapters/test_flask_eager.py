"""Which process an eager engine arms in: the one that serves, told by the command that runs."""

from __future__ import annotations

import threading
from typing import Any

import click
import pytest
from flask import Flask
from flask.cli import ScriptInfo, routes_command, run_command, shell_command

from resonate_web.flask.cli import group
from resonate_web.flask.eager import arm, serving

RUN_MAIN = "WERKZEUG_RUN_MAIN"


def context(command: click.Command, **params: Any) -> click.Context:
    info = ScriptInfo(create_app=lambda: Flask("site"))
    made = click.Context(command, info_name=command.name, obj=info)
    made.params = {"reload": None, **params}
    return made


@pytest.mark.parametrize("command", [routes_command, shell_command, group, group.commands["list"]])
def test_a_command_is_no_server(command: click.Command) -> None:
    """Neither are programs that are no command at all."""
    assert serving(context(command)) is None
    assert serving(None) is None


@pytest.mark.parametrize(
    ("reload", "debug", "child", "serves"),
    [
        (None, "0", None, True),
        (None, "1", None, False),
        (None, "1", "true", True),
        (True, "0", None, False),
        (True, "0", "true", True),
        (False, "1", None, True),
        (False, "0", None, True),
    ],
)
def test_a_reloaders_parent_is_no_server(
    monkeypatch: pytest.MonkeyPatch, reload: bool | None, debug: str, child: str | None, serves: bool
) -> None:
    """With a reloader only the child serves; FLASK_DEBUG alone decides nothing when the reloader is off."""
    monkeypatch.setenv("FLASK_DEBUG", debug)
    monkeypatch.delenv(RUN_MAIN, raising=False)
    if child:
        monkeypatch.setenv(RUN_MAIN, child)
    assert (serving(context(run_command, reload=reload)) is not None) == serves


def test_a_gunicorn_in_debug_mode_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of the flask command the variables of a development server mean nothing."""
    monkeypatch.setenv("FLASK_DEBUG", "1")
    monkeypatch.setenv(RUN_MAIN, "true")
    assert serving(None) is None


def test_the_engine_waits_for_the_whole_application() -> None:
    """Armed while the app is being loaded, it starts when loading is over: all workflows are registered by then."""
    seen: list[bool] = []
    started = threading.Event()
    complete = False

    def start() -> None:
        seen.append(complete)
        started.set()

    def create_app() -> Flask:
        nonlocal complete
        app = Flask("site")
        arm(app, start)
        assert not started.wait(0.1)
        complete = True
        return app

    info = ScriptInfo(create_app=create_app)
    made = click.Context(run_command, info_name="run", obj=info)
    made.params = {"reload": False}
    with made:
        app = info.load_app()
    assert started.wait(10)
    assert seen == [True]
    assert app.name == "site"


def test_an_app_that_is_never_served_lets_go() -> None:
    """When loading fails the waiting thread ends with the app."""
    made = context(run_command, reload=False)
    with made:
        app = Flask("site")
        arm(app, lambda: pytest.fail("started"))
    [waiter] = [t for t in threading.enumerate() if t.name == "resonate-eager"]
    del app
    waiter.join(10)
    assert not waiter.is_alive()
