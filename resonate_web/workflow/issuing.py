"""From a yielded command to a node: numbered, compared with what is recorded, and begun."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

from resonate_web.clock import FOREVER
from resonate_web.errors import NotRegistered, WrongCall
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.workflow import ending, recorded
from resonate_web.workflow.approvals import Approval, Asking
from resonate_web.workflow.codec import digest
from resonate_web.workflow.commands import REMOTE, Command, Future, Kind, Race
from resonate_web.workflow.context import Context
from resonate_web.workflow.links import unbounded
from resonate_web.workflow.nodes import Node, RaceNode, Strand, Wait, is_settled
from resonate_web.workflow.tree import Tree


def issue(tree: Tree, strand: Strand, command: Command[Any]) -> Node:
    """Begin a child, or meet it again in the records.

    Raises: WrongCall for a command of another workflow or one used twice, Unserializable for its arguments.
    """
    if command.context is not strand.position:
        raise WrongCall(f"{command!r} was made by another workflow's ctx, it can't be yielded in {strand.id}")
    if command.issued:
        raise WrongCall(f"{command!r} was yielded before: keep its future and yield that")
    command.issued = True
    node = Node(command, strand, 0)
    parameters = _describe(tree, node)
    _bound(tree, node)
    strand.children[node.id] = node
    record = tree.records.take(node.id)
    if record is not None:
        _meet(tree, node, record, parameters)
    if not node.settled and tree.refusal is None:
        _begin(tree, node)
    return node


def begun(tree: Tree, node: Node) -> Future[Any]:
    """Return what the workflow gets of a child that it does not wait for."""
    command = node.command
    return Approval(node, command.question, tree.world.links) if isinstance(command, Asking) else Future(node)


def members(tree: Tree, strand: Strand, joined: tuple[Command[Any] | Future[Any], ...]) -> tuple[Node, ...]:
    """Return the nodes of a join's members; commands among them are begun."""
    return tuple(issue(tree, strand, m) if isinstance(m, Command) else own(strand, m) for m in joined)


def own(strand: Strand, future: Future[Any]) -> Node:
    """Return a future's node. Raises: WrongCall when another workflow made it."""
    node = future.node
    if not isinstance(node, Node) or node.strand is not strand:
        raise WrongCall(f"{future!r} was begun by another workflow, it can't be awaited in {strand.id}")
    return node


def race(tree: Tree, strand: Strand, command: Race) -> Wait:
    """Begin a race; a recorded one has its winner already."""
    if command.issued:
        raise WrongCall(f"the race {command.id} was yielded before")
    command.issued = True
    joined = members(tree, strand, command.members)
    node = RaceNode(command.id, strand, joined)
    record = tree.records.take(command.id)
    if record is not None:
        changed = recorded.difference(record, Kind.RACE, "race", {}, False)
        if changed is not None:
            tree.refuse(f"NonDeterminism at {command.id}: {changed}")
        elif record.state is PromiseState.RESOLVED:
            node.winner = int(tree.world.codec.decode(record.value))
            for loser in joined:  # the store may have taken the winner's record only
                ending.cancel(tree, loser, record=True)
    return Wait(joined, "race", node)


def _describe(tree: Tree, node: Node) -> dict[str, Any]:
    """Fill in the stored payload of a child; return its parts for the comparison with the record."""
    command, codec = node.command, tree.world.codec
    if node.kind in (Kind.STEP, Kind.WORKFLOW):
        node.payload = codec.dumps([command.args, command.kwargs])
        # A local row is written when its body ends; this keeps when it began (ms).
        at, mark, name = tree.world.now(), digest(recorded.comparable(node.payload, node.id)), _quoted(command.name)
        kind = ',"kind":"workflow"' if node.kind is Kind.WORKFLOW else ""
        node.param = f'{{"at":{at},"digest":"{mark}","func":{name}{kind},"version":1}}'
        return {"digest": mark}
    if node.kind in (Kind.RPC, Kind.DETACHED):
        _address(tree, command)
        parts = {
            "args": list(command.args), "func": command.name, "kwargs": command.kwargs, "version": command.opts.version
        }  # fmt: skip
        node.param = codec.dumps(parts)
        return dict(json.loads(node.param))
    if node.kind is Kind.SLEEP:
        node.param = '{"func":"sleep"}'
    elif isinstance(command, Asking):
        node.param = codec.dumps(command.question.document())
        return command.question.rules()
    elif node.kind is Kind.PROMISE and command.kwargs:
        node.param = codec.dumps(command.kwargs)
    return {}


_quoted = lru_cache(maxsize=4096)(json.dumps)


def _address(tree: Tree, command: Command[Any]) -> None:
    target = command.opts.target or tree.world.target
    version, marks = command.opts.version, dict(command.opts.tags)
    try:
        entry = tree.world.registry.find(command.name, version)
    except NotRegistered:  # another process of the target may know it
        version = version or 1
    else:
        version = entry.version
        if entry.on_cancel:
            marks[tags.ON_CANCEL] = entry.on_cancel
    target = target if "://" in target else f"poll://any@{target}"
    command.opts = replace(command.opts, target=target, version=version, tags=marks)


def _bound(tree: Tree, node: Node) -> None:
    """Set the deadline: an explicit one bounds everything attached below it."""
    now, command = tree.world.now(), node.command
    own_limit = now + (FOREVER if command.opts.timeout_ms is None else command.opts.timeout_ms)
    # The links of an approval end some time after its deadline: one that a run asks for in its third year works too.
    free = isinstance(command, Asking) and unbounded(node.strand.timeout_at)
    if free or node.kind is Kind.DETACHED:
        node.timeout_at = own_limit
        return
    node.timeout_at = min(own_limit, node.strand.timeout_at)
    if command.until is not None:
        wake = now + command.until
        if wake <= node.timeout_at:
            node.timeout_at = wake
        else:
            command.until = None


def _meet(tree: Tree, node: Node, record: Promise, parameters: dict[str, Any]) -> None:
    command = node.command
    changed = recorded.difference(record, node.kind, command.name, parameters, command.opts.check_args)
    if changed is not None:
        tree.refuse(f"NonDeterminism at {node.id}: {changed}")
        return
    node.sent = True
    node.timeout_at = record.timeout_at
    if tags.is_timer(record.tags):
        command.until = 0
    if is_settled(record, tree.world.now()):
        node.record = record
        node.strand.children.pop(node.id, None)
        tree.outbox.cancel(tree.records.drop_below(node.id))


def _begin(tree: Tree, node: Node) -> None:
    if node.kind in REMOTE:
        tree.remote[node.id] = node
        if not node.sent:
            _confirm(tree, node)
    elif node.kind is Kind.STEP:
        tree.bodies[node.id] = node
        tree.startable.append(node)
        if node.command.opts.announce and not node.sent:
            _confirm(tree, node)
    else:
        fn, (args, kwargs) = node.command.fn, tree.world.codec.loads(node.payload or "[[],{}]")
        assert fn is not None

        def workflow(ctx: Context) -> Any:
            return fn(ctx, *args, **kwargs)

        tree.start(node.id, workflow, node.timeout_at, node)
    if node.kind in (Kind.STEP, Kind.WORKFLOW) and node.command.opts.timeout_ms is not None:
        tree.deadlines.append(node)


def _confirm(tree: Tree, node: Node) -> None:
    """Send a child's creation; bodies start after it is stored: nothing overtakes."""
    node.inflight = True
    tree.unconfirmed += 1
    tree.outbox.create(node)
