"""What a run has recorded, and whether its code still says the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.workflow.codec import from_data
from resonate_web.workflow.commands import Kind

ATTEMPT = "resonate_web:attempt"
"""Tag of the note that a failed attempt leaves below its step; its value is the attempt's number."""


def parameters(promise: Promise) -> dict[str, Any]:
    """Return a promise's invocation payload, empty when it has none."""
    if not promise.param.data:
        return {}
    try:
        found = json.loads(from_data(promise.param.data))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def kind_of(promise: Promise) -> Kind:
    """Return what command made a child."""
    if tags.is_detached(promise.tags):
        return Kind.DETACHED
    if tags.is_timer(promise.tags):
        return Kind.SLEEP
    if tags.is_targeted(promise.tags):
        return Kind.RPC
    if promise.tags.get(tags.SCOPE) != "local":
        return Kind.SLEEP if parameters(promise).get("func") == "sleep" else Kind.PROMISE
    return Kind(parameters(promise).get("kind", Kind.STEP))


def name_of(promise: Promise) -> str:
    """Return the name of what a child executes or waits for."""
    name = parameters(promise).get("func")
    return name if isinstance(name, str) else promise.id.rpartition("@")[2]


def difference(recorded: Promise, kind: Kind, name: str, param: dict[str, Any], check_args: bool) -> str | None:
    """Return how a command differs from what was recorded at its place, None when it does not."""
    was = kind_of(recorded)
    named = "@" in recorded.id
    if was is not kind or (not named and kind not in (Kind.SLEEP, Kind.PROMISE) and name_of(recorded) != name):
        return f"recorded: {was} {name_of(recorded)!r}; now: {kind} {name!r}"
    if not check_args or kind in (Kind.SLEEP, Kind.PROMISE, Kind.RACE):
        return None
    before = parameters(recorded)
    for part in ("digest", "args", "kwargs"):
        if before.get(part) != param.get(part):
            return f"recorded: {was} {name!r} with other arguments than now"
    return None


def replayable(records: Iterable[Promise]) -> dict[str, Promise]:
    """Return by id the records that a replay may meet again: neither notes nor what lies below settled local workflows.

    When there is such a settled workflow, detached runs are kept but not owed (see `owed`).
    """
    kept: dict[str, Promise] = {}
    closed: set[str] = set()
    for promise in sorted(records, key=lambda p: (p.id.count("."), len(p.id))):
        if ATTEMPT in promise.tags:
            continue
        if promise.tags.get(tags.PARENT) in closed:
            closed.add(promise.id)
            continue
        if promise.state is not PromiseState.PENDING and kind_of(promise) is Kind.WORKFLOW:
            closed.add(promise.id)
        kept[promise.id] = promise
    return kept


def owed(left: dict[str, Promise]) -> Promise | None:
    """Return a recorded child that a finished replay should have met and did not.

    A detached run names its origin, not the local workflow that started it, so it is never owed.
    """
    for id in sorted(left, key=lambda id: (id.count("."), len(id), id)):
        if not tags.is_detached(left[id].tags):
            return left[id]
    return None
