"""Races and joins: the winner is a record, losers are canceled, and waiting for many costs one wait each."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from resonate_web.errors import Canceled
from resonate_web.protocol.records import PromiseState, Value
from resonate_web.protocol.requests import (
    PromiseCreate,
    PromiseRegisterListener,
    PromiseSettle,
    TaskAcquire,
    TaskFence,
    TaskRelease,
    TaskSuspend,
)
from resonate_web.testing.rehearsal import Crash, Rehearsal
from resonate_web.workflow.codec import to_data
from resonate_web.workflow.commands import Winner
from resonate_web.workflow.context import Context


def step(n: int) -> int:
    return n


def child(ctx: Context, n: int) -> Any:
    yield ctx.sleep(n)
    return n


def racing(ctx: Context) -> Any:
    one, two = (yield ctx.promise("one")), (yield ctx.promise("two"))
    winner = yield ctx.race(one, two)
    yield ctx.run(step, winner.position)
    return list(winner)


def _rehearsal(*fns: Any, **options: Any) -> Rehearsal:
    rehearsal = Rehearsal(**options)
    for fn in (child, racing, *fns):
        rehearsal.registry.add(fn)
    return rehearsal


@pytest.mark.parametrize("round", range(100))
def test_both_settled_at_restart_is_the_same_winner(round: int) -> None:
    """However often a decided race is replayed, and whatever was settled meanwhile, its winner stays."""
    dice = Random(round)
    rehearsal = _rehearsal()
    rehearsal.begin("r", racing)
    rehearsal.proceed()
    first, second = dice.sample([("r:@one", "a"), ("r:@two", "b")], 2)
    rehearsal.settle(*first)
    if dice.random() < 0.5:
        rehearsal.settle(*second)
    rehearsal.groups_left = dice.choice([1, 2, 3])  # the race's record, and what comes after it
    crashed: Any = None
    try:
        crashed = rehearsal.finish("r")
    except Crash:
        rehearsal.groups_left = None
    decided = rehearsal.machine.promises["r:1"].record
    for id, value in (first, second):
        rehearsal.settle(id, value)
    found = rehearsal.finish("r")
    assert found[0] == rehearsal.codec.decode(decided.value)
    assert found[1] == "ab"[found[0]]
    assert crashed in (None, found)


def test_the_first_by_position_wins_a_tie() -> None:
    """Members that are settled when the race begins are compared by position."""

    def workflow(ctx: Context) -> Any:
        futures = []
        for n in range(3):
            futures.append((yield ctx.begin_rpc(child, 3 - n)))
        yield ctx.sleep(10)
        return list((yield ctx.race(futures)))

    assert _rehearsal(workflow).run("r", workflow) == [0, 3]


def test_losers_are_canceled_with_the_record() -> None:
    """The group that stores the winner cancels every loser; on replay they raise Canceled."""

    def inner(ctx: Context) -> Any:
        yield ctx.run(step, 1)
        yield ctx.sleep(50)

    def workflow(ctx: Context) -> Any:
        futures = [
            (yield ctx.begin_rpc(child, 50)),
            (yield ctx.begin_run(inner)),
            (yield ctx.promise("p")),
        ]
        winner = yield ctx.race(*futures, ctx.sleep(1))
        yield ctx.sleep(1)
        found = []
        for future in futures:
            try:
                yield future
            except Canceled:
                found.append("canceled")
        return [winner.position, *found]

    rehearsal = _rehearsal(inner, workflow)
    assert rehearsal.run("r", workflow) == [3, "canceled", "canceled", "canceled"]
    record = next(i for i, r in enumerate(rehearsal.sent) if isinstance(r, TaskFence) and r.action.id == "r:4")
    after = [r.action for r in rehearsal.sent[record:] if isinstance(r, TaskFence)]
    canceled = [a.id for a in after if isinstance(a, PromiseSettle) and a.state is PromiseState.CANCELED]
    assert {"r:1", "r:2", "r:@p", "r:2.2"} <= set(canceled)


def test_a_detached_loser_lives_on() -> None:
    """A race does not cancel a detached run that lost."""

    def workflow(ctx: Context) -> Any:
        detached = yield ctx.detached(child, 50)
        winner = yield ctx.race(detached, ctx.sleep(1))
        return winner.position

    rehearsal = _rehearsal(workflow)
    assert rehearsal.run("r", workflow) == 1
    while rehearsal.proceed():
        pass
    assert {row.record.state for row in rehearsal.machine.promises.values()} == {PromiseState.RESOLVED}


def test_a_losing_step_is_stored_as_canceled() -> None:
    """A local step that lost never had a row; it gets one, so that no replay starts it again."""

    def workflow(ctx: Context) -> Any:
        winner = yield ctx.race(ctx.run(step, 1), ctx.run(step, 2))
        yield ctx.sleep(1)
        return list(winner)

    rehearsal = _rehearsal(workflow)
    assert rehearsal.run("r", workflow) == [0, 1]
    assert rehearsal.promise("r:2").state is PromiseState.CANCELED
    assert rehearsal.bodies == ["r:1"]


def test_a_winner_that_failed_raises() -> None:
    """The first to end decides, also by failing; the loser is canceled all the same."""

    def fail() -> None:
        raise TypeError("first")

    def workflow(ctx: Context) -> Any:
        try:
            yield ctx.race(ctx.sleep(5), ctx.run(fail))
        except TypeError as error:
            return str(error)

    rehearsal = _rehearsal(workflow)
    start = rehearsal.now
    assert rehearsal.run("r", workflow) == "first"
    assert rehearsal.now == start


def test_a_race_decided_but_not_cleaned_up_is_cleaned_up_by_the_replay() -> None:
    """When only the winner's record was stored, the replay cancels the losers and starts none of them."""

    def workflow(ctx: Context) -> Any:
        winner = yield ctx.race(ctx.rpc(child, 100), ctx.sleep(1), ctx.run(step, 9))
        yield ctx.run(step, 7)
        return winner.position

    rehearsal = _rehearsal(workflow)
    rehearsal.begin("r", workflow)
    # What a store that applied only a prefix would hold: the members' rows and the winner.
    rehearsal.groups_left = 1
    with pytest.raises(Crash):
        rehearsal.proceed()
    rehearsal.groups_left = None
    rehearsal.now += 2000
    task = rehearsal.machine.tasks["r"]
    rehearsal.submit(TaskAcquire(id="r", version=task.version, pid="p", ttl=9999, preload="none"))
    marks = {"resonate:parent": "r", "resonate:branch": "r", "resonate:origin": "r", "resonate:scope": "local"}
    param = Value(data=to_data('{"func":"race","kind":"race"}'))
    for action in (
        PromiseCreate(id="r:4", timeout_at=rehearsal.now + 10**9, param=param, tags=marks),
        PromiseSettle(id="r:4", state=PromiseState.RESOLVED, value=Value(data=to_data("1"))),
    ):
        rehearsal.submit(TaskFence(id="r", version=task.version + 1, action=action, preload="none"))
    rehearsal.submit(TaskRelease(id="r", version=task.version + 1))
    assert rehearsal.finish("r") == 1
    assert rehearsal.bodies == ["r:5"]
    assert rehearsal.promise("r:1").state is PromiseState.CANCELED


@pytest.mark.parametrize("members", [10, 60])
def test_joins_are_linear(members: int) -> None:
    """`all` suspends on one member at a time, a race lists its own: callbacks never grow with the square."""

    def workflow(ctx: Context) -> Any:
        futures = []
        for n in range(members):
            futures.append((yield ctx.begin_rpc(child, n + 1)))
        return sum((yield ctx.all(futures)))

    rehearsal = _rehearsal(workflow, keep=True)
    assert rehearsal.run("r", workflow) == members * (members + 1) // 2
    waits = [r for r in rehearsal.sent if isinstance(r, TaskSuspend) and r.id == "r"]
    assert all(len(wait.actions) == 1 for wait in waits)
    assert len(waits) <= members


def test_a_race_suspends_on_all_of_its_members() -> None:
    """Any member may be the first, so the run waits for each of them."""

    def workflow(ctx: Context) -> Any:
        return (yield ctx.race(ctx.sleep(3), ctx.rpc(child, 1), (yield ctx.promise("p")))).position

    rehearsal = _rehearsal(workflow)
    assert rehearsal.run("r", workflow) == 1
    wait = next(r for r in rehearsal.sent if isinstance(r, TaskSuspend))
    assert {a.awaited for a in wait.actions} == {"r:1", "r:2", "r:@p"}


def test_while_a_step_runs_others_are_listened_to() -> None:
    """With a body in flight the run keeps its lease and asks to be told, once, of what it waits for."""

    def workflow(ctx: Context) -> Any:
        winner = yield ctx.race(ctx.run(step, 1), ctx.sleep(5))
        return list(winner)

    rehearsal = _rehearsal(workflow)
    assert rehearsal.run("r", workflow) == [0, 1]
    listens = [r for r in rehearsal.sent if isinstance(r, PromiseRegisterListener)]
    assert [r.awaited for r in listens] == ["r:2"]
    assert not any(isinstance(r, TaskSuspend) for r in rehearsal.sent)


def test_the_same_future_may_be_joined_twice() -> None:
    """A future is a value: it may stand in several joins, or twice in one."""

    def workflow(ctx: Context) -> Any:
        future = yield ctx.begin_rpc(child, 2)
        both = yield ctx.all(future, future)
        again = yield ctx.race(future, future)
        return [both, list(again), (yield future)]

    assert _rehearsal(workflow).run("r", workflow) == [[2, 2], list(Winner(0, 2)), 2]


def test_fan_out_is_buffered() -> None:
    """1,000 children are sent as few groups, not one by one."""

    def workflow(ctx: Context) -> Any:
        futures = []
        for _n in range(1000):
            futures.append((yield ctx.begin_rpc(child, 1)))
        return len((yield ctx.all(futures)))

    rehearsal = _rehearsal(workflow, groups_left=1)
    rehearsal.begin("r", workflow)
    with pytest.raises(Crash):
        rehearsal.proceed()
    assert len(rehearsal.sent) == 1001  # the creates and the suspension
