"""Retention: whole settled trees go, nothing that is needed does, and writers meanwhile lose nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resonate_web.config import Settings
from resonate_web.machine.state import PromiseRow, TaskRow
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.protocol.tags import DETACHED, EXTERNAL, TARGET, TIMER
from resonate_web.server import pruning
from resonate_web.server.pruning import Pruned, prune
from resonate_web.store.base import Change, Store, Transaction
from resonate_web.store.memory import MemoryStore
from resonate_web.store.open import open_store
from resonate_web.testing.store_samples import ALL, GROUP, promise, snapshot, task, write

DONE = PromiseState.RESOLVED
NOW = 10_000
RUN = {TARGET: GROUP}
LONE = {EXTERNAL: "true"}
APART = {TARGET: GROUP, DETACHED: "true"}


def run(id: str, state: PromiseState = DONE, **more: Any) -> tuple[PromiseRow, TaskRow]:
    """Return a run's root and its task."""
    more.setdefault("tags", RUN)
    live = TaskState.SUSPENDED if state is PromiseState.PENDING else TaskState.FULFILLED
    return promise(id, state=state, timeout_at=10**9, **more), task(id, live)


def child(id: str, owner: str, state: PromiseState = DONE, **more: Any) -> PromiseRow:
    """Return what a run recorded."""
    return promise(id, state=state, owner=owner, timeout_at=10**9, **more)


def pruned(store: Store, before: int = 100, limit: int = 1000, dry_run: bool = False) -> Pruned:
    """Delete what was settled at 100 or earlier."""
    return prune(store, now=NOW, before=before, limit=limit, dry_run=dry_run)


def left(store: Store) -> list[str]:
    """Return the ids that are stored."""
    return [row.record.id for row, _ in snapshot(store)["promises"]]


def test_a_settled_tree_goes_whole(store: Store) -> None:
    """Root, steps, rpcs with steps of their own, votes below an approval, and all tasks."""
    write(store, *run("order/42"), child("order/42:1", "order/42"), *run("order/42:2", owner="order/42"))
    write(store, child("order/42:2.1", "order/42:2"), child("order/42:@ask", "order/42", tags=LONE))
    write(store, promise("order/42:@ask@vote", state=DONE), *run("order/421"), promise("order", state=DONE))
    assert pruned(store, dry_run=True) == Pruned(runs=2, promises=8)
    assert len(left(store)) == 8
    assert pruned(store) == Pruned(runs=2, promises=8)
    assert snapshot(store) == snapshot(MemoryStore())
    assert pruned(store) == Pruned()


def test_what_is_young_or_pending_stays(store: Store) -> None:
    """The root's age counts, and that of everything below it; a pending child keeps its tree."""
    write(store, *run("young", settled_at=101), *run("late"), child("late:1", "late", settled_at=101))
    write(store, *run("open"), child("open:1", "open", PromiseState.PENDING), *run("running", PromiseState.PENDING))
    write(store, child("running:1", "running"), promise("gate"), promise("gate/2", state=DONE, settled_at=101))
    before = snapshot(store)
    assert pruned(store) == Pruned()
    assert snapshot(store) == before


def test_what_somebody_waits_for_stays(store: Store) -> None:
    """A callback, a listener, and a task that was woken and has not acted yet keep a tree."""
    write(store, *run("a", callbacks=["w"]), *run("b", listeners=["l"]), *run("c"), child("c:1", "c", callbacks=["w"]))
    write(store, *run("d"), promise("w", tags=RUN), task("w", resumes=frozenset({"d"})))
    before = snapshot(store)
    assert pruned(store) == Pruned()
    assert snapshot(store) == before
    write(store, Change(write=task("w", TaskState.SUSPENDED), expects=1))
    assert pruned(store) == Pruned(runs=1, promises=1)
    assert "d" not in left(store)


def test_a_passed_deadline_has_settled_a_child(store: Store) -> None:
    """A step that its run's deadline ended is pending as stored; it goes with its run."""
    write(store, *run("a", PromiseState.TIMEDOUT), promise("a:1", owner="a", timeout_at=50))
    write(store, *run("b", PromiseState.TIMEDOUT), promise("b:1", owner="b", timeout_at=101))
    assert pruned(store) == Pruned(runs=1, promises=2)
    assert left(store) == ["b", "b:1"]


def test_a_detached_run_is_a_tree_of_its_own(store: Store) -> None:
    """It outlives what started it, with what lies below it, and goes later."""
    write(store, *run("a"), *run("a:d1", PromiseState.PENDING, owner="a", tags=APART), child("a:d1.1", "a:d1"))
    write(store, child("a:d1.@ask", "a:d1", PromiseState.PENDING, tags=LONE), promise("a:d1.@ask@vote", state=DONE))
    below = ["a:d1", "a:d1.1", "a:d1.@ask", "a:d1.@ask@vote"]
    assert pruned(store) == Pruned(runs=1, promises=1)
    assert left(store) == below
    assert pruned(store) == Pruned()
    ended = child("a:d1.@ask", "a:d1", tags=LONE)
    write(store, Change(write=run("a:d1", owner="a", tags=APART)[0], expects=1), Change(write=ended, expects=1))
    write(store, Change(write=task("a:d1", TaskState.FULFILLED), expects=1))
    assert pruned(store) == Pruned(runs=1, promises=4)
    assert left(store) == []


def test_a_detached_run_stays_while_its_creator_may_be_replayed(store: Store) -> None:
    """A replay that did not find it would start it again; a cleanup stays with the run that it cleans up after."""
    write(store, *run("a", PromiseState.PENDING), *run("a:d1", owner="a", tags=APART))
    write(store, *run("b", PromiseState.CANCELED, callbacks=["w"]), *run("b:dc", tags=APART))
    before = snapshot(store)
    assert pruned(store) == Pruned()
    assert snapshot(store) == before


def test_later_tries_are_one_with_the_first(store: Store) -> None:
    """A try that runs keeps the failed one before it, and none goes without the others."""
    write(store, *run("a", PromiseState.REJECTED), child("a:1", "a"), *run("a~2", PromiseState.REJECTED))
    write(store, child("a~2:1", "a~2"), *run("a~3", PromiseState.PENDING))
    assert pruned(store) == Pruned()
    write(store, Change(write=run("a~3")[0], expects=1), Change(write=task("a~3", TaskState.FULFILLED), expects=1))
    assert pruned(store) == Pruned(runs=1, promises=5)
    assert left(store) == []


def test_names_that_look_related_are_not(store: Store) -> None:
    """Dots and '@' in a root's own id, and promises whose ids hold a colon, are trees of their own."""
    write(store, promise("user", state=DONE), promise("user@host"), promise("user.txt"), promise("x:y", state=DONE))
    assert pruned(store) == Pruned(promises=2)
    assert left(store) == ["user.txt", "user@host"]


def test_a_limit_counts_trees(store: Store) -> None:
    """No more of them go than asked for, over several pages and batches too."""
    many = pruning.PAGE * 2 + 5
    write(store, *(row for n in range(many) for row in run(f"r/{n:03}")))
    write(store, *(child(f"r/000:{n}", "r/000") for n in range(pruning.BATCH + 10)))
    assert pruned(store, limit=pruning.PAGE + 3).runs == pruning.PAGE + 3
    assert left(store) == [f"r/{n:03}" for n in range(pruning.PAGE + 3, many)]
    assert pruned(store) == Pruned(runs=many - pruning.PAGE - 3, promises=many - pruning.PAGE - 3)


class Interrupted:
    """A store to which somebody else writes just before each write transaction of ours."""

    def __init__(self, store: Store, *others: Callable[[], None]) -> None:
        self._store = store
        self._others = list(others)
        self.transactions = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def transact(self) -> Iterator[Transaction]:
        """Let the next one write, then open the transaction."""
        self.transactions += 1
        if self._others:
            self._others.pop(0)()
        with self._store.transact() as transaction:
            yield transaction


def test_what_is_written_meanwhile_is_not_lost(store: Store) -> None:
    """A run that was tried again, started anew, or given a vote between the look and the deletion is judged again."""
    write(store, *run("tried", PromiseState.REJECTED), *run("voted"), *run("old"), *run("gone"))

    def meanwhile() -> None:
        write(store, *run("tried~2", PromiseState.PENDING), promise("voted:@ask@vote", state=DONE, settled_at=NOW))
        assert prune(store, now=NOW, before=100, limit=1, dry_run=False) == Pruned(runs=1, promises=1)
        write(store, *run("gone", PromiseState.PENDING))

    found = prune(Interrupted(store, meanwhile), now=NOW, before=100, limit=10, dry_run=False)
    assert found == Pruned(runs=1, promises=1)
    assert left(store) == ["gone", "tried", "tried~2", "voted", "voted:@ask@vote"]


def test_transactions_are_bounded(store: Store) -> None:
    """A dry run opens none, and a large backlog is deleted in many."""
    write(store, *(row for n in range(120) for row in run(f"r/{n:03}")))
    write(store, *(child(f"r/{n:03}:{m}", f"r/{n:03}") for n in range(3) for m in range(600)))
    counting = Interrupted(store)
    assert prune(counting, now=NOW, before=100, limit=ALL, dry_run=True).runs == 120
    assert counting.transactions == 0
    assert prune(counting, now=NOW, before=100, limit=ALL, dry_run=False).runs == 120
    assert counting.transactions == 5
    assert left(store) == []


IDS = ("a", "a:1", "a:1.1", "a:2", "a:d1", "a:d1.1", "a:d1.@x@v", "a~2", "a~2:1", "b", "b:1", "b:dc")
OWNERS = {"a:1": "a", "a:1.1": "a:1", "a:2": "a", "a:d1": "a", "a:d1.1": "a:d1", "a~2:1": "a~2", "b:1": "b"}
MARKS = {"a:1": RUN, "a:2": {TIMER: "true"}, "a:d1": APART, "a:d1.1": {}, "a:d1.@x@v": {}, "b:dc": APART}


@st.composite
def forests(draw: st.DrawFn) -> list[PromiseRow | TaskRow]:
    """Return rows of a few trees in any state, each attached child's creator among them."""
    rows: list[PromiseRow | TaskRow] = []
    kept: set[str] = set()
    for id in IDS:
        if (id in OWNERS and OWNERS[id] not in kept) or draw(st.integers(0, 5)) == 0:
            continue
        kept.add(id)
        state = draw(st.sampled_from([DONE, DONE, DONE, DONE, PromiseState.PENDING]))
        callbacks = draw(st.sampled_from([[], [], [], [], [], ["w"]]))
        marks = MARKS.get(id, RUN)
        rows.append(
            promise(
                id,
                state=state,
                settled_at=None if state is PromiseState.PENDING else draw(st.sampled_from([50, 50, 50, 150])),
                timeout_at=10**9,
                owner=OWNERS.get(id),
                tags=marks,
                callbacks=callbacks,
            )
        )
        if TARGET in marks:
            resumes = draw(st.sampled_from([[], [], [], ["a"], ["b"], ["a:d1"]]))
            pending = state is PromiseState.PENDING
            rows.append(task(id, TaskState.PENDING if pending else TaskState.FULFILLED, resumes=frozenset(resumes)))
    return rows


@settings(max_examples=150, deadline=None)
@given(rows=forests(), limit=st.sampled_from([1, 2, ALL]))
def test_both_stores_prune_alike_and_keep_what_is_needed(
    tmp_path_factory: pytest.TempPathFactory, rows: list[PromiseRow | TaskRow], limit: int
) -> None:
    """The same rows go from both; what is pending or young stays, and nothing attached is torn from its owner."""
    url = f"sqlite:///{Path(tmp_path_factory.mktemp('p')) / 'p.db'}"
    memory, sqlite = MemoryStore(), open_store(Settings(store=url, sqlite_synchronous="NORMAL"))
    try:
        for store in (memory, sqlite):
            write(store, *rows)
        told = pruned(memory, limit=limit, dry_run=True)
        assert told == pruned(memory, limit=limit) == pruned(sqlite, limit=limit)
        assert snapshot(memory) == snapshot(sqlite)
        _check_kept([row for row in rows if isinstance(row, PromiseRow)], set(left(memory)))
    finally:
        sqlite.close()


def _check_kept(rows: Sequence[PromiseRow], kept: set[str]) -> None:
    by_id = {row.record.id: row for row in rows}
    for id, row in by_id.items():
        apart = row.record.tags.get(DETACHED) == "true"
        if row.record.state is PromiseState.PENDING or (row.record.settled_at or 0) > 100 or row.callbacks:
            assert id in kept
        if row.owner is not None and not apart:
            assert (id in kept) == (row.owner in kept), id
        if row.owner is not None and apart and by_id[row.owner].record.state is PromiseState.PENDING:
            assert id in kept
    if {"a", "a~2"} <= by_id.keys():
        assert ("a" in kept) == ("a~2" in kept)
