"""The state of one run in memory: what `execution`, `issuing` and `ending` work on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from resonate_web.protocol.records import Promise
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.context import Context, Info
from resonate_web.workflow.coroutine import Coroutine
from resonate_web.workflow.links import Links, no_links
from resonate_web.workflow.nodes import Node, Strand
from resonate_web.workflow.outbox import Outbox
from resonate_web.workflow.recorded import Records, parameters
from resonate_web.workflow.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a run may use: the app's functions and objects, the clock (ms), and the addresses of its group."""

    registry: Registry
    codec: Codec
    dependencies: Mapping[str, object]
    now: Callable[[], int]
    target: str
    """Where runs are sent that name no other target."""
    address: str
    """Where this process is told of promises settled by others."""
    links: Links = no_links
    """Makes the addresses of approval pages."""


@dataclass(slots=True)
class Tree:
    """One run: its strands, what is recorded, what waits to be sent or started.

    `bodies` are steps that run, wait for a retry or are about to start; `remote` are stored children that somebody
    else settles; `records` are recorded children that the code has not issued again yet.
    """

    promise: Promise
    version: int
    world: World
    outbox: Outbox
    records: Records
    strands: dict[str, Strand] = field(default_factory=dict)
    ready: deque[Strand] = field(default_factory=deque)
    startable: list[Node] = field(default_factory=list)
    bodies: dict[str, Node] = field(default_factory=dict)
    remote: dict[str, Node] = field(default_factory=dict)
    deadlines: list[Node] = field(default_factory=list)
    abandoned: list[Node] = field(default_factory=list)
    unconfirmed: int = 0
    refusal: str | None = None

    def refuse(self, reason: str) -> None:
        """Have the run given back; the first reason stands."""
        if self.refusal is None:
            self.refusal = reason

    def push(self, strand: Strand) -> None:
        """Queue a strand to be advanced."""
        if not strand.queued and not strand.ended:
            strand.queued = True
            self.ready.append(strand)

    def start(self, id: str, workflow: Callable[[Context], Any], timeout_at: int, node: Node | None) -> Strand:
        """Add a strand that begins with `workflow(ctx)`."""
        world = self.world
        version = parameters(self.promise).get("version")
        info = Info(
            id=id,
            attempt=1,
            version=version if isinstance(version, int) else 1,
            timeout_at=timeout_at,
            tags=self.promise.tags,
        )
        context = Context(id=id, info=info, registry=world.registry, dependencies=world.dependencies, now=world.now)
        strand = Strand(id, Coroutine(lambda: workflow(context)), context.position, timeout_at, node)
        self.strands[id] = strand
        self.push(strand)
        return strand

    def abandon(self, node: Node) -> None:
        """Let go of a body whose result is no longer wanted."""
        if self.bodies.pop(node.id, None) is not None:
            self.abandoned.append(node)
            if node in self.startable:
                self.startable.remove(node)
