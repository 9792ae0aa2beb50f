"""Eager start under `flask run`: what the `flask` command says about the process it runs in."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

import click
import flask
from flask.cli import ScriptInfo, run_command
from flask.helpers import get_debug_flag

LOADING_S = 0.02
"""How often an eager process looks whether its application is complete."""


def serving(context: click.Context | None) -> ScriptInfo | None:
    """Return the `flask run` that will serve from this very process, None in every other process.

    The reloader's parent loads the application too but serves nothing; its child is known by WERKZEUG_RUN_MAIN.
    The debug flag decides nothing but what it decides for `flask run`: whether there is a reloader.
    """
    if context is None or context.command is not run_command:
        return None
    reloads = context.params.get("reload")
    if reloads is None:
        reloads = get_debug_flag()
    if reloads and os.environ.get("WERKZEUG_RUN_MAIN") != "true":
        return None
    return context.find_object(ScriptInfo)


def arm(app: flask.Flask, start: Callable[[], None]) -> None:
    """Start the engine without a request, once the application is complete, if this process is to serve it.

    Nothing tells an extension that `flask run` is ready, and starting inside `init_app` would take up runs whose
    workflows are not registered yet; so a thread of the serving process waits for the end of loading.
    """
    info = serving(click.get_current_context(silent=True))
    if info is not None:
        waiter = threading.Thread(target=_start_when_loaded, args=(info, weakref.ref(app), start), daemon=True)
        waiter.name = "resonate-eager"
        waiter.start()


def _start_when_loaded(info: ScriptInfo, app: weakref.ref[flask.Flask], start: Callable[[], None]) -> None:
    pause = threading.Event()
    while app() is not None:
        if getattr(info, "_loaded_app", None) is not None:  # no public way to ask without loading it again
            return start()
        pause.wait(LOADING_S)
