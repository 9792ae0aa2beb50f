"""What a run has recorded, and whether its code still says the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from resonate_web.errors import Unserializable
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState, Value
from resonate_web.workflow.codec import from_data
from resonate_web.workflow.commands import Kind
from resonate_web.workflow.ids import first_try, origin
from resonate_web.workflow.links import steady

ATTEMPT = "resonate_web:attempt"
"""Tag of the note that a failed attempt leaves below its step; its value is the attempt's number."""


def parameters(promise: Promise) -> dict[str, Any]:
    """Return a promise's invocation payload, empty when it has none."""
    return payload(promise.param)


def payload(value: Value) -> dict[str, Any]:
    """Return a stored JSON object, empty when it is none; not to be changed: a small one is remembered."""
    data = value.data or ""
    return _remembered(data) if len(data) <= SMALL else _object(data)


SMALL = 512
"""Length up to which a payload is remembered: that of a step, which every look at its run reads again."""


def _object(data: str) -> dict[str, Any]:
    if not data:
        return {}
    try:
        found = json.loads(from_data(data))
    except (Unserializable, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


_remembered = lru_cache(maxsize=4096)(_object)


def kind_of(promise: Promise, called: Mapping[str, Any] | None = None) -> Kind:
    """Return what command made a child; `called` is its payload where that has been decoded already."""
    if tags.is_detached(promise.tags):
        return Kind.DETACHED
    if tags.is_timer(promise.tags):
        return Kind.SLEEP
    if tags.is_targeted(promise.tags):
        return Kind.RPC
    if promise.tags.get(tags.SCOPE) != "local":
        return Kind.SLEEP if _called(promise, called).get("func") == "sleep" else Kind.PROMISE
    kind = _called(promise, called).get("kind")
    return Kind(kind) if kind in (Kind.WORKFLOW, Kind.RACE) else Kind.STEP


def name_of(promise: Promise, called: Mapping[str, Any] | None = None) -> str:
    """Return the name of what a child executes or waits for."""
    name = None if tags.is_approval(promise.tags) else _called(promise, called).get("func")
    return name if isinstance(name, str) else promise.id.rpartition("@")[2]


def _called(promise: Promise, called: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return parameters(promise) if called is None else called


def difference(recorded: Promise, kind: Kind, name: str, param: dict[str, Any], check_args: bool) -> str | None:
    """Return how a command differs from what was recorded at its place, None when it does not."""
    was = kind_of(recorded)
    named = "@" in recorded.id.partition(":")[2]  # a run's own id may well be a mail address
    if was is not kind or (not named and kind not in (Kind.SLEEP, Kind.PROMISE) and name_of(recorded) != name):
        return f"recorded: {was} {name_of(recorded)!r}; now: {kind} {name!r}"
    if kind is Kind.PROMISE:
        return _other_question(recorded, name, param, check_args)
    if not check_args or kind in (Kind.SLEEP, Kind.RACE):
        return None
    before = parameters(recorded)
    for part in ("digest", "args", "kwargs"):
        if not _same(before.get(part), param.get(part), recorded.id):
            return f"recorded: {was} {name!r} with other arguments than now"
    return None


def _other_question(recorded: Promise, name: str, rules: dict[str, Any], check_args: bool) -> str | None:
    """Compare promises and approvals: what is asked may be worded anew, who may answer may not."""
    kinds = ("promise", "approval")
    was, now = tags.is_approval(recorded.tags), bool(rules)
    if was is not now:
        return f"recorded: {kinds[was]} {name_of(recorded)!r}; now: {kinds[now]} {name!r}"
    before = parameters(recorded)
    changed = [part for part, rule in rules.items() if before.get(part) != rule]
    if not (check_args and changed):
        return None
    return f"recorded: approval {name!r} with other rules than now: {', '.join(changed)}"


def _same(before: Any, now: Any, id: str) -> bool:
    if before == now:
        return True
    texts = [json.dumps(found, sort_keys=True, ensure_ascii=False) for found in (before, now)]
    return comparable(texts[0], id) == comparable(texts[1], id)


def comparable(arguments: str, id: str) -> str:
    """Return encoded arguments of a child without what may differ between two replays that are the same.

    A link to an approval has another text under other keys. The next try of a run keeps the records of the try
    before, whose ids the arguments may hold.
    """
    arguments = steady(arguments)
    mine = origin(id)
    first = first_try(mine)
    if first == mine:
        return arguments
    written, wanted = (json.dumps(found, ensure_ascii=False)[1:-1] for found in (mine, first))
    return re.sub(rf"{re.escape(written)}(?![0-9])", lambda _: wanted, arguments)


class Records:
    """What a replay may meet again, by id: neither notes nor what lies below settled local workflows.

    `orphans` are ids of children that were left pending below a local workflow which others have settled.
    """

    def __init__(self, promises: Iterable[Promise]) -> None:
        self._left, self.orphans = _sorted_out(promises)
        self._by_parent: dict[str, dict[str, None]] = {}
        for id, promise in self._left.items():
            if not tags.is_detached(promise.tags):
                # A detached run names its origin, not the workflow that started it: nobody can be asked for it.
                self._by_parent.setdefault(promise.tags.get(tags.PARENT, ""), {})[id] = None

    def take(self, id: str) -> Promise | None:
        """Return the record of a child that the code issues now; it is met only once."""
        promise = self._left.pop(id, None)
        if promise is not None:
            self._forget(promise)
        return promise

    def drop_below(self, parent: str) -> list[str]:
        """Forget what lies below a local workflow that is not continued; return the ids of what is pending there."""
        pending: list[str] = []
        for id in list(self._by_parent.get(parent, ())):
            promise = self._left.pop(id)
            self._forget(promise)
            if promise.state is PromiseState.PENDING:
                pending.append(id)
            pending += self.drop_below(id)
        return pending

    def owed_by(self, parent: str) -> Promise | None:
        """Return a recorded child that its workflow has not issued, None when it has issued all."""
        mine = self._by_parent.get(parent)
        return self._left[next(iter(mine))] if mine else None

    def owed(self) -> Promise | None:
        """Return a recorded child that no workflow has issued."""
        parent = next(iter(self._by_parent), None)
        return None if parent is None else self.owed_by(parent)

    def _forget(self, promise: Promise) -> None:
        parent = promise.tags.get(tags.PARENT, "")
        mine = self._by_parent.get(parent)
        if mine is not None and promise.id in mine:
            del mine[promise.id]
            if not mine:
                del self._by_parent[parent]


def _sorted_out(records: Iterable[Promise]) -> tuple[dict[str, Promise], list[str]]:
    """Return by id what a replay may meet again, parents and lower numbers first, and the ids of orphans."""
    kept: dict[str, Promise] = {}
    orphans: list[str] = []
    closed: set[str] = set()
    for promise in sorted(records, key=lambda p: (p.id.count("."), len(p.id), p.id)):
        if ATTEMPT in promise.tags:
            continue
        if promise.tags.get(tags.PARENT) in closed:
            closed.add(promise.id)
            if promise.state is PromiseState.PENDING:
                orphans.append(promise.id)
            continue
        if promise.state is not PromiseState.PENDING and kind_of(promise) is Kind.WORKFLOW:
            closed.add(promise.id)
        kept[promise.id] = promise
    return kept, orphans
