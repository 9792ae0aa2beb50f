"""The part of the case kit about following and retention: traces, ranges of ids, settled roots, deletion."""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.errors import StoreConflict
from resonate_web.machine.state import Keys
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.protocol.tags import DETACHED, EXTERNAL
from resonate_web.store.base import Change, Store
from resonate_web.testing.store_samples import GROUP, conflict, due, load, promise, snapshot, task, write

RESOLVED = PromiseState.RESOLVED


def a_trace_differs_after_every_write_of_the_run(store: Store) -> None:
    """A child, a grandchild, a settle, a task's change, a later try and its children: each leaves another trace."""
    write(store, promise("r"), task("r"))
    seen = [store.traces(["r"])["r"]]
    for change in (
        promise("r:1", owner="r"),
        Change(write=promise("r:1", owner="r", state=RESOLVED), expects=1),
        promise("r:d1.2", owner="r:d1"),
        Change(write=task("r", TaskState.ACQUIRED), expects=1),
        Change(write=task("r", TaskState.SUSPENDED), expects=2),
        Change(write=promise("r", state=PromiseState.REJECTED), expects=1),
        promise("r~2"),
        promise("r~2:1", owner="r~2"),
        task("r~2"),
    ):
        write(store, change)
        seen.append(store.traces(["r"])["r"])
    assert len(set(seen)) == len(seen)


def a_trace_stays_when_others_write(store: Store) -> None:
    """Ids that merely begin alike are other runs; every run asked for has a trace, if only an empty one."""
    write(store, promise("r"), task("r"), promise("r:1"), promise("é/1"))
    before = store.traces(["r", "é/1", "none"])
    assert before.keys() == {"r", "é/1", "none"}
    assert store.traces([]) == {}
    for id in ("r1", "r/1", "r/1:1", "r.1", "r@1", "r-", "q", "q:1", "s~2", "é/11", "R", "R:1"):
        write(store, promise(id), task(id))
    assert store.traces(["r", "é/1", "none"]) == before


def spans_hold_what_lies_between(store: Store) -> None:
    """A range holds its first id and not its last, with tasks; ranges, ids and trees come together."""
    ids = ["r", "r:", "r:1", "r:é", "r:\U0001f600", "r;", "r~2", "s"]
    write(store, *map(promise, ids), task("r:1"), promise("s:1", owner="s"))
    rows = store.read(Keys(spans=frozenset({("r:", "r;")})))
    assert sorted(rows.promises) == ["r:", "r:1", "r:é", "r:\U0001f600"]
    assert rows.tasks.keys() == {"r:1"}
    both = Keys(ids=frozenset({"s"}), trees=frozenset({"s"}), spans=frozenset({("r:", "r:é"), ("r~", "r\x7f")}))
    rows = store.read(both)
    assert sorted(rows.promises) == ["r:", "r:1", "r~2", "s", "s:1"]
    with store.transact() as transaction:
        transaction.apply([Change(write=promise("r:0"))])
        assert sorted(transaction.load(Keys(spans=frozenset({("r:", "r:2")}))).promises) == ["r:", "r:0", "r:1"]


def settled_roots_are_listed_by_id(store: Store) -> None:
    """Settled early enough, and owned by nothing or detached; page by page."""
    write(store, *(promise(id, state=RESOLVED, settled_at=at) for id, at in (("b", 7), ("a", 8), ("c", 9), ("é", 1))))
    write(store, promise("pending"), promise("a:1", owner="a", state=RESOLVED))
    write(
        store,
        promise("a:d1", owner="a", state=RESOLVED, tags={DETACHED: "true"}),
        promise("d:d", tags={DETACHED: "true"}),
    )

    def found(before: int, after: str = "", limit: int = 10) -> list[str]:
        return [row.record.id for row in store.settled_roots(before=before, after=after, limit=limit)]

    assert found(8) == ["a", "a:d1", "b", "é"]
    assert found(0) == []
    assert found(9, limit=2) == ["a", "a:d1"]
    assert found(9, after="a:d1") == ["b", "c", "é"]


def what_tasks_were_resumed_by_is_listed(store: Store) -> None:
    """Pending, acquired and halted tasks name it until they have acted on it; fulfilled and suspended ones do not."""
    states = {"p": TaskState.PENDING, "a": TaskState.ACQUIRED, "h": TaskState.HALTED, "f": TaskState.FULFILLED}
    for id, state in states.items():
        write(store, promise(id), task(id, state, resumes=frozenset({f"by {id}", "all"})))
    write(store, promise("n"), task("n"))
    assert store.awaited() == {"by p", "by a", "by h", "all"}


def what_is_deleted_is_gone(store: Store) -> None:
    """A deleted promise and its task are in no list, and the id can be made anew, from revision 1."""
    write(store, promise("r", tags={EXTERNAL: "true"}, timeout_at=5), task("r"), promise("r:1", owner="r"))
    write(store, promise("s", state=RESOLVED, callbacks=["x"]), promise("stays"))
    before = snapshot(store)
    with store.transact() as transaction:
        transaction.delete({"r": 1, "r:1": 1, "s": 1})
        assert transaction.load(Keys(ids=frozenset({"r"}), trees=frozenset({"r"}))).promises == {}
    assert [row.record.id for row, _ in snapshot(store)["promises"]] == ["stays"]
    assert store.due(50, [GROUP], 10) == due()
    assert store.search_tasks(now=0, state=None, after=None, limit=9) == []
    write(store, promise("r", tags={EXTERNAL: "true"}, timeout_at=5), task("r"), promise("r:1", owner="r"))
    write(store, promise("s", state=RESOLVED, callbacks=["x"]))
    assert snapshot(store) == before


def a_deletion_checks_revisions(store: Store) -> None:
    """A promise at another revision, or none, refuses the deletion whole; a later write of a deleted row is refused."""
    write(store, promise("a"), task("a"), promise("b"))
    write(store, Change(write=promise("b", listeners=["l"]), expects=1))
    before = snapshot(store)
    for wrong in ({"a": 1, "b": 1}, {"a": 2}, {"a": 1, "none": 1}):
        with conflict(), store.transact() as transaction:
            transaction.delete(wrong)
    with conflict(), store.transact() as transaction:
        try:
            transaction.delete({"a": 7})
        except StoreConflict:
            pass
    assert snapshot(store) == before
    with store.transact() as transaction:
        transaction.delete({})
        transaction.delete({"a": 1})
    for change in (Change(write=promise("a"), expects=1), Change(write=task("a"), expects=1)):
        with conflict():
            write(store, change)
    with conflict():
        write(store, Change(write=promise("a:1"), fence=("a", 1)))
    assert load(store, "a", "a:1").promises == {}


def an_exception_undoes_a_deletion(store: Store) -> None:
    """Nothing is lost when the block raises, whatever else it wrote."""
    write(store, promise("a"), task("a"), promise("a:1", owner="a"))
    before = snapshot(store)
    try:
        with store.transact() as transaction:
            transaction.apply([Change(write=promise("a", listeners=["l"]), expects=1)])
            transaction.delete({"a": 2, "a:1": 1})
            transaction.apply([Change(write=promise("a")), Change(write=task("a", at=3))])
            raise KeyError("changed my mind")
    except KeyError:
        pass
    assert snapshot(store) == before


UPKEEP_CASES: tuple[Callable[[Store], None], ...] = (
    a_trace_differs_after_every_write_of_the_run,
    a_trace_stays_when_others_write,
    spans_hold_what_lies_between,
    settled_roots_are_listed_by_id,
    what_tasks_were_resumed_by_is_listed,
    what_is_deleted_is_gone,
    a_deletion_checks_revisions,
    an_exception_undoes_a_deletion,
)
