"""The server: groups that are atomic, caches that are never believed, faults that stay with their batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest

from resonate_web.delivery import Acquired, Reservation
from resonate_web.errors import StoreConflict, StoreError, StoreUnavailable
from resonate_web.machine.state import Keys, TaskRow
from resonate_web.machine.steps import Cascade, Expire
from resonate_web.protocol.records import Promise, PromiseState, TaskState, Value
from resonate_web.protocol.requests import (
    PromiseCreate,
    PromiseGet,
    PromiseRegisterListener,
    PromiseSettle,
    Request,
    Response,
    TaskAcquire,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHeartbeat,
    TaskRef,
    TaskRelease,
    TaskSuspend,
)
from resonate_web.protocol.requests import PromiseRegisterCallback as Callback
from resonate_web.server.server import Server
from resonate_web.store.base import Change, Store
from resonate_web.testing.clock import VirtualClock
from resonate_web.testing.turns import SimTurns

FAR = 10**15
GROUP = {"resonate:target": "poll://any@default"}
EXTERNAL = {"resonate:external": "true"}
Make = Callable[[], Server]


def create(id: str, tags: dict[str, str] = EXTERNAL) -> PromiseCreate:
    return PromiseCreate(id=id, timeout_at=FAR, tags=tags)


def settle(id: str, value: str | None = None) -> PromiseSettle:
    return PromiseSettle(id=id, state=PromiseState.RESOLVED, value=Value(data=value))


def take(id: str, pid: str = "p", ttl: int = 15_000) -> TaskCreate:
    return TaskCreate(pid=pid, ttl=ttl, action=create(id, GROUP), preload="none")


def fence(task: str, action: PromiseCreate | PromiseSettle, version: int = 1) -> TaskFence:
    return TaskFence(id=task, version=version, action=action, preload="none")


def suspend(task: str, *awaited: str, version: int = 1) -> TaskSuspend:
    actions = tuple(Callback(awaited=a, awaiter=task) for a in awaited)
    return TaskSuspend(id=task, version=version, actions=actions, preload="none")


def statuses(answers: Sequence[Response]) -> list[int]:
    return [(answer.action or answer).status for answer in answers]


def test_a_group_is_applied_in_order(make_server: Make) -> None:
    """Later requests of a group see what earlier ones wrote; the answers come in order."""
    server = make_server()
    answers = server.submit(
        take("t"), fence("t", create("t:1")), fence("t", settle("t:1", "dg==")), PromiseGet(id="t:1")
    )
    assert statuses(answers) == [200, 200, 200, 200]
    found = answers[-1].promise
    assert found is not None
    assert (found.state, found.value.data) == (PromiseState.RESOLVED, "dg==")
    assert server.commits == 1


def test_a_fault_of_one_batch_costs_no_other(make_server: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that cannot even be applied is answered with its error and leaves no trace; the others are stored."""
    server = make_server()
    answers: dict[str, Any] = {}
    odd = cast(PromiseCreate, object())
    server.post([create("a")], lambda a: answers.update(a=a), lead=False)
    server.post([create("b"), odd], lambda a: answers.update(b=a), lead=False)
    server.post([create("c")], lambda a: answers.update(c=a), lead=True)
    _run(server)
    assert statuses(answers["a"]) == statuses(answers["c"]) == [200]
    assert isinstance(answers["b"], TypeError)
    assert statuses(server.read(PromiseGet(id="a"), PromiseGet(id="b"), PromiseGet(id="c"))) == [200, 404, 200]


def _run(server: Server) -> None:
    cast(SimTurns, server._turns).run_until_idle()


class Picky:
    """A store that refuses groups that write an id, as a value does that the database cannot hold."""

    def __init__(self, store: Store, refused: str, error: Exception) -> None:
        self.store, self.refused, self.error = store, refused, error
        self.groups: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    @contextmanager
    def transact(self) -> Iterator[Any]:
        picky = self

        class Wrapped:
            def __init__(self, inner: Any) -> None:
                self.load = inner.load
                self.inner = inner

            def apply(self, changes: Sequence[Change]) -> None:
                picky.groups.append(len(changes))
                if any(getattr(getattr(c.write, "record", None), "id", "") == picky.refused for c in changes):
                    raise picky.error
                self.inner.apply(changes)

        with self.store.transact() as transaction:
            yield Wrapped(transaction)


def test_a_poisoned_group_is_split_until_the_culprit_stands_alone(store: Store, clock: VirtualClock) -> None:
    """A group that the store refuses is tried batch by batch: only the culprit gets the error."""
    picky = Picky(store, "bad", StoreError("cannot be stored"))
    server = Server(cast(Store, picky), clock, SimTurns(clock), retry_interval_ms=5000)
    answers: dict[str, Any] = {}
    for id in ("a", "bad", "c"):
        server.post([create(id)], lambda a, id=id: answers.update({id: a}), lead=False)  # type: ignore[misc]
    _run(server)
    assert isinstance(answers.pop("bad"), StoreError)
    assert [statuses(a) for a in answers.values()] == [[200], [200]]
    assert picky.groups == [3, 1, 1, 1]


def test_a_store_that_is_away_answers_everybody_at_once(store: Store, clock: VirtualClock) -> None:
    """Unavailability is nobody's fault: the group is not split, everybody may try again."""
    picky = Picky(store, "a", StoreUnavailable("locked"))
    server = Server(cast(Store, picky), clock, SimTurns(clock), retry_interval_ms=5000)
    answers: list[Any] = []
    for id in ("a", "b"):
        server.post([create(id)], answers.append, lead=False)
    _run(server)
    assert [type(a) for a in answers] == [StoreUnavailable, StoreUnavailable]
    assert picky.groups == [2]


def test_rows_that_keep_changing_cost_only_their_own_batch(store: Store, clock: VirtualClock) -> None:
    """A conflict that does not go away is tried alone in the end, and then reported as unavailability."""
    picky = Picky(store, "a", StoreConflict("changed"))
    server = Server(cast(Store, picky), clock, SimTurns(clock), retry_interval_ms=5000)
    answers: dict[str, Any] = {}
    for id in ("a", "b"):
        server.post([create(id)], lambda a, id=id: answers.update({id: a}), lead=False)  # type: ignore[misc]
    _run(server)
    assert isinstance(answers["a"], StoreUnavailable)
    assert statuses(answers["b"]) == [200]


def test_a_listener_that_fails_costs_nobody_an_answer(make_server: Make) -> None:
    """What is called with the answers may raise; every other batch of the group still hears of its own."""
    server = make_server()
    heard: list[str] = []

    def broken(answers: Any) -> None:
        raise RuntimeError("a bug in a callback")

    server.post([create("a")], broken, lead=False)
    server.post([create("b")], lambda a: heard.append("b"), lead=False)
    _run(server)
    assert heard == ["b"]
    assert statuses(server.submit(create("c"))) == [200]


# Caches


def test_a_stale_cache_is_redone(make_server: Make) -> None:
    """Two servers over one store: what one has cached and the other has changed is read again, never believed."""
    one, two = make_server(), make_server()
    one.submit(take("t"), fence("t", create("t:1")), fence("t", create("t:2")))
    assert statuses(two.submit(settle("t:1", "dHdv"))) == [200]
    answers = one.submit(fence("t", settle("t:1", "b25l")), fence("t", settle("t:2", "b25l")))
    first, second = (a.action.promise for a in answers if a.action is not None)
    assert first is not None
    assert second is not None
    assert (first.value.data, second.value.data) == ("dHdv", "b25l")


def test_a_presumed_absence_is_checked(make_server: Make) -> None:
    """A row that another server created first is found, not overwritten."""
    one, two = make_server(), make_server()
    one.submit(take("t"))
    two.submit(create("x"), settle("x", "dHdv"))
    found = one.submit(create("x"))[0].promise
    assert found is not None
    assert (found.state, found.value.data) == (PromiseState.RESOLVED, "dHdv")
    assert statuses(one.submit(fence("t", create("x")))) == [200]


def test_a_lost_lease_cannot_write(make_server: Make, clock: VirtualClock) -> None:
    """After another server took the task over, nothing of the first one's writes is stored, cached rows or not."""
    one, two = make_server(), make_server()
    one.submit(take("t", "one"), fence("t", create("t:1")))
    clock.advance(20_000)
    two.post_each([Expire(id="t")], lambda: None)
    assert statuses(two.submit(TaskAcquire(id="t", version=1, pid="two", ttl=15_000, preload="none"))) == [200]
    late: list[Request] = [
        fence("t", create("t:2")), fence("t", settle("t:1")), suspend("t", "t:1"), TaskRelease(id="t", version=1),
        TaskFulfill(id="t", version=1, action=settle("t")),
    ]  # fmt: skip
    assert [a.status for a in one.submit(*late)] == [409] * 5
    assert one.submit(TaskHeartbeat(pid="one", tasks=(TaskRef(id="t", version=1),)))[0].tasks == ()
    rows = one.store.read(Keys(ids=frozenset({"t", "t:1", "t:2"})))
    assert rows.promises["t:1"][0].record.state is PromiseState.PENDING
    assert "t:2" not in rows.promises
    assert rows.tasks["t"][0].pid == "two"
    assert statuses(two.submit(fence("t", settle("t:1"), version=2))) == [200]


def test_a_fence_is_part_of_the_write(make_server: Make) -> None:
    """A takeover between a server's look at its cache and its write is noticed by the store."""
    one, two = make_server(), make_server()
    one.submit(take("t", "one"))
    two.submit(TaskRelease(id="t", version=1))
    two.submit(TaskAcquire(id="t", version=1, pid="two", ttl=15_000, preload="none"))
    assert one._cache.tasks["t"][0].version == 1, "the test needs a stale row"
    assert [a.status for a in one.submit(fence("t", create("t:1")))] == [409]
    assert statuses(one.read(PromiseGet(id="t:1"))) == [404]


def test_reads_are_never_answered_from_stale_rows(make_server: Make) -> None:
    """A submitted get of a cached row looks at the store."""
    one, two = make_server(), make_server()
    one.submit(take("t"), fence("t", create("t:1")))
    two.submit(settle("t:1"))
    for answer in (one.submit(PromiseGet(id="t:1"))[0], one.read(PromiseGet(id="t:1"))[0]):
        assert answer.promise is not None
        assert answer.promise.state is PromiseState.RESOLVED


# What a commit makes due here is done in the same commit


class Hand:
    """A worker that takes whatever is offered and remembers in which order it heard of things."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.room = True

    def targets(self) -> Sequence[str]:
        return ("poll://any@default", "poll://uni@default/h")

    def addresses(self) -> Sequence[str]:
        return ("poll://uni@default/h",)

    def reserve(self, task: TaskRow, now: int) -> Reservation | None:
        return Reservation(pid="h", ttl=15_000, preload="owned") if self.room else None

    def deliver(self, acquired: Acquired) -> None:
        self.log.append(f"took {acquired.task.id} at {acquired.task.version}")

    def forgo(self, task_id: str) -> None:
        self.log.append(f"forwent {task_id}")

    def unblock(self, promise: Promise) -> None:
        self.log.append(f"heard of {promise.id}")

    def ended(self, id: str) -> None:
        self.log.append(f"lost {id}")


def _with_hand(make_server: Make) -> tuple[Server, Hand]:
    server, hand = make_server(), Hand()
    server.worker = hand
    return server, hand


def test_a_created_run_is_taken_in_the_same_commit(make_server: Make) -> None:
    """Start and acquire are one write."""
    server, hand = _with_hand(make_server)
    server.submit(create("t", GROUP))
    assert hand.log == ["took t at 1"]
    assert server.commits == 1


def test_a_suspension_and_its_wake_in_one_group_are_told_in_order(make_server: Make) -> None:
    """A run that suspends and is woken in one group hears first of its suspension, then of its new version."""
    server, hand = _with_hand(make_server)
    server.submit(create("t", GROUP), create("p"))
    server.post([suspend("t", "p")], lambda a: hand.log.append(f"suspended {a[0].status}"), lead=False)  # type: ignore[index]
    server.post([settle("p")], lambda a: None, lead=False)
    _run(server)
    assert hand.log == ["took t at 1", "suspended 200", "took t at 2"]
    assert server.commits == 2


def test_cancel_reaches_children_of_the_same_group(make_server: Make) -> None:
    """A child that was born in the group that cancels its parent is canceled too, its detached sibling is not."""
    server, hand = _with_hand(make_server)
    server.submit(create("t", GROUP))
    detached = {**GROUP, "resonate_web:detached": "true"}
    cancel = PromiseSettle(id="t", state=PromiseState.CANCELED)
    server.post([fence("t", create("t:1", GROUP)), fence("t", create("t:2", detached))], lambda a: None, lead=False)
    server.post([cancel], lambda a: None, lead=False)
    _run(server)
    rows = server.store.read(Keys(ids=frozenset({"t", "t:1", "t:2"})))
    states = {id: row.record.state for id, (row, _) in rows.promises.items()}
    assert states == {"t": PromiseState.CANCELED, "t:1": PromiseState.CANCELED, "t:2": PromiseState.PENDING}
    assert rows.tasks["t:1"][0].state is TaskState.FULFILLED
    assert "lost t" in hand.log


def test_cancel_reaches_every_generation(make_server: Make) -> None:
    """Canceling a run cancels its children and theirs, in one commit."""
    server, _ = _with_hand(make_server)
    server.submit(create("t", GROUP))
    server.submit(fence("t", create("t:1", GROUP)))
    server.submit(fence("t:1", create("t:1.1", GROUP)), fence("t:1", create("t:1.2")))
    before = server.commits
    server.submit(PromiseSettle(id="t", state=PromiseState.CANCELED))
    assert server.commits == before + 1
    found = server.read(*(PromiseGet(id=id) for id in ("t", "t:1", "t:1.1", "t:1.2")))
    assert {a.promise.state for a in found if a.promise is not None} == {PromiseState.CANCELED}
    assert statuses(server.submit(Cascade(id="t"))) == [200]  # type: ignore[arg-type]


def test_news_for_this_process_is_told_at_once_and_leaves_no_message(make_server: Make) -> None:
    """A listener of this process hears of the settlement after the commit; nothing stays in the outbox."""
    server, hand = _with_hand(make_server)
    server.submit(create("p"), PromiseRegisterListener(awaited="p", address="poll://uni@default/h"))
    server.submit(settle("p"))
    assert hand.log == ["heard of p"]
    assert server.store.messages(("poll://uni@default",), 10) == []


def test_no_room_leaves_the_task_for_others(make_server: Make) -> None:
    """A worker without room takes nothing; the task stays pending and is offered again."""
    server, hand = _with_hand(make_server)
    hand.room = False
    server.submit(create("t", GROUP))
    task = server.submit(TaskGet(id="t"))[0].task
    assert task is not None
    assert (task.state, hand.log) == (TaskState.PENDING, [])


def test_a_failed_group_gives_its_reservations_back(store: Store, clock: VirtualClock) -> None:
    """Room that was reserved for a group which was not stored is free again."""
    picky = Picky(store, "t", StoreUnavailable("locked"))
    server = Server(cast(Store, picky), clock, SimTurns(clock), retry_interval_ms=5000)
    hand = server.worker = Hand()
    server.post([create("t", GROUP)], lambda a: None, lead=True)
    assert hand.log == ["forwent t"]


def test_watchers_are_told_once(make_server: Make) -> None:
    """Who watches a promise hears of its settlement once; who has left hears nothing."""
    server = make_server()
    heard: list[str] = []
    server.submit(create("p"))
    server.watch("p", lambda p: heard.append("one"))
    gone = lambda p: heard.append("gone")  # noqa: E731
    server.watch("p", gone)
    server.unwatch("p", gone)
    server.submit(settle("p"))
    server.submit(settle("p"))
    assert heard == ["one"]
    assert server.watched() == []


def test_small_corrections_of_the_clock_do_not_turn_time_back(make_server: Make, clock: VirtualClock) -> None:
    """A clock that a time server corrects by seconds does not make the server's time run backwards."""
    server = make_server()
    before = server.now()
    clock.step(-5000)
    assert server.now() == before
    clock.advance(6000)
    assert server.now() == before + 1000
