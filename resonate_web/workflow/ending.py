"""How a strand ends: it waits for its attached steps and runs, then its outcome is stored; what it left is canceled."""

from __future__ import annotations

from typing import Any

from resonate_web.errors import Unserializable
from resonate_web.protocol.records import Promise, PromiseState, Value
from resonate_web.workflow import recorded
from resonate_web.workflow.commands import BODIES, REMOTE, Kind
from resonate_web.workflow.nodes import Node, RaceNode, Strand, Wait
from resonate_web.workflow.tree import Tree


def returned(tree: Tree, strand: Strand, value: Any) -> None:
    """End a strand that returned, as soon as its attached steps and runs have ended."""
    if owes(tree, strand):
        return
    strand.outcome = (value, None)
    attached = tuple(node for node in strand.children.values() if node.kind in BODIES)
    if attached:
        strand.wait = Wait(attached, "exit")
        for node in attached:
            node.waiters.append(strand)
    else:
        finish(tree, strand)


def raised(tree: Tree, strand: Strand, error: BaseException) -> None:
    """End a strand that raised: its unsettled children are canceled with it."""
    if owes(tree, strand):
        return
    strand.outcome = (None, error)
    finish(tree, strand)


def finish(tree: Tree, strand: Strand) -> None:
    """Store a strand's outcome, and the cancellation of what it left unsettled, in one group."""
    state, value = _encoded(tree, strand)
    cancel_children(tree, strand)
    strand.ended = True
    strand.wait = None
    tree.strands.pop(strand.id, None)
    if strand.node is None:
        tree.outbox.fulfill(state, value)
    else:
        tree.outbox.settle(strand.node, state, value)


def close(tree: Tree, strand: Strand) -> None:
    """End a strand whose promise was settled by others: its body is unwound, its children are canceled."""
    strand.ended = True
    strand.wait = None
    tree.strands.pop(strand.id, None)
    tree.outbox.cancel(tree.records.drop_below(strand.id))
    cancel_children(tree, strand)
    strand.position.replaying = True  # what it logs while it unwinds concerns nobody
    strand.body.close()


def cancel_children(tree: Tree, strand: Strand) -> None:
    """Cancel the unsettled attached children of a strand."""
    for node in list(strand.children.values()):
        cancel(tree, node, record=False)


def cancel(tree: Tree, node: Node, *, record: bool) -> None:
    """Cancel one child. With `record`, its cancellation is stored even when its row was held back until now."""
    if node.settled or node.kind is Kind.DETACHED:
        return
    if node.kind is Kind.STEP:
        tree.abandon(node)
    elif node.kind is Kind.WORKFLOW:
        inner = tree.strands.get(node.id)
        if inner is not None:
            close(tree, inner)
    if record or node.sent or node.kind in REMOTE:
        tree.outbox.settle(node, PromiseState.CANCELED)


def decide(tree: Tree, race: RaceNode) -> None:
    """Record the winner of a race, the first settled member by position, and cancel the losers, in one group."""
    if race.deciding or race.winner is not None:
        return
    race.deciding = True
    winner = next(i for i, node in enumerate(race.members) if node.settled)
    tree.outbox.race(race, winner, race.strand.timeout_at)
    for node in race.members:
        cancel(tree, node, record=True)


def owes(tree: Tree, strand: Strand) -> bool:
    """Refuse to go on when a strand that ends or waits has not issued what is recorded; tell whether it was so.

    What it waits for is unsettled, so when its children were recorded it waited here too, and had issued them all.
    """
    missing = tree.records.owed_by(strand.id)
    if missing is not None:
        refuse_missing(tree, missing)
    return missing is not None


def refuse_missing(tree: Tree, left: Promise) -> None:
    """Refuse to go on: something is recorded that the code no longer issues."""
    tree.refuse(
        f"NonDeterminism at {left.id}: recorded: {recorded.kind_of(left)} {recorded.name_of(left)!r}; "
        "now: the code does not issue it"
    )


def _encoded(tree: Tree, strand: Strand) -> tuple[PromiseState, Value]:
    value, error = strand.outcome
    codec = tree.world.codec
    if error is None:
        try:
            return PromiseState.RESOLVED, codec.encode(value)
        except Unserializable as unserializable:
            error = Unserializable(f"the result of {strand.id}: {unserializable}")
    return PromiseState.REJECTED, codec.encode_error(error)
