"""The requests of one attempt, in the order in which they must be applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from resonate_web.protocol import requests, tags
from resonate_web.protocol.records import EMPTY, PromiseState, Value
from resonate_web.workflow.approvals import Asking
from resonate_web.workflow.codec import to_data
from resonate_web.workflow.commands import Kind
from resonate_web.workflow.ids import attempt_id, origin
from resonate_web.workflow.nodes import Node, RaceNode, Strand
from resonate_web.workflow.recorded import ATTEMPT


@dataclass(slots=True)
class Entry:
    """One request and what its answer is for: `create`, `settle`, `race`, `listen`, `note`, `suspend` or `fulfill`."""

    request: requests.Request
    purpose: str
    node: Node | None = None
    race: RaceNode | None = None


class Outbox:
    """What waits to be sent for one task at one version, as fenced requests."""

    def __init__(self, task_id: str, version: int, address: str) -> None:
        self.task_id = task_id
        self.version = version
        self.entries: list[Entry] = []
        self._origin = origin(task_id)
        self._address = address

    def take(self) -> list[Entry]:
        """Return all entries and forget them."""
        entries, self.entries = self.entries, []
        return entries

    def create(self, node: Node) -> None:
        """Add the creation of a child, after that of its parents."""
        if node.sent:
            return
        self.parents(node.strand)
        node.sent = True
        action = requests.PromiseCreate(
            id=node.id,
            timeout_at=node.timeout_at,
            param=EMPTY if node.param is None else Value(data=to_data(node.param)),
            tags=self._tags(node),
        )
        self._fenced(action, "create", node)

    def parents(self, strand: Strand) -> None:
        """Add the creation of the local workflows around a child: no row is written before its parent's."""
        if strand.node is not None and not strand.node.sent:
            self.create(strand.node)

    def settle(self, node: Node, state: PromiseState, value: Value = EMPTY) -> None:
        """Add the settlement of a child."""
        self.create(node)
        self._fenced(requests.PromiseSettle(id=node.id, state=state, value=value), "settle", node)

    def cancel(self, ids: Iterable[str]) -> None:
        """Add the cancellation of stored children that the code has not issued again."""
        for id in ids:
            self._fenced(requests.PromiseSettle(id=id, state=PromiseState.CANCELED), "note", None)

    def note(self, node: Node, attempt: int, value: Value, timeout_at: int) -> None:
        """Add the note of a failed attempt, a born-settled promise below its step."""
        self.create(node)
        id = attempt_id(node.id, self.version, attempt)
        marks = {**self._lineage(node.id), tags.SCOPE: "local", ATTEMPT: str(attempt)}
        self._fenced(requests.PromiseCreate(id=id, timeout_at=timeout_at, tags=marks), "note", node)
        self._fenced(requests.PromiseSettle(id=id, state=PromiseState.RESOLVED, value=value), "note", node)

    def race(self, race: RaceNode, winner: int, timeout_at: int) -> None:
        """Add the record of a race's winner."""
        self.parents(race.strand)
        marks = {**self._lineage(race.strand.id), tags.SCOPE: "local"}
        param = Value(data=to_data('{"func":"race","kind":"race"}'))
        create = requests.PromiseCreate(id=race.id, timeout_at=timeout_at, param=param, tags=marks)
        self._fenced(create, "race", None, race)
        value = Value(data=to_data(str(winner)))
        self._fenced(requests.PromiseSettle(id=race.id, state=PromiseState.RESOLVED, value=value), "race", None, race)

    def listen(self, node: Node) -> None:
        """Ask to be told when somebody else settles a child while this attempt goes on."""
        request = requests.PromiseRegisterListener(awaited=node.id, address=self._address)
        self.entries.append(Entry(request, "listen", node))

    def suspend(self, awaited: list[str]) -> None:
        """Add the suspension on these children."""
        actions = tuple(requests.PromiseRegisterCallback(awaited=id, awaiter=self.task_id) for id in awaited)
        request = requests.TaskSuspend(id=self.task_id, version=self.version, actions=actions, preload="none")
        self.entries.append(Entry(request, "suspend"))

    def fulfill(self, state: PromiseState, value: Value) -> None:
        """Add the end of the run."""
        action = requests.PromiseSettle(id=self.task_id, state=state, value=value)
        self.entries.append(
            Entry(requests.TaskFulfill(id=self.task_id, version=self.version, action=action), "fulfill")
        )

    def _fenced(
        self,
        action: requests.PromiseCreate | requests.PromiseSettle,
        purpose: str,
        node: Node | None,
        race: RaceNode | None = None,
    ) -> None:
        request = requests.TaskFence(id=self.task_id, version=self.version, action=action, preload="none")
        self.entries.append(Entry(request, purpose, node, race))

    def _lineage(self, parent: str) -> dict[str, str]:
        return {tags.ORIGIN: self._origin, tags.BRANCH: self.task_id, tags.PARENT: parent}

    def _tags(self, node: Node) -> Mapping[str, str]:
        marks: dict[str, Any] = {**node.command.opts.tags, **self._lineage(node.strand.id)}
        marks[tags.SCOPE] = "local" if node.kind in (Kind.STEP, Kind.WORKFLOW) else "global"
        if node.kind is Kind.SLEEP:
            # A sleep cut by its run's deadline must end as a time-out, so it is no timer.
            marks[tags.TIMER if node.command.until is not None else tags.EXTERNAL] = "true"
        elif node.kind is Kind.PROMISE:
            marks[tags.EXTERNAL] = "true"
            if isinstance(node.command, Asking):
                marks[tags.APPROVAL] = "true"
        elif node.kind in (Kind.RPC, Kind.DETACHED):
            marks[tags.TARGET] = node.command.opts.target or ""
            marks[tags.BRANCH] = node.id
            if node.kind is Kind.DETACHED:
                marks |= {tags.DETACHED: "true", tags.PARENT: self._origin}
        return marks
