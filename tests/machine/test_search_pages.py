"""The pure half of searches: limits, projection and cursors."""

from __future__ import annotations

import pytest

from resonate_web.machine import search
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.protocol.requests import PromiseSearch, ScheduleCreate, ScheduleSearch, TaskSearch
from resonate_web.testing.scenarios import EXTERNAL, TARGET, create
from resonate_web.testing.world import World


@pytest.mark.parametrize("limit", [0, -1, 1001])
@pytest.mark.parametrize("kind", [PromiseSearch, TaskSearch, ScheduleSearch])
def test_a_limit_out_of_range_is_400(limit: int, kind: type[PromiseSearch]) -> None:
    """One to a thousand."""
    refusal = search.refusal(kind(limit=limit))
    assert refusal is not None
    assert refusal.status == 400


def test_the_ends_of_the_range_and_a_cursor_are_fine() -> None:
    """An empty cursor is no cursor of ours."""
    assert search.refusal(PromiseSearch(limit=1, cursor="x")) is None
    assert search.refusal(TaskSearch(limit=1000)) is None
    refusal = search.refusal(ScheduleSearch(cursor=""))
    assert refusal is not None
    assert refusal.status == 400


def test_promises_are_served_and_filtered_as_seen(world: World) -> None:
    """C8: a passed deadline counts although it is stored as pending."""
    create(world, "a", EXTERNAL, timeout_at=2000)
    create(world, "b", EXTERNAL)
    rows = list(world.promises.values())
    page = search.promises(PromiseSearch(), rows, 2000)
    assert [promise.state for promise in page.promises] == [PromiseState.TIMEDOUT, PromiseState.PENDING]
    for state, ids in ((PromiseState.TIMEDOUT, ["a"]), (PromiseState.PENDING, ["b"])):
        assert [promise.id for promise in search.promises(PromiseSearch(state=state), rows, 2000).promises] == ids


def test_tasks_are_served_and_filtered_as_seen(world: World) -> None:
    """A dead promise's task is fulfilled."""
    create(world, "a", TARGET, timeout_at=2000)
    create(world, "b", TARGET)
    rows = [(world.tasks[id], world.promises[id]) for id in ("a", "b")]
    states = [task.state for task in search.tasks(TaskSearch(), rows, 2000).tasks]
    assert states == [TaskState.FULFILLED, TaskState.PENDING]
    assert [task.id for task in search.tasks(TaskSearch(state=TaskState.PENDING), rows, 2000).tasks] == ["b"]


def test_a_cursor_says_that_there_is_more(world: World) -> None:
    """T16: it is the last id of a full page, absent on the last one."""
    for id in ("a", "b", "c"):
        create(world, id, {})
        world.submit(ScheduleCreate(id=id, cron="* * * * *", promise_id="x", promise_timeout=1), 1)
    rows, schedules = list(world.promises.values()), list(world.schedules.values())
    page = search.promises(PromiseSearch(limit=2), rows, 2000)
    assert ([promise.id for promise in page.promises], page.cursor) == (["a", "b"], "b")
    assert search.promises(PromiseSearch(limit=3), rows, 2000).cursor is None
    listed = search.schedules(ScheduleSearch(limit=1), schedules[:2])
    assert ([schedule.id for schedule in listed.schedules], listed.cursor) == (["a"], "a")
    assert search.schedules(ScheduleSearch(), []).cursor is None
