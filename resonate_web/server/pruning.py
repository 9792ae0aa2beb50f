"""Retention: deletes whole trees that are settled, old, and awaited by nobody.

A tree is a root with its attached descendants, its later tries, and what others noted below its id. A detached run is
a tree of its own, and stays while what started it is pending: a replay would start it again. Trees are chosen
without a lock and judged again under it, so a run that was tried again meanwhile stays.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from resonate_web.machine.rows import seen
from resonate_web.machine.state import Keys, PromiseRow
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.protocol.tags import is_detached, is_targeted
from resonate_web.server.lineage import above, below
from resonate_web.store.base import Rows, Store

PAGE = 50
"""Roots that are looked at together."""
BATCH = 1000
"""Rows deleted in one transaction at most, unless one tree alone has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was deleted, or would be: `promises` counts every row, those of the runs included."""

    runs: int = 0
    promises: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(runs=self.runs + other.runs, promises=self.promises + other.promises)


@dataclass(frozen=True, slots=True)
class _Tree:
    root: PromiseRow
    revisions: dict[str, int]

    @property
    def counted(self) -> Pruned:
        return Pruned(runs=int(is_targeted(self.root.record.tags)), promises=len(self.revisions))


def prune(store: Store, *, now: int, before: int, limit: int, dry_run: bool) -> Pruned:
    """Delete at most `limit` trees that were settled at `before` (ms) or earlier, as seen at `now`.

    With `dry_run`, only count them. Raises: StoreUnavailable, StoreConflict.
    """
    total, left = Pruned(), limit
    for roots in _pages(store, before):
        trees = _whole(store.read(_keys(roots)), roots, now, before)
        awaited = store.awaited()  # after the read: a promise whose callbacks are drained gains no awaiter
        trees = [tree for tree in trees if awaited.isdisjoint(tree.revisions)][:left]
        for batch in _batches(trees):
            if not dry_run:
                batch = _deleted(store, [tree.root for tree in batch], now, before)
            total = sum((tree.counted for tree in batch), total)
            left -= len(batch)
        if left <= 0:
            break
    return total


def _pages(store: Store, before: int) -> Iterator[list[PromiseRow]]:
    after = ""
    while roots := list(store.settled_roots(before=before, after=after, limit=PAGE)):
        yield roots
        after = roots[-1].record.id


def _batches(trees: Sequence[_Tree]) -> Iterator[list[_Tree]]:
    batch: list[_Tree] = []
    rows = 0
    for tree in trees:
        if batch and rows + len(tree.revisions) > BATCH:
            yield batch
            batch, rows = [], 0
        batch.append(tree)
        rows += len(tree.revisions)
    if batch:
        yield batch


def _deleted(store: Store, roots: Sequence[PromiseRow], now: int, before: int) -> list[_Tree]:
    with store.transact() as transaction:
        trees = _whole(transaction.load(_keys(roots)), roots, now, before)
        transaction.delete({id: revision for tree in trees for id, revision in tree.revisions.items()})
    return trees


def _keys(roots: Sequence[PromiseRow]) -> Keys:
    ids = [row.record.id for row in roots]
    return Keys(
        ids=frozenset(id for row in roots for id in (row.record.id, *_hosts(row), _creator(row))),
        trees=frozenset(ids),
        spans=frozenset(span for id in ids for span in below(id)),
    )


def _hosts(row: PromiseRow) -> list[str]:
    """Return whose tree the row may belong to although nothing owns it."""
    return [] if is_detached(row.record.tags) else above(row.record.id)


def _creator(row: PromiseRow) -> str:
    """Return what started a detached run; of a cleanup only the origin is known."""
    return row.owner or row.record.id.partition(":")[0]


def _whole(rows: Rows, roots: Sequence[PromiseRow], now: int, before: int) -> list[_Tree]:
    """Return the trees of `roots` that may go."""
    trees: list[_Tree] = []
    order = sorted(rows.promises)
    for row in roots:
        id = row.record.id
        if id not in rows.promises or any(host in rows.promises for host in _hosts(row)):
            continue
        if is_detached(row.record.tags) and _needed(rows, _creator(row), now):
            continue
        members = _members(rows, order, id)
        if all(_over(rows, member, now, before) for member in members):
            trees.append(_Tree(rows.promises[id][0], {member: rows.promises[member][1] for member in members}))
    return trees


def _members(rows: Rows, order: Sequence[str], root: str) -> list[str]:
    """Return the root, its attached descendants, later tries, and what nothing owns below it.

    Not what is detached, nor what lies below that.
    """
    found = dict.fromkeys((root, *rows.trees.get(root, ())))
    for first, last in below(root):
        for id in order[bisect_left(order, first) : bisect_left(order, last)]:  # parents first
            row = rows.promises[id][0]
            if is_detached(row.record.tags) or any(_detached(rows, host) for host in above(id) if host != root):
                continue
            if row.owner is None or row.owner in found:
                found[id] = None
    return list(found)


def _detached(rows: Rows, id: str) -> bool:
    return id in rows.promises and is_detached(rows.promises[id][0].record.tags)


def _needed(rows: Rows, creator: str, now: int) -> bool:
    """Tell whether what started a detached run may be replayed, or may clean up once more."""
    if creator not in rows.promises:
        return False
    row = rows.promises[creator][0]
    return seen(row.record, now).state is PromiseState.PENDING or bool(row.callbacks or row.listeners)


def _over(rows: Rows, id: str, now: int, before: int) -> bool:
    """Tell whether a promise is settled for long enough, everybody was told, and its task is over."""
    row = rows.promises[id][0]
    settled_at = seen(row.record, now).settled_at
    task = rows.tasks.get(id)
    return (
        settled_at is not None
        and settled_at <= before
        and not row.callbacks
        and not row.listeners
        and (task is None or task[0].state is TaskState.FULFILLED)
    )
