"""Followers of runs: told of every recorded change, of this process and of others, and forgotten when they leave."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from resonate_web.errors import StoreUnavailable
from resonate_web.protocol.records import PromiseState
from resonate_web.protocol.requests import (
    PromiseCreate,
    PromiseRegisterCallback,
    PromiseSettle,
    Request,
    TaskAcquire,
    TaskCreate,
    TaskFence,
    TaskHalt,
    TaskSuspend,
)
from resonate_web.server.lineage import above, below, first_try
from resonate_web.server.pump import Pump
from resonate_web.server.server import Server
from resonate_web.store.base import Store
from resonate_web.testing.clock import VirtualClock
from resonate_web.testing.turns import SimTurns, Table

FAR = 10**15
GROUP = {"resonate:target": "poll://any@default"}
EXTERNAL = {"resonate:external": "true"}
Make = Callable[[], Server]


def create(id: str, tags: dict[str, str] = EXTERNAL) -> PromiseCreate:
    return PromiseCreate(id=id, timeout_at=FAR, tags=tags)


def take(id: str) -> TaskCreate:
    return TaskCreate(pid="p", ttl=15_000, action=create(id, GROUP), preload="none")


def fenced(task: str, action: PromiseCreate | PromiseSettle) -> TaskFence:
    return TaskFence(id=task, version=1, action=action, preload="none")


def settle(id: str) -> PromiseSettle:
    return PromiseSettle(id=id, state=PromiseState.RESOLVED)


def suspend(task: str, awaited: str) -> TaskSuspend:
    callback = PromiseRegisterCallback(awaited=awaited, awaiter=task)
    return TaskSuspend(id=task, version=1, actions=(callback,), preload="none")


LIFE: tuple[Request, ...] = (
    take("order/42"),
    fenced("order/42", create("order/42:1")),
    suspend("order/42", "order/42:1"),
    settle("order/42:1"),
    TaskAcquire(id="order/42", version=1, pid="q", ttl=15_000, preload="none"),
    TaskHalt(id="order/42"),
    create("order/42:d1f", {**GROUP, "resonate_web:detached": "true"}),
    settle("order/42"),
    take("order/42~2"),
    fenced("order/42~2", create("order/42~2:1")),
)
"""A run as it is recorded, commit by commit."""


def test_a_follower_hears_of_every_commit_of_the_run(make_server: Make) -> None:
    """Children, task changes, settlements, detached runs and later tries; not of other runs, nor after it left."""
    server = make_server()
    heard: list[str] = []
    follower = lambda: heard.append("x")  # noqa: E731
    server.follow("order/42", follower)
    for number, request in enumerate(LIFE, 1):
        answer = server.submit(request)[0]
        assert (answer.action or answer).status in (200, 201), request
        assert len(heard) == number, request
    server.submit(take("order/421"), create("order/4"), create("order"))
    server.submit(settle("order/42"))
    assert len(heard) == len(LIFE)
    server.unfollow("order/42", follower)
    server.submit(create("order/42:@x"))
    assert len(heard) == len(LIFE)
    assert not server.followers


def test_a_group_tells_each_follower_once(make_server: Make) -> None:
    """Several rows of a run in one commit are one piece of news; a child's id follows the same run."""
    server = make_server()
    heard: list[str] = []
    for id in ("r", "r:7.1", "r~3", "other"):
        server.follow(id, partial(heard.append, id))
    server.submit(take("r"), fenced("r", create("r:1")), fenced("r", create("r:2")))
    assert sorted(heard) == ["r", "r:7.1", "r~3"]


def test_a_follower_that_raises_costs_nobody_else_the_news(make_server: Make, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, the commit is answered, and the others hear."""
    server = make_server()
    heard: list[str] = []

    def broken() -> None:
        raise KeyError("broken")

    server.follow("r", broken)
    server.follow("r", lambda: heard.append("r"))
    assert server.submit(take("r"))[0].status == 200
    assert heard == ["r"]
    assert "could not be told" in caplog.text


class Faulty:
    """A store whose list of due steps fails as often as it is told."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.faults = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def due(self, *arguments: object) -> object:
        if self.faults:
            self.faults -= 1
            raise StoreUnavailable("as the test asked for")
        return self._store.due(*arguments)  # type: ignore[arg-type]


@pytest.fixture
def polled(store: Store, clock: VirtualClock) -> tuple[Server, Table, Faulty]:
    """Return the server of a process with a pump, its turns, and its way to the store."""
    table, faulty = Table(clock, 0), Faulty(store)
    turns = SimTurns(clock, name="polled", table=table)
    server = Server(faulty, clock, turns, retry_interval_ms=5000)  # type: ignore[arg-type]
    Pump(server, turns.lane("pump"), clock, poll_ms=500, renew_ms=5000).start()
    table.run_until_idle()
    return server, table, faulty


def test_what_another_process_records_is_heard_of(make_server: Make, polled: tuple[Server, Table, Faulty]) -> None:
    """The pump notices each change of the run within its interval, and tells nobody about other runs."""
    (server, table, _), other = polled, make_server()
    heard: list[str] = []
    server.follow("order/42", lambda: heard.append("x"))
    for number, request in enumerate(LIFE, 1):
        other.submit(request)
        table.pass_time(500)
        assert len(heard) == number, request
    other.submit(take("another"))
    table.pass_time(2000)
    assert len(heard) == len(LIFE)


def test_a_change_between_two_polls_is_not_lost(make_server: Make, polled: tuple[Server, Table, Faulty]) -> None:
    """Who follows anew after each piece of news hears of what was recorded meanwhile, by the next poll."""
    (server, table, _), other = polled, make_server()
    heard: list[str] = []

    def once() -> None:
        heard.append("x")
        server.unfollow("r", once)

    server.follow("r", once)
    other.submit(take("r"))
    table.pass_time(500)
    server.follow("r", once)
    table.pass_time(2000)
    assert heard == ["x"]
    other.submit(fenced("r", create("r:1")))
    table.pass_time(500)
    assert heard == ["x", "x"]


def test_news_survive_a_store_that_was_away(make_server: Make, polled: tuple[Server, Table, Faulty]) -> None:
    """A poll that failed half way looks again, although nothing more was written."""
    (server, table, faulty), other = polled, make_server()
    heard: list[str] = []
    server.follow("r", lambda: heard.append("x"))
    faulty.faults = 1
    other.submit(take("r"))
    table.pass_time(500)
    assert heard == []
    table.pass_time(500)
    assert heard == ["x"]


def test_ids_tell_who_belongs_together() -> None:
    """Tries and children have one first try; borders in a root's own name separate nothing."""
    assert {first_try(id) for id in ("a/b", "a/b~2", "a/b:1.2", "a/b~12:@x")} == {"a/b"}
    assert [first_try(id) for id in ("~key/1", "~key/1:2", "a~b", "a.b@c")] == ["~key/1", "~key/1", "a~b", "a.b@c"]
    assert below("a.b") == (("a.b:", "a.b;"), ("a.b~", "a.b\x7f"))
    assert below("a:1") == (("a:1.", "a:1/"), ("a:1@", "a:1A"))
    assert above("a.b@c") == []
    assert above("a.b~3") == ["a.b"]
    assert above("a.b~2:1.@x@y") == ["a.b", "a.b~2", "a.b~2:1", "a.b~2:1.", "a.b~2:1.@x"]
