"""One run in memory: what happened comes in, what is to be done comes out.

Theory of operation. A run is a tree of strands (running workflows); each strand is advanced until it waits.
What it asked for becomes entries of the outbox and bodies to start. The shell (`engine.attempt`) takes these
with `collect`, carries them out, and reports back with one of the methods above it; every method is called by
one thread at a time. Two rules keep it right:

1. A value enters a generator only from a stored record, never from memory: live equals replayed.
2. No body starts while an earlier remote create is unconfirmed: nothing overtakes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resonate_web.errors import PlatformError, Unserializable
from resonate_web.protocol import requests
from resonate_web.protocol.records import Promise, PromiseState, Value
from resonate_web.workflow import ending, issuing, recorded
from resonate_web.workflow.approvals import Asking, decided
from resonate_web.workflow.commands import REMOTE, All, Command, Future, Kind, Race, Winner
from resonate_web.workflow.context import Context
from resonate_web.workflow.coroutine import Raised, Returned
from resonate_web.workflow.nodes import Node, RaceNode, Strand, Wait, is_settled
from resonate_web.workflow.outbox import Entry, Outbox
from resonate_web.workflow.tree import Tree, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What the shell must do now, in this order: send one atomic group, start bodies, let go of others.

    `deadlines` are local children to be reported `expired` at their `timeout_at`.
    """

    send: list[Entry]
    start: list[Node]
    abandoned: list[Node]
    deadlines: list[Node]
    refusal: str | None = None


class Lost(PlatformError):
    """The task is no longer this process's: nothing of the attempt may be written any more."""


class Execution:
    """The run of one task at one version; it outlives a suspension and is `resumed` at the next version."""

    __slots__ = ("_dead", "_inflight", "_listening", "_tree", "finished", "suspended")

    def __init__(
        self,
        *,
        promise: Promise,
        version: int,
        workflow: Callable[[Context], Any],
        records: Iterable[Promise],
        world: World,
    ) -> None:
        outbox = Outbox(promise.id, version, world.address)
        self._tree = Tree(promise, version, world, outbox, recorded.Records(records))
        self._tree.start(promise.id, workflow, promise.timeout_at, None)
        outbox.cancel(self._tree.records.orphans)
        self._listening: set[str] | None = None
        self._inflight = 0
        self._dead = False
        self.suspended = False
        self.finished = False

    @property
    def version(self) -> int:
        """Return the task version at which the run proceeds, or was suspended."""
        return self._tree.version

    @property
    def bodies(self) -> dict[str, Node]:
        """Return the steps that run, wait for a retry or are about to start, by id."""
        return self._tree.bodies

    # What the shell reports.

    def begin(self) -> None:
        """Start the root workflow."""
        self._run()

    def resumed(self, version: int, records: Sequence[Promise]) -> None:
        """Go on after a suspension, at a newer version, with what was awaited."""
        tree = self._tree
        tree.version = tree.outbox.version = version
        self.suspended = False
        for node in [s.node for s in tree.strands.values() if s.node is not None]:
            if node.timeout_at <= tree.world.now():
                self.expired(node)
        self.settled(records)

    def settled(self, records: Sequence[Promise]) -> None:
        """Take in remote children that somebody settled; a suspended run learns of them when it is resumed."""
        if self.suspended:
            return
        now = self._tree.world.now()
        for record in records:
            node = self._tree.remote.get(record.id)
            if node is not None and is_settled(record, now):
                self._settle(node, record)
        self._run()

    def applied(self, entries: Sequence[Entry], answers: Sequence[requests.Response]) -> tuple[str, ...]:
        """Take in the answers to a group; return ids whose records must be fetched (a suspend answered 300).

        Raises: Lost when the task is no longer ours, PlatformError when an answer makes no sense.
        """
        self._inflight -= 1
        fetch: tuple[str, ...] = ()
        for entry, answer in zip(entries, answers, strict=True):
            self._check(entry, answer)
            if isinstance(entry.request, requests.TaskSuspend):
                if entry.request.version == self._tree.version:  # else it was resumed before it heard of this
                    self.suspended = answer.status == 200
                    fetch = () if self.suspended else self.awaited()
            elif entry.purpose == "fulfill":
                self.finished = True
            else:
                self._answered(entry, answer)
        if not (self.suspended or self.finished or fetch):
            self._run()
        return fetch

    def body_ended(self, node: Node, state: PromiseState, value: Value) -> None:
        """Take in the result of a step's body, to be stored before the workflow sees it."""
        if self._tree.bodies.pop(node.id, None) is not None:
            self._tree.outbox.settle(node, state, value)

    def attempt_failed(self, node: Node, attempt: int, note: Value) -> None:
        """Record an attempt that will be retried."""
        if node.id in self._tree.bodies:
            self._tree.outbox.note(node, attempt, note, node.timeout_at)

    def announce(self, node: Node) -> None:
        """Store the pending row of a step that runs long, so that a person can see it."""
        if node.id in self._tree.bodies:
            self._tree.outbox.create(node)

    def expired(self, node: Node) -> None:
        """End a local child whose deadline has passed: the store answers its settlement with the time-out."""
        if not (node.settled or self._dead or self.suspended) and node.id in node.strand.children:
            self._tree.outbox.settle(node, PromiseState.REJECTED)

    def refuse(self, reason: str) -> None:
        """Have the next `collect` give the run back, with this reason."""
        self._tree.refuse(reason)

    def kill(self) -> list[Node]:
        """Close every body without ending the run (lost lease, eviction, shutdown); return the steps in flight."""
        self._dead = True
        self._tree.ready.clear()
        self._tree.outbox.take()
        for strand in reversed(list(self._tree.strands.values())):
            strand.position.replaying = True  # what it logs while it unwinds concerns nobody
            strand.body.close()
        self._tree.strands.clear()
        abandoned = list(self._tree.bodies.values())
        self._tree.bodies.clear()
        return abandoned

    # What the shell must do.

    def collect(self) -> Actions:
        """Return what is to be done now. A run that can do nothing more by itself suspends."""
        tree = self._tree
        start: list[Node] = []
        if not self._dead and tree.refusal is None:
            if tree.unconfirmed == 0 and tree.startable:
                start, tree.startable = tree.startable, []
            self._rest()
        # One group at a time: one that must be sent again is never overtaken by what rests on it.
        send = [] if tree.refusal is not None or self._inflight else tree.outbox.take()
        if send:
            self._inflight += 1
        abandoned, tree.abandoned = tree.abandoned, []
        deadlines, tree.deadlines = tree.deadlines, []
        return Actions(send=send, start=start, abandoned=abandoned, deadlines=deadlines, refusal=tree.refusal)

    def waits_for(self, id: str) -> bool:
        """Tell whether a remote child of this id is not settled yet; may be asked by any thread."""
        return id in self._tree.remote

    def awaited(self) -> tuple[str, ...]:
        """Return the ids of the remote children that the run waits for."""
        return tuple(self._blocked())

    def _rest(self) -> None:
        tree = self._tree
        if self._inflight or self.suspended or self.finished:
            return
        blocked = self._blocked()
        if tree.bodies:
            self._listen(blocked)
        elif blocked and all(e.purpose == "create" for e in tree.outbox.entries):
            missing = tree.records.owed()
            if missing is not None:
                ending.refuse_missing(tree, missing)
            else:
                tree.outbox.suspend(list(blocked))

    def _blocked(self) -> dict[str, Node]:
        nodes: dict[str, Node] = {}
        for strand in self._tree.strands.values():
            if strand.wait is not None:
                for node in strand.wait.pending():
                    if node.kind in REMOTE:
                        nodes[node.id] = node
        return nodes

    def _listen(self, blocked: dict[str, Node]) -> None:
        for id, node in blocked.items():
            if self._listening is None:
                self._listening = set()
            if id not in self._listening:
                self._listening.add(id)
                self._tree.outbox.listen(node)

    # Driving.

    def _run(self) -> None:
        tree = self._tree
        while tree.ready and not self._dead and tree.refusal is None:
            strand = tree.ready.popleft()
            strand.queued = False
            if not strand.ended:
                self._advance(strand)

    def _advance(self, strand: Strand) -> None:
        tree = self._tree
        if strand.node is not None and strand.timeout_at <= tree.world.now():
            tree.outbox.settle(strand.node, PromiseState.REJECTED)  # answered with the time-out
            return
        value, error = self._value(strand)
        while tree.refusal is None:
            strand.wait = None
            strand.position.replaying = tree.records.owed_by(strand.id) is not None
            result = strand.body.advance(value, error)
            if isinstance(result, Returned):
                ending.returned(tree, strand, result.value)
                return
            if isinstance(result, Raised):
                ending.raised(tree, strand, result.error)
                return
            try:
                value, error = self._obey(strand, result.command), None
            except Exception as refused:
                value, error = None, refused
                continue
            if strand.wait is not None:
                if not self._over(strand, strand.wait):
                    ending.owes(tree, strand)
                    return
                value, error = self._value(strand)

    def _obey(self, strand: Strand, command: object) -> Any:
        """Carry out one command; return what the workflow gets at once, or set `strand.wait`."""
        if isinstance(command, Command):
            node = issuing.issue(self._tree, strand, command)
            if not command.wait:
                return issuing.begun(self._tree, node)
            strand.wait = Wait((node,), "one")
        elif isinstance(command, Future):
            strand.wait = Wait((issuing.own(strand, command),), "one")
        elif isinstance(command, All):
            strand.wait = Wait(issuing.members(self._tree, strand, command.members), "all")
        elif isinstance(command, Race):
            strand.wait = issuing.race(self._tree, strand, command)
        else:
            raise TypeError(
                f"a workflow can only yield what ctx makes, not {type(command).__name__}: "
                "call other code as a step, ctx.run(function, ...)"
            )
        return None

    def _over(self, strand: Strand, wait: Wait) -> bool:
        """Tell whether the strand can go on now; otherwise see to it that it is woken."""
        if wait.over():
            if wait.race is None or wait.race.winner is not None:
                return True
            ending.decide(self._tree, wait.race)
            return False
        for node in wait.nodes:
            if not node.settled:
                node.waiters.append(strand)
        return False

    def _value(self, strand: Strand) -> tuple[Any, BaseException | None]:
        wait = strand.wait
        if wait is None:
            return None, None
        try:
            if wait.race is not None:
                assert wait.race.winner is not None
                return Winner(wait.race.winner, self._outcome(wait.nodes[wait.race.winner])), None
            values = [self._outcome(node) for node in wait.nodes]
            return (values[0] if wait.mode == "one" else values), None
        except Exception as error:
            return None, error

    def _outcome(self, node: Node) -> Any:
        record = node.record
        assert record is not None
        if record.state is PromiseState.PENDING:  # its deadline has passed and nobody has stored that yet
            timer = node.kind is Kind.SLEEP and node.command.until is not None
            record = replace(record, state=PromiseState.RESOLVED if timer else PromiseState.TIMEDOUT)
        if isinstance(node.command, Asking):
            return decided(record)
        try:
            return self._tree.world.codec.outcome(record)
        except Unserializable as unreadable:
            if record.state is PromiseState.RESOLVED and node.kind is not Kind.PROMISE:
                # It was stored by a process that could write it: others may be able to read it.
                self._tree.refusal = f"the value of {node.id} cannot be read here: {unreadable}"
            raise

    # Answers.

    def _check(self, entry: Entry, answer: requests.Response) -> None:
        inner = answer.action or answer
        if inner.status == 200 or (entry.purpose == "suspend" and inner.status == 300):
            return
        kind = Lost if answer.status in (404, 409) else PlatformError
        what = f"{entry.request.kind} ({entry.purpose})"
        raise kind(f"{self._tree.promise.id}: {what} was answered {inner.status}: {inner.error}")

    def _answered(self, entry: Entry, answer: requests.Response) -> None:
        record = (answer.action or answer).promise
        if record is None or entry.purpose == "note":
            return
        if entry.race is not None:
            self._decided(entry.race, record)
            return
        node = entry.node
        assert node is not None
        if entry.purpose == "create" and node.inflight:
            node.inflight = False
            self._tree.unconfirmed -= 1
        if is_settled(record, self._tree.world.now()):
            self._settle(node, record)

    def _decided(self, race: RaceNode, record: Promise) -> None:
        if record.state is PromiseState.RESOLVED and race.winner is None:
            race.winner = int(self._tree.world.codec.decode(record.value))
            self._tree.push(race.strand)

    def _settle(self, node: Node, record: Promise) -> None:
        if node.settled:
            return
        tree = self._tree
        node.record = record
        node.strand.children.pop(node.id, None)
        tree.remote.pop(node.id, None)
        tree.abandon(node)
        inner = tree.strands.get(node.id) if node.kind is Kind.WORKFLOW else None
        if inner is not None:
            ending.close(tree, inner)
        waiters, node.waiters = node.waiters, []
        for strand in waiters:
            self._wake(strand)

    def _wake(self, strand: Strand) -> None:
        wait = strand.wait
        if wait is None or strand.ended or not wait.over():
            return
        if wait.mode == "exit":
            ending.finish(self._tree, strand)
        elif wait.race is not None and wait.race.winner is None:
            ending.decide(self._tree, wait.race)
        else:
            self._tree.push(strand)
