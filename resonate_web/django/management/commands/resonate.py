"""`manage.py resonate ...`: execute runs, look at them, settle what they wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import get_resolver

from resonate_web.django.site import secrets, site
from resonate_web.errors import ResonateError
from resonate_web.gateway import console, doctor
from resonate_web.resonate import Resonate
from resonate_web.resonate.working import work

READING = {"autostart": "off"}
"""A command that looks or settles takes up no interrupted runs: the serving processes do the rest."""
WORKING = {"autostart": "lazy", "worker": True}


class Command(BaseCommand):
    """Each subcommand is one function of `COMMANDS`."""

    help = "Execute durable runs, look at them, and settle what they wait for."
    requires_system_checks: list[str] = []  # noqa: RUF012  (looking must work where something is wrong)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands."""
        commands = parser.add_subparsers(dest="command", required=True, metavar="command")
        commands.add_parser("worker", help="Execute runs in this process until it is told to end.")
        for name, command in COMMANDS.items():
            one = commands.add_parser(name, help=command.help)
            for words, given in command.arguments:
                one.add_argument(*words, **given)

    def handle(self, *args: Any, command: str, **options: Any) -> None:
        """Carry out one subcommand; our errors become one line instead of a traceback."""
        site.forget()
        site.changes = WORKING if command == "worker" else READING
        try:
            self.stdout.write(self._work() if command == "worker" else COMMANDS[command].run(site.core, options))
        except ResonateError as error:
            raise CommandError(str(error)) from error
        finally:
            site.forget()
            site.changes = {}

    def _work(self) -> str:
        get_resolver().url_patterns  # noqa: B018  (what views register when they are imported is known here too)
        work(site.core, self.stdout.write)
        return "ending"


Argument: TypeAlias = tuple[tuple[str, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One of the subcommands: its help, what it takes, and what returns its text."""

    help: str
    run: Callable[[Resonate, dict[str, Any]], str]
    arguments: tuple[Argument, ...] = ()


def _examined(resonate: Resonate) -> str:
    report = doctor.report(resonate, secrets())
    if not report.sound:
        raise CommandError(report.text)
    return report.text


ID: Argument = (("id",), {})
AFTER: Argument = (("--after",), {"help": "Continue after this id."})
LIMIT: Argument = (("--limit",), {"type": int, "default": 100, "help": "How many at most (100)."})

COMMANDS = {
    "list": Subcommand(
        "List the runs.",
        lambda core, given: console.list_runs(core, after=given["after"], limit=given["limit"]),
        (AFTER, LIMIT),
    ),
    "tree": Subcommand(
        "Show a run with everything below it.", lambda core, given: console.tree(core, given["id"]), (ID,)
    ),
    "get": Subcommand("Show one promise in full.", lambda core, given: console.show(core, given["id"]), (ID,)),
    "resolve": Subcommand(
        "Resolve a promise.",
        lambda core, given: console.resolve(core, given["id"], given["value"]),
        (ID, (("--value",), {"help": "The value, as JSON."})),
    ),
    "reject": Subcommand(
        "Reject a promise.",
        lambda core, given: console.reject(core, given["id"], given["error"]),
        (ID, (("--error",), {"default": "rejected from the command line", "help": "The error's message."})),
    ),
    "cancel": Subcommand("Cancel a promise or a run.", lambda core, given: console.cancel(core, given["id"]), (ID,)),
    "retry": Subcommand(
        "Start a failed run again, continue a blocked one, or let failed steps be tried now.",
        lambda core, given: console.retry(core, given["id"]),
        (ID,),
    ),
    "prune": Subcommand(
        "Delete runs and promises that ended long ago.",
        lambda core, given: console.prune(core, given["older_than"], dry_run=given["dry_run"]),
        (
            (("--older-than",), {"required": True, "metavar": "AGE", "help": "How long ago it ended: 30d, 12h, 45m."}),
            (("--dry-run",), {"action": "store_true", "help": "Only tell what would be deleted."}),
        ),
    ),
    "doctor": Subcommand("Check the store and the settings.", lambda core, given: _examined(core)),
    "approvals": Subcommand(
        "List the approvals that nobody has decided.",
        lambda core, given: console.approvals(
            core, approver=given["approver"], after=given["after"], limit=given["limit"]
        ),
        ((("--approver",), {"help": "Only what waits for this approver."}), AFTER, LIMIT),
    ),
    "revoke": Subcommand(
        "Withdraw an approval.",
        lambda core, given: console.revoke(core, given["id"], given["by"]),
        (ID, (("--by",), {"help": "Who withdraws it, for the record."})),
    ),
}
