"""`flask resonate ...`."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import click
import flask
from flask.cli import with_appcontext

from resonate_web.errors import ResonateError
from resonate_web.flask import mount
from resonate_web.gateway import console, doctor
from resonate_web.resonate import Resonate
from resonate_web.resonate.working import work

group = click.Group("resonate", help="Execute durable runs, look at them, and settle promises.")


def _answered(ask: Callable[[Resonate], str]) -> None:
    """Print what a command returns; our errors become one line instead of a traceback."""
    core: Resonate = flask.current_app.extensions["resonate"].core
    try:
        click.echo(ask(core))
    except ResonateError as error:
        raise click.ClickException(str(error)) from error


@group.command("worker")
@with_appcontext
def worker_command() -> None:
    """Execute runs in this process until it is told to end."""
    work(flask.current_app.extensions["resonate"].core, click.echo)


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


@group.command("retry")
@click.argument("id")
@with_appcontext
def retry_command(id: str) -> None:
    """Start a failed run again, with the steps that succeeded, or let a blocked one go on."""
    _answered(lambda core: console.retry(core, id))


@group.command("prune")
@click.option("--older-than", required=True, metavar="AGE", help="How long ago it ended: 30d, 12h, 45m.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be deleted.")
@with_appcontext
def prune_command(older_than: str, dry_run: bool) -> None:
    """Delete runs and promises that ended long ago."""
    _answered(lambda core: console.prune(core, older_than, dry_run=dry_run))


@group.command("doctor")
@with_appcontext
def doctor_command() -> None:
    """Check the store and the settings; exit with 1 on an error."""
    app: flask.Flask = flask.current_app._get_current_object()  # type: ignore[attr-defined]
    report = doctor.report(app.extensions["resonate"].core, mount.secrets(weakref.ref(app))())
    click.echo(report.text)
    if not report.sound:
        raise click.exceptions.Exit(1)


@group.command("approvals")
@click.option("--approver", help="Only what waits for this approver.")
@click.option("--after", help="Continue after this id.")
@click.option("--limit", default=100, show_default=True, help="How many approvals at most.")
@with_appcontext
def approvals_command(approver: str | None, after: str | None, limit: int) -> None:
    """List the approvals that nobody has decided."""
    _answered(lambda core: console.approvals(core, approver=approver, after=after, limit=limit))


@group.command("revoke")
@click.argument("id")
@click.option("--by", help="Who withdraws it, for the record.")
@with_appcontext
def revoke_command(id: str, by: str | None) -> None:
    """Withdraw an approval: its links are gone and the workflow goes on."""
    _answered(lambda core: console.revoke(core, id, by))
