"""Schedules: their operations, their calendar and what they create (R7)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from resonate_web.clock import FOREVER
from resonate_web.machine.checks import Refused
from resonate_web.machine.cron import next_after
from resonate_web.machine.schedules import firing
from resonate_web.machine.steps import Fire
from resonate_web.protocol.records import EMPTY, PromiseState, Schedule, TaskState, Value
from resonate_web.protocol.requests import PromiseCreate, ScheduleCreate, ScheduleDelete, ScheduleGet
from resonate_web.testing.world import World

MINUTE = 60_000
TARGET = {"resonate:target": "poll://any@g"}


def make(world: World, *, cron: str = "* * * * *", tags: dict[str, str] | None = None, timeout: int = 500) -> Schedule:
    """Create the schedule `s` at instant 1."""
    request = ScheduleCreate(
        id="s",
        cron=cron,
        promise_id="{{.id}}-{{.timestamp}}",
        promise_timeout=timeout,
        promise_param=Value(data="e30="),
        promise_tags=tags or {},
    )
    schedule = world.submit(request, 1).schedule
    assert schedule is not None
    return schedule


def fire(world: World, now: int, limit: int = 100) -> None:
    """Plan and fire `s`."""
    step = firing(world.schedules["s"], now, limit)
    if step is not None:
        world.submit(step, now)


def test_create_get_delete(world: World) -> None:
    """Create is idempotent by id, delete leaves nothing."""
    schedule = make(world)
    assert (schedule.created_at, schedule.next_run_at, schedule.last_run_at) == (1, MINUTE, None)
    assert make(world, cron="0 0 * * *") == schedule
    assert world.submit(ScheduleGet(id="s"), 5).schedule == schedule
    assert [world.submit(ScheduleDelete(id="s"), 5).status for _ in range(2)] == [200, 404]
    assert world.submit(ScheduleGet(id="s"), 5).status == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"promise_id": ""},
        {"promise_timeout": -1},
        {"promise_timeout": 2**63},
        {"cron": "x"},
        {"cron": ""},
        {"cron": "* * * *"},
        {"cron": "0 0 30 2 *"},
        {"promise_tags": {**TARGET, "resonate:timer": "true"}},
        {"promise_tags": {"resonate:delay": "1"}},
    ],
)
def test_a_malformed_schedule_is_400(wrong: dict[str, object], world: World) -> None:
    """Nothing is stored, whether or not the id exists."""
    fields: dict[str, object] = {"id": "s", "cron": "* * * * *", "promise_id": "x", "promise_timeout": 1}
    assert world.submit(ScheduleCreate(**{**fields, **wrong}), 1).status == 400  # type: ignore[arg-type]
    assert not world.schedules


@pytest.mark.parametrize("request_", [ScheduleGet(id=""), ScheduleDelete(id="\0")])
def test_an_impossible_id_is_400(request_: ScheduleGet, world: World) -> None:
    """No store could hold it."""
    assert world.submit(request_, 1).status == 400


def test_each_occurrence_yields_its_promise_at_its_own_instant(world: World) -> None:
    """V6: catching up creates all in order, none born dead."""
    make(world)
    fire(world, 3 * MINUTE)
    ids = [f"s-{minute * MINUTE}" for minute in (1, 2, 3)]
    assert list(world.promises) == ids
    records = [world.promises[id].record for id in ids]
    assert [record.created_at for record in records] == [MINUTE, 2 * MINUTE, 3 * MINUTE]
    assert [record.timeout_at for record in records] == [at * MINUTE + 500 for at in (1, 2, 3)]
    assert {record.state for record in records} == {PromiseState.PENDING}
    assert records[0].param == Value(data="e30=")
    schedule = world.schedules["s"].record
    assert (schedule.last_run_at, schedule.next_run_at) == (3 * MINUTE, 4 * MINUTE)


def test_a_long_catch_up_is_cut_and_never_skips(world: World) -> None:
    """At most `limit` occurrences per firing; the next firing goes on where it stopped."""
    make(world)
    fire(world, 5 * MINUTE, limit=2)
    assert len(world.promises) == 2
    fire(world, 5 * MINUTE, limit=2)
    fire(world, 5 * MINUTE, limit=2)
    assert list(world.promises) == [f"s-{minute * MINUTE}" for minute in range(1, 6)]
    assert firing(world.schedules["s"], 5 * MINUTE) is None


def test_an_occurrence_that_was_not_planned_waits(world: World) -> None:
    """The step re-checks its plan against the stored row."""
    make(world)
    for ids in ((), ("other",), (f"s-{2 * MINUTE}",)):
        assert not world.decide(Fire(id="s", ids=ids), 2 * MINUTE).writes
    world.submit(Fire(id="s", ids=(f"s-{MINUTE}",)), 2 * MINUTE)
    assert list(world.promises) == [f"s-{MINUTE}"]
    assert world.submit(Fire(id="no"), 2 * MINUTE).status == 404
    assert not world.decide(Fire(id="s", ids=(f"s-{2 * MINUTE}",)), MINUTE).writes


def test_an_existing_promise_is_left_alone(world: World) -> None:
    """A template may collide; the calendar moves on all the same."""
    make(world)
    world.submit(PromiseCreate(id=f"s-{MINUTE}", timeout_at=7), 1)
    fire(world, MINUTE)
    assert world.promises[f"s-{MINUTE}"].record.timeout_at == 7
    assert world.schedules["s"].record.last_run_at == MINUTE


def test_one_id_for_every_occurrence_makes_one_promise(world: World) -> None:
    """A template without timestamp names one promise."""
    request = ScheduleCreate(id="s", cron="* * * * *", promise_id="once", promise_timeout=1)
    world.submit(request, 1)
    fire(world, 3 * MINUTE)
    assert list(world.promises) == ["once"]
    assert world.promises["once"].record.created_at == MINUTE
    assert world.schedules["s"].record.last_run_at == 3 * MINUTE


def test_a_target_makes_the_fired_promise_a_run_of_its_own(world: World) -> None:
    """It is stamped with its schedule and is its own origin; the task is due at the occurrence."""
    make(world, tags={**TARGET, "k": "v"})
    fire(world, 2 * MINUTE)
    id = f"s-{MINUTE}"
    lineage = {f"resonate:{name}": id for name in ("origin", "branch", "parent")}
    assert world.promises[id].record.tags == {**TARGET, "k": "v", **lineage, "resonate:schedule": "s"}
    assert (world.tasks[id].state, world.tasks[id].retry_at) == (TaskState.PENDING, MINUTE)


def test_without_target_only_the_schedule_is_stamped(world: World) -> None:
    """A promise nobody executes has no lineage."""
    make(world, tags={"k": "v"})
    fire(world, MINUTE)
    assert world.promises[f"s-{MINUTE}"].record.tags == {"k": "v", "resonate:schedule": "s"}
    assert not world.tasks


def test_a_timeout_of_zero_is_born_dead(world: World) -> None:
    """The occurrence and its deadline are one instant."""
    make(world, timeout=0)
    fire(world, MINUTE)
    record = world.promises[f"s-{MINUTE}"].record
    assert (record.state, record.created_at, record.value) == (PromiseState.TIMEDOUT, MINUTE, EMPTY)


def test_a_calendar_that_ends_leaves_an_idle_schedule() -> None:
    """After the last day that dates can name, the schedule stays and never fires."""
    world = World()
    end = int(datetime(9999, 12, 31, 23, 59, tzinfo=UTC).timestamp() * 1000)
    world.submit(ScheduleCreate(id="s", cron="* * * * *", promise_id="x", promise_timeout=1), end - MINUTE)
    fire(world, end)
    assert world.schedules["s"].record.next_run_at == end + FOREVER


def at(text: str) -> int:
    """Return the instant (ms) of an ISO text in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("cron", "instant", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:00", "2026-01-01T00:01:00"),
        ("* * * * *", "2026-01-01T00:00:59.999", "2026-01-01T00:01:00"),
        ("*/10 * * * * *", "2026-01-01T00:00:05", "2026-01-01T00:00:10"),
        ("0 9 * * 1", "2026-01-01T00:00:00", "2026-01-05T09:00:00"),
        ("0 9 * * MON", "2026-01-01T00:00:00", "2026-01-05T09:00:00"),
        ("0 0 * * 0", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("0 0 * * 7", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("0 0 13 * FRI", "2026-01-10T00:00:00", "2026-01-13T00:00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 L * *", "2026-02-01T00:00:00", "2026-02-28T00:00:00"),
    ],
)
def test_next_occurrence(cron: str, instant: str, expected: str) -> None:
    """POSIX fields in UTC: the occurrence is strictly later, days of month and week are ORed."""
    assert next_after(cron, at(instant)) == at(expected)


@pytest.mark.parametrize("cron", ["", "@daily", "60 * * * *", "* * * * 8", "* * * * * * *", "0 0 31 2 *", "a b c d e"])
def test_a_bad_expression_is_refused(cron: str) -> None:
    """The refusal names the expression."""
    with pytest.raises(Refused, match="bad cron expression"):
        next_after(cron, 0)
