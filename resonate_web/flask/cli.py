"""`flask resonate ...`, and what the `flask` command says about the process it runs in."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

import click
import flask
from flask.cli import ScriptInfo, run_command, with_appcontext
from flask.helpers import get_debug_flag

from resonate_web.errors import ResonateError
from resonate_web.gateway import console
from resonate_web.resonate import Resonate

LOADING_S = 0.02
"""How often an eager process looks whether its application is complete."""

group = click.Group("resonate", help="Look at durable runs and settle promises.")


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


def _answered(ask: Callable[[Resonate], str]) -> None:
    """Print what a command returns; our errors become one line instead of a traceback."""
    core: Resonate = flask.current_app.extensions["resonate"].core
    try:
        click.echo(ask(core))
    except ResonateError as error:
        raise click.ClickException(str(error)) from error


@group.command("list")
@click.option("--after", help="Continue after this id.")
@click.option("--limit", default=100, show_default=True, help="How many runs at most.")
@with_appcontext
def list_command(after: str | None, limit: int) -> None:
    """List the runs."""
    _answered(lambda core: console.list_runs(core, after=after, limit=limit))


@group.command("tree")
@click.argument("id")
@with_appcontext
def tree_command(id: str) -> None:
    """Show a run with everything below it."""
    _answered(lambda core: console.tree(core, id))


@group.command("get")
@click.argument("id")
@with_appcontext
def get_command(id: str) -> None:
    """Show one promise in full."""
    _answered(lambda core: console.show(core, id))


@group.command("resolve")
@click.argument("id")
@click.option("--value", help="The value, as JSON.")
@with_appcontext
def resolve_command(id: str, value: str | None) -> None:
    """Resolve a promise."""
    _answered(lambda core: console.resolve(core, id, value))


@group.command("reject")
@click.argument("id")
@click.option("--error", default="rejected from the command line", show_default=True, help="The error's message.")
@with_appcontext
def reject_command(id: str, error: str) -> None:
    """Reject a promise."""
    _answered(lambda core: console.reject(core, id, error))


@group.command("cancel")
@click.argument("id")
@with_appcontext
def cancel_command(id: str) -> None:
    """Cancel a promise or a run."""
    _answered(lambda core: console.cancel(core, id))
