"""What an operator asks first: whether everything is in place here, and what is to be done if not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resonate_web.config import PREFIX, Settings
from resonate_web.engine import owners
from resonate_web.resonate import Resonate
from resonate_web.resonate.runtime import run_dir
from resonate_web.store.base import Finding
from resonate_web.workflow.registry import is_workflow

NAMED = 5
"""How many blocked runs are named."""


@dataclass(frozen=True, slots=True)
class Report:
    """The findings as text, and whether none of them is an error."""

    text: str
    sound: bool


def report(resonate: Resonate, secrets: Iterable[str | bytes]) -> Report:
    """Examine a client, its store and its settings; `secrets` are the framework's. No engine is started."""
    found = list(_findings(resonate, secrets))
    lines = [f"{finding.level:<8} {finding.subject}: {finding.text}" for finding in found]
    return Report("\n".join(lines), all(finding.level != "error" for finding in found))


def _findings(resonate: Resonate, secrets: Iterable[str | bytes]) -> Iterator[Finding]:
    settings = resonate.settings
    of_store = list(resonate.runtime.store.examine())
    yield from of_store
    folder = run_dir(settings)
    if folder is not None:
        yield owners.examine(folder)
    yield _signing(settings, any(secrets))
    yield _base_url(settings)
    yield from _hidden(settings)
    yield _workflows(resonate)
    if all(finding.level != "error" for finding in of_store):
        yield _blocked(resonate)


def _signing(settings: Settings, secret: bool) -> Finding:
    if settings.signing_keys:
        count = len(settings.signing_keys)
        return Finding("ok", "signing key", f"RESONATE_SIGNING_KEYS ({count}, the last one signs)")
    if secret:
        return Finding("ok", "signing key", "derived from the framework's secret key")
    advice = "set the framework's secret key, or RESONATE_SIGNING_KEYS"
    return Finding("warning", "signing key", f"kept in the store, where whoever reads it can forge links: {advice}")


def _base_url(settings: Settings) -> Finding:
    if settings.base_url:
        return Finding("ok", "links", f"absolute ones begin with {settings.base_url}")
    return Finding("warning", "links", "RESONATE_BASE_URL is not set: no absolute link, as mails need it, can be made")


def _hidden(settings: Settings) -> Iterator[Finding]:
    for name, source in sorted(settings.sources.items()):
        if source == "config and env":
            key = f"{PREFIX}{name.upper()}"
            yield Finding(
                "warning", "settings", f"{key} is set in the configuration, which wins, and in the environment"
            )


def _workflows(resonate: Resonate) -> Finding:
    registry = resonate.registry
    names = [f"{e.name}@{e.version}" for e in registry.entries() if is_workflow(e.fn, registry)]
    if names:
        return Finding("ok", "workflows", ", ".join(names))
    return Finding("warning", "workflows", "none is registered: import their modules where the application is made")


def _blocked(resonate: Resonate) -> Finding:
    tasks = resonate.runtime.server.halted()
    if not tasks:
        return Finding("ok", "blocked runs", "none")
    named = "; ".join(f"{task.id} ({task.refusals[-1].reason})" for task in tasks[:NAMED])
    more = f"; and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    return Finding("warning", "blocked runs", f"{len(tasks)}: {named}{more}. Deploy corrected code, or cancel them")
