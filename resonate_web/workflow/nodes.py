"""The tree of one run in memory: strands are running workflows, nodes their children."""

from __future__ import annotations

from typing import Any

from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.workflow.commands import Command
from resonate_web.workflow.context import Position
from resonate_web.workflow.coroutine import Coroutine


class Node:
    """A child of a strand.

    `sent` tells that its row is stored or on its way, `inflight` that bodies wait for that, `record` is the settled
    promise, `payload` the encoded arguments, of which every attempt gets its own copy.
    """

    __slots__ = (
        "command", "id", "inflight", "kind", "param", "payload", "record", "sent", "strand",
        "timeout_at", "waiters",
    )  # fmt: skip

    def __init__(self, command: Command[Any], strand: Strand, timeout_at: int) -> None:
        self.id = command.id
        self.kind = command.kind
        self.command = command
        self.strand = strand
        self.timeout_at = timeout_at
        self.param: str | None = None
        self.payload: str | None = None
        self.sent = False
        self.inflight = False
        self.record: Promise | None = None
        self.waiters: list[Strand] = []

    @property
    def settled(self) -> bool:
        """Tell whether the outcome is stored."""
        return self.record is not None


class RaceNode:
    """A race: a promise of its own whose value is the index of the winner."""

    __slots__ = ("deciding", "id", "members", "strand", "winner")

    def __init__(self, id: str, strand: Strand, members: tuple[Node, ...]) -> None:
        self.id = id
        self.strand = strand
        self.members = members
        self.winner: int | None = None
        self.deciding = False


class Wait:
    """What a strand is blocked on: `one` node, `all`, the first of a `race`, or the end of its children (`exit`)."""

    __slots__ = ("_next", "mode", "nodes", "race")

    def __init__(self, nodes: tuple[Node, ...], mode: str, race: RaceNode | None = None) -> None:
        self.nodes = nodes
        self.mode = mode
        self.race = race
        self._next = 0

    def pending(self) -> list[Node]:
        """Return the nodes to suspend on: a single pending one (joins stay linear), or all members of a race."""
        if self.race is not None:
            return [n for n in self.nodes if not n.settled]
        while self._next < len(self.nodes) and self.nodes[self._next].settled:
            self._next += 1
        return [self.nodes[self._next]] if self._next < len(self.nodes) else []

    def over(self) -> bool:
        """Tell whether what was waited for has happened."""
        if self.race is None:
            return not self.pending()
        if self.race.winner is not None:
            return self.nodes[self.race.winner].settled
        return any(n.settled for n in self.nodes)


class Strand:
    """A running workflow: the root of the run, or one run locally by it. `children` are the unsettled ones."""

    __slots__ = ("body", "children", "ended", "id", "node", "outcome", "position", "queued", "timeout_at", "wait")

    def __init__(self, id: str, body: Coroutine, position: Position, timeout_at: int, node: Node | None) -> None:
        self.id = id
        self.body = body
        self.position = position
        self.timeout_at = timeout_at
        self.node = node
        self.children: dict[str, Node] = {}
        self.wait: Wait | None = None
        self.outcome: tuple[Any, BaseException | None] = (None, None)
        self.queued = False
        self.ended = False


def is_settled(promise: Promise, now: int) -> bool:
    """Tell whether a record is final at `now` (its deadline counts even when nobody has stored it)."""
    return promise.state is not PromiseState.PENDING or promise.timeout_at <= now
