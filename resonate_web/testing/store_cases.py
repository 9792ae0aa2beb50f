"""What every store must do, as functions that take an empty store.

@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_store(case, my_store):
    case(my_store)
"""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.errors import StoreConflict
from resonate_web.machine.state import (
    DeleteMessage,
    DeleteSchedule,
    Keys,
    Message,
)
from resonate_web.machine.steps import Dispatch, Expire, Fire, Notify, Timeout, Wake
from resonate_web.protocol.records import PromiseState, TaskState, Value
from resonate_web.protocol.requests import Refusal
from resonate_web.protocol.tags import DETACHED, EXTERNAL, TARGET, TIMER
from resonate_web.store.base import Change, Held, Store
from resonate_web.testing.store_samples import GROUP, conflict, due, load, promise, schedule, snapshot, task, write
from resonate_web.testing.store_upkeep_cases import UPKEEP_CASES


def rows_come_back_as_written(store: Store) -> None:
    """Every field of every row survives; what does not exist is absent."""
    full = promise(
        "ü/1",
        state=PromiseState.REJECTED,
        tags={TARGET: GROUP, 'q"uo,te': '\\x"', "ключ": ""},
        value=Value(data="", headers={"h": "ä"}),
        owner="o",
        callbacks=["b", "a"],
        listeners=["http://x"],
        timeout_at=2**62,
    )
    refusals = (Refusal(pid="p", code="c", reason='why "not"'), Refusal(pid="q", code="", reason=""))
    work = task("ü/1", TaskState.HALTED, version=7, strikes=2, refusals=refusals, resumes=frozenset({"z", "y"}))
    tick = schedule("s", tags={"a": "b"}, param=Value(data="d", headers={}), last_run_at=3)
    write(store, full, work, tick)
    rows = store.read(Keys(ids=frozenset({"ü/1", "none"}), schedules=frozenset({"s", "none"})))
    assert rows.promises == {"ü/1": (full, 1)}
    assert rows.tasks == {"ü/1": (work, 1)}
    assert rows.schedules == {"s": (tick, 1)}
    assert list(store.halted()) == [work]


def each_write_raises_the_revision(store: Store) -> None:
    """A row starts at revision 1 and each change adds one, several in one batch too."""
    write(store, promise("a"), task("a"), schedule("s"))
    changes = [Change(write=w, expects=1) for w in (promise("a", callbacks=["b"]), task("a", at=20), schedule("s"))]
    write(store, *changes)
    settled = promise("a", state=PromiseState.RESOLVED)
    write(store, Change(write=promise("a", listeners=["l"]), expects=2), Change(write=settled, expects=3))
    rows = store.read(Keys(ids=frozenset({"a"}), schedules=frozenset({"s"})))
    assert rows.promises["a"] == (settled, 4)
    assert rows.tasks["a"] == (task("a", at=20), 2)
    assert rows.schedules["s"] == (schedule("s"), 2)


def an_unexpected_revision_refuses_everything(store: Store) -> None:
    """A wrong revision, an existing new row or a missing old one refuses all changes of the batch."""
    write(store, promise("a"), task("a"), schedule("s"))
    before = snapshot(store)
    for bad in (
        Change(write=promise("a")),
        Change(write=promise("a"), expects=2),
        Change(write=promise("b"), expects=1),
        Change(write=task("a")),
        Change(write=task("a"), expects=3),
        Change(write=task("b"), expects=1),
        Change(write=schedule("s")),
        Change(write=schedule("s"), expects=2),
        Change(write=DeleteSchedule(id="s"), expects=2),
        Change(write=DeleteSchedule(id="s")),
    ):
        with conflict():
            write(store, promise("new"), Change(write=task("a", at=99), expects=1), bad)
    assert snapshot(store) == before


def a_fence_is_the_revision_before_the_batch(store: Store) -> None:
    """A change passes if the fenced task had the revision, even when the batch writes the task too."""
    write(store, task("t", TaskState.ACQUIRED), promise("t"))
    held = task("t", TaskState.SUSPENDED)
    write(store, Change(write=held, expects=1), Change(write=promise("t:1", owner="t"), fence=("t", 1)))
    before = snapshot(store)
    for fence in (("t", 1), ("t", 3), ("none", 1)):
        with conflict():
            write(store, Change(write=promise("t:2"), fence=fence))
        with conflict():
            write(store, promise("t:3"), Change(write=promise("t", listeners=["l"]), expects=1, fence=fence))
    assert snapshot(store) == before
    write(store, Change(write=promise("t:2"), fence=("t", 2)), Change(write=task("t:2"), fence=("t", 2)))
    assert load(store, "t:2").tasks["t:2"] == (task("t:2"), 1)


def an_exception_undoes_the_transaction(store: Store) -> None:
    """Nothing of a transaction stays when its block raises."""
    write(store, promise("a"), Message(key="k", address=GROUP, kind="execute"))
    before = snapshot(store)
    try:
        with store.transact() as transaction:
            transaction.apply([Change(write=promise("b")), Change(write=promise("a"), expects=1)])
            transaction.apply([Change(write=DeleteMessage(key="k"))])
            assert "b" in transaction.load(Keys(ids=frozenset({"b"}))).promises
            raise KeyError("changed my mind")
    except KeyError:
        pass
    assert snapshot(store) == before


def a_refused_batch_dooms_its_transaction(store: Store) -> None:
    """A transaction whose refusal was swallowed cannot be committed."""
    with conflict(), store.transact() as transaction:
        transaction.apply([Change(write=promise("a"))])
        try:
            transaction.apply([Change(write=promise("a"))])
        except StoreConflict:
            pass
    assert load(store, "a").promises == {}


def children_are_found_by_owner(store: Store) -> None:
    """`owned` lists what a task created, one level deep, with rows and tasks; an unknown owner has none."""
    write(store, promise("r"), promise("r:2", owner="r"), promise("r:1", owner="r"), promise("r:1.1", owner="r:1"))
    write(store, task("r:1"))
    rows = store.read(Keys(owned=frozenset({"r", "none"})))
    assert rows.owned == {"r": ("r:1", "r:2"), "none": ()}
    assert rows.promises.keys() == {"r:1", "r:2"}
    assert rows.tasks.keys() == {"r:1"}


def trees_stop_at_detached_promises(store: Store) -> None:
    """`trees` lists attached descendants of any depth, without the root, a detached one and what is below it."""
    write(store, promise("r"), promise("r:1", owner="r"), promise("r:1.1", owner="r:1"), promise("other"))
    write(store, promise("r:d1", owner="r", tags={DETACHED: "true"}), promise("r:d1.1", owner="r:d1"), task("r:1.1"))
    rows = store.read(Keys(trees=frozenset({"r", "r:1", "r:d1", "none"})))
    assert rows.trees == {"r": ("r:1", "r:1.1"), "r:1": ("r:1.1",), "r:d1": ("r:d1.1",), "none": ()}
    assert rows.promises.keys() == {"r:1", "r:1.1", "r:d1.1"}
    assert rows.tasks.keys() == {"r:1.1"}


def deadlines_fall_due_in_order(store: Store) -> None:
    """Pending external promises are due at their deadline; others never."""
    write(
        store, promise("b", tags={EXTERNAL: "true"}, timeout_at=20), promise("a", tags={TIMER: "true"}, timeout_at=30)
    )
    write(store, promise("c", tags={TARGET: ""}, timeout_at=40), promise("inner", timeout_at=5))
    write(store, promise("done", state=PromiseState.RESOLVED, tags={TIMER: "true"}, timeout_at=5))
    assert store.due(19, [], 10) == due(next_at=20)
    assert store.due(30, [], 10) == due(Timeout(id="b"), Timeout(id="a"), next_at=40)
    assert store.due(50, [], 10) == due(Timeout(id="b"), Timeout(id="a"), Timeout(id="c"))


def a_limit_asks_to_come_back_at_once(store: Store) -> None:
    """What the limit cut off makes `now` the next instant; an exact fit does not."""
    write(store, *(promise(id, tags={TIMER: "true"}, timeout_at=at) for id, at in (("a", 10), ("b", 20), ("c", 30))))
    write(store, schedule("s", at=15))
    assert store.due(25, [], 2) == due(Timeout(id="a"), Timeout(id="b"), next_at=25)
    assert store.due(25, [], 3) == due(Timeout(id="a"), Timeout(id="b"), Fire(id="s"), next_at=30)
    assert store.due(25, [], 0) == due(next_at=25)


def settled_promises_owe_wakes_and_notes(store: Store) -> None:
    """Callbacks and listeners of settled promises are due at once, until they are drained."""
    waiting = promise("a", tags={TIMER: "true"}, callbacks=["x"], listeners=["l"])
    write(store, waiting, promise("b", state=PromiseState.RESOLVED, callbacks=["y", "x"], listeners=["l"]))
    owed = (Wake(id="b", awaiter="x"), Wake(id="b", awaiter="y"), Notify(id="b", address="l"))
    assert store.due(7, [], 10) == due(*owed, next_at=1000)
    assert store.due(7, [], 2) == due(*owed[:2], next_at=7)
    drained = promise("b", state=PromiseState.RESOLVED)
    settled = promise("a", tags={TIMER: "true"}, state=PromiseState.CANCELED, settled_at=6, callbacks=["x"])
    write(store, Change(write=drained, expects=1), Change(write=settled, expects=1))
    assert store.due(7, [], 10) == due(Wake(id="a", awaiter="x"))


def leases_end_and_offers_repeat(store: Store) -> None:
    """Acquired tasks expire; pending ones are dispatched for served targets only, exact or below."""
    write(store, task("held", TaskState.ACQUIRED, at=10), task("later", TaskState.ACQUIRED, at=50))
    write(store, task("exact", at=5), task("below", at=6, target=f"{GROUP}/p"), task("soon", at=40))
    write(store, task("alike", at=1, target=f"{GROUP}2"), task("dash", at=1, target=f"{GROUP}-x"))
    write(store, task("s", TaskState.SUSPENDED), task("h", TaskState.HALTED), task("f", TaskState.FULFILLED))
    assert store.due(20, [], 10) == due(Expire(id="held"), next_at=50)
    assert store.due(20, ["other"], 10) == due(Expire(id="held"), next_at=50)
    served = due(Expire(id="held"), Dispatch(id="exact"), Dispatch(id="below"), next_at=40)
    assert store.due(20, [GROUP], 10) == served
    assert store.due(20, [GROUP, f"{GROUP}/p", GROUP], 10) == served
    assert store.due(20, [f"{GROUP}/p"], 10) == due(Expire(id="held"), Dispatch(id="below"), next_at=50)


def schedules_fire_and_can_be_replaced(store: Store) -> None:
    """A schedule is due at its next run; delete and create in one batch replaces it."""
    write(store, schedule("s", at=10), schedule("t", at=20))
    assert store.due(10, [], 10) == due(Fire(id="s"), next_at=20)
    write(store, Change(write=DeleteSchedule(id="s"), expects=1), schedule("s", at=30, cron="0 0 * * *"))
    assert store.read(Keys(schedules=frozenset({"s"}))).schedules["s"][0].record.cron == "0 0 * * *"
    assert store.due(10, [], 10) == due(next_at=20)
    write(store, Change(write=DeleteSchedule(id="t"), expects=1), DeleteSchedule(id="never was"))
    assert store.due(10, [], 10) == due(next_at=30)


def messages_keep_their_place(store: Store) -> None:
    """A newer message replaces the one with its key, in its place; only served addresses are listed."""
    first = Message(key="b", address=GROUP, kind="execute", task_id="b", version=1)
    below = Message(key="a", address=f"{GROUP}/p", kind="execute", task_id="a", version=0)
    note = Message(key="n", address="poll://uni@g/p", kind="unblock", promise=promise("x").record)
    write(store, first)
    write(store, below, note)
    newer = Message(key="b", address=GROUP, kind="execute", task_id="b", version=2)
    write(store, newer)
    assert list(store.messages([GROUP], 10)) == [newer, below]
    assert list(store.messages([f"{GROUP}/p", GROUP, "poll://uni@g/p"], 10)) == [newer, below, note]
    assert list(store.messages([GROUP], 1)) == [newer]
    write(store, DeleteMessage(key="b"), DeleteMessage(key="none"), below, DeleteMessage(key="a"))
    assert list(store.messages([GROUP], 10)) == []
    write(store, newer)
    assert list(store.messages(["poll://uni@g", GROUP], 10)) == [note, newer]


def promises_are_found_by_state_as_seen(store: Store) -> None:
    """A search sees deadlines applied: a timer resolves, others time out, at exactly the deadline."""
    write(store, promise("p", timeout_at=50), promise("t", timeout_at=50, tags={TIMER: "true"}))
    write(store, promise("r", state=PromiseState.RESOLVED), promise("c", state=PromiseState.CANCELED))
    write(store, promise("x", state=PromiseState.TIMEDOUT), promise("j", state=PromiseState.REJECTED))

    def found(now: int, state: PromiseState | None) -> str:
        rows = store.search_promises(now=now, state=state, tags={}, after=None, limit=10)
        return "".join(row.record.id for row in rows)

    assert found(49, None) == "cjprtx"
    assert [found(49, state) for state in PromiseState] == ["pt", "r", "j", "c", "x"]
    assert [found(50, state) for state in PromiseState] == ["", "rt", "j", "c", "px"]


def searches_page_by_id_in_code_point_order(store: Store) -> None:
    """Pages follow each other without gap or repetition, in the order of code points."""
    names = ["Z", "a", "a:1", "a:10", "a:2", "é", "日", "😀"]
    write(store, *map(promise, reversed(names)), *map(task, names), *map(schedule, names))
    searches: tuple[Callable[[str | None], list[str]], ...] = (
        lambda after: [
            row.record.id
            for row in store.search_promises(now=0, state=PromiseState.PENDING, tags={}, after=after, limit=3)
        ],
        lambda after: [row.id for row, _ in store.search_tasks(now=0, state=TaskState.PENDING, after=after, limit=3)],
        lambda after: [row.record.id for row in store.search_schedules(tags={}, after=after, limit=3)],
    )
    for search in searches:
        found: list[str] = []
        while page := search(found[-1] if found else None):
            assert len(page) <= 3
            found += page
        assert found == names


def tags_match_exactly(store: Store) -> None:
    """All tags must be equal; characters that mean something in JSON or SQL mean nothing."""
    tricky = {'k"': 'v"', "a": "b\\", "c": 'd","e":"f', "%": "_", "é": "日\n"}
    write(store, promise("1", tags=tricky), promise("2", tags={"a": "b", 'x,"a': "b"}), promise("3"))
    write(store, schedule("s", tags=tricky), schedule("u", tags={"a": "b"}))

    def found(**tags: str) -> str:
        rows = store.search_promises(now=0, state=None, tags=tags, after=None, limit=10)
        return "".join(row.record.id for row in rows)

    assert found(**tricky) == "1"
    for name, value in tricky.items():
        assert found(**{name: value}) == "1", name
    assert [found(a="b"), found(e="f"), found(a="b\\", c="d"), found(k="v"), found(**{"%": "%"})] == [
        "2",
        "",
        "",
        "",
        "",
    ]
    assert [row.record.id for row in store.search_schedules(tags=tricky, after=None, limit=10)] == ["s"]
    assert [row.record.id for row in store.search_schedules(tags={"a": "b"}, after=None, limit=10)] == ["u"]


def tasks_of_dead_promises_are_seen_fulfilled(store: Store) -> None:
    """A task search applies the deadline of the promise and returns both rows as stored."""
    write(store, promise("a", timeout_at=50), task("a"), promise("b", timeout_at=90), task("b", TaskState.ACQUIRED))
    write(store, promise("c", state=PromiseState.RESOLVED, timeout_at=20), task("c", TaskState.FULFILLED))

    def found(now: int, state: TaskState | None) -> str:
        return "".join(row.id for row, _ in store.search_tasks(now=now, state=state, after=None, limit=10))

    states = (None, TaskState.PENDING, TaskState.ACQUIRED, TaskState.FULFILLED)
    assert [found(49, state) for state in states] == ["abc", "a", "b", "c"]
    assert [found(50, state) for state in states] == ["abc", "", "b", "ac"]
    assert store.search_tasks(now=50, state=None, after=None, limit=1) == [(task("a"), promise("a", timeout_at=50))]


def holders_and_halted_tasks_are_listed(store: Store) -> None:
    """`held` names acquired tasks with version and holder, `halted` those that were refused."""
    refused = task("h", TaskState.HALTED, refusals=(Refusal(pid="p", code="c", reason="r"),))
    write(store, task("b", TaskState.ACQUIRED, pid="q", version=3), task("a", TaskState.ACQUIRED), task("c"), refused)
    write(store, task("plain", TaskState.HALTED))
    assert list(store.held()) == [Held(id="a", version=0, pid="p"), Held(id="b", version=3, pid="q")]
    assert list(store.halted()) == [refused]
    write(store, Change(write=task("a", TaskState.FULFILLED), expects=1))
    assert [held.id for held in store.held()] == ["b"]


def a_commit_is_noticed(store: Store) -> None:
    """`watch` answers the same until something was committed."""
    before = store.watch()
    assert store.watch() == before
    write(store, promise("a"))
    assert store.watch() != before


def the_secret_stays(store: Store) -> None:
    """The secret has 32 bytes and never changes."""
    assert len(store.secret()) == 32
    assert store.secret() == store.secret()


def many_rows_in_one_batch(store: Store) -> None:
    """A batch and a read are not limited by the number of parameters a database takes."""
    ids = [f"m:{n:05}" for n in range(3000)]
    write(store, *map(promise, ids), *map(task, ids[:100]))
    write(store, *(Change(write=promise(id, callbacks=["m"]), expects=1) for id in ids))
    rows = store.read(Keys(ids=frozenset(ids)))
    assert sorted(rows.promises) == ids
    assert {revision for _, revision in rows.promises.values()} == {2}
    assert len(rows.tasks) == 100


CASES: tuple[Callable[[Store], None], ...] = (
    rows_come_back_as_written,
    each_write_raises_the_revision,
    an_unexpected_revision_refuses_everything,
    a_fence_is_the_revision_before_the_batch,
    an_exception_undoes_the_transaction,
    a_refused_batch_dooms_its_transaction,
    children_are_found_by_owner,
    trees_stop_at_detached_promises,
    deadlines_fall_due_in_order,
    a_limit_asks_to_come_back_at_once,
    settled_promises_owe_wakes_and_notes,
    leases_end_and_offers_repeat,
    schedules_fire_and_can_be_replaced,
    messages_keep_their_place,
    promises_are_found_by_state_as_seen,
    searches_page_by_id_in_code_point_order,
    tags_match_exactly,
    tasks_of_dead_promises_are_seen_fulfilled,
    holders_and_halted_tasks_are_listed,
    a_commit_is_noticed,
    the_secret_stays,
    many_rows_in_one_batch,
    *UPKEEP_CASES,
)
