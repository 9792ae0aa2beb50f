"""The promise operations: what each answers and writes."""

from __future__ import annotations

import pytest

from resonate_web.machine.checks import LATEST
from resonate_web.machine.state import PromiseRow, TaskRow
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, TaskState, Value
from resonate_web.protocol.requests import (
    PromiseCreate,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSettle,
)
from resonate_web.testing.scenarios import EXTERNAL, TARGET, TIMER, create, hold, settle
from resonate_web.testing.world import World

PARAM = Value(data="e30=", headers={"a": "b"})


def test_get_answers_404_or_the_record(world: World) -> None:
    """An unknown id is 404."""
    assert world.submit(PromiseGet(id="x"), 1).status == 404
    created = create(world, "x", {}).promise
    assert world.submit(PromiseGet(id="x"), 2000).promise == created


def test_create_makes_a_pending_promise(world: World) -> None:
    """A promise without target has no task."""
    request = PromiseCreate(id="x", timeout_at=5000, param=PARAM, tags={"k": "v"})
    promise = world.submit(request, 1000).promise
    assert promise == Promise(
        id="x",
        state=PromiseState.PENDING,
        param=PARAM,
        value=EMPTY,
        tags={"k": "v"},
        timeout_at=5000,
        created_at=1000,
    )
    assert world.promises == {"x": PromiseRow(record=promise)}
    assert not world.tasks


def test_create_makes_a_task_for_a_target(world: World) -> None:
    """The task is pending, due now and at version 0."""
    create(world, "x", TARGET)
    expected = TaskRow(id="x", state=TaskState.PENDING, version=0, target="poll://any@g", retry_at=1000)
    assert world.tasks == {"x": expected}


def test_create_joins_whatever_has_the_id(world: World) -> None:
    """Param, tags and deadline of a repeated create are not compared."""
    first = create(world, "x", {}).promise
    second = world.submit(PromiseCreate(id="x", timeout_at=7, param=PARAM, tags=TARGET), 2000)
    assert (second.status, second.promise) == (200, first)
    assert not world.tasks


def test_a_task_born_dead_is_fulfilled(world: World) -> None:
    """A targeted promise past its deadline brings a fulfilled task."""
    create(world, "x", TARGET, timeout_at=1000)
    assert world.tasks["x"] == TaskRow(id="x", state=TaskState.FULFILLED, version=0, target="poll://any@g")


@pytest.mark.parametrize(
    "request_",
    [
        PromiseCreate(id="", timeout_at=1),
        PromiseCreate(id="a\0b", timeout_at=1),
        PromiseCreate(id="a\ud800", timeout_at=1),
        PromiseCreate(id="x", timeout_at=-1),
        PromiseCreate(id="x", timeout_at=LATEST + 1),
        PromiseCreate(id="x", timeout_at=9000, tags={**TARGET, **TIMER}),
        PromiseCreate(id="x", timeout_at=9000, tags={"resonate:delay": "5"}),
        PromiseCreate(id="x", timeout_at=9000, tags={**TARGET, "resonate:delay": "-5"}),
        PromiseCreate(id="x", timeout_at=9000, tags={**TARGET, "resonate:delay": "1.5"}),
        PromiseCreate(id="x", timeout_at=9000, tags={**TARGET, "resonate:delay": ""}),
        PromiseCreate(id="x", timeout_at=9000, tags={**TARGET, "resonate:delay": "\u0661"}),
        PromiseCreate(id="x", timeout_at=9000, tags={**TARGET, "resonate:delay": "1" * 20}),
        PromiseCreate(id="x", timeout_at=9000, tags={**TARGET, "resonate:delay": "9000"}),
        PromiseGet(id=""),
        PromiseGet(id="\0"),
        PromiseSettle(id="", state=PromiseState.RESOLVED),
        PromiseRegisterCallback(awaited="", awaiter="r"),
        PromiseRegisterCallback(awaited="x", awaiter=""),
        PromiseRegisterListener(awaited="", address="http://x"),
        PromiseRegisterListener(awaited="x", address="poll://group"),
        PromiseRegisterListener(awaited="x", address=""),
    ],
)
def test_a_malformed_request_is_400(request_: PromiseCreate, world: World) -> None:
    """A shape that must not be stored is refused with a reason."""
    response = world.submit(request_, 1000)
    assert response.status == 400
    assert response.error
    assert not world.promises


def test_an_id_may_be_any_text(world: World) -> None:
    """Letters of any script name a promise."""
    assert create(world, "заказ/42", {}).status == 200


@pytest.mark.parametrize("timeout_at", [0, LATEST])
def test_the_ends_of_time_are_allowed(timeout_at: int, world: World) -> None:
    """Deadlines from the epoch to the last storable instant are fine."""
    assert create(world, "x", {}, timeout_at=timeout_at).status == 200


@pytest.mark.parametrize("state", [PromiseState.RESOLVED, PromiseState.REJECTED, PromiseState.CANCELED])
def test_settle_records_the_verdict(state: PromiseState, world: World) -> None:
    """State, value and instant are written; obligations stay until their drain."""
    create(world, "x", EXTERNAL)
    world.submit(PromiseRegisterListener(awaited="x", address="http://x"), 1000)
    promise = world.submit(PromiseSettle(id="x", state=state, value=PARAM), 1500).promise
    assert promise is not None
    assert (promise.state, promise.value, promise.settled_at) == (state, PARAM, 1500)
    assert world.promises["x"].listeners == {"http://x"}


def test_settle_of_nothing_is_404(world: World) -> None:
    """An unknown id is 404."""
    assert settle(world, "x").status == 404


def test_a_late_settle_of_a_timer_finds_it_resolved(world: World) -> None:
    """The deadline resolves a timer without a value."""
    create(world, "t", TIMER, timeout_at=2000)
    promise = settle(world, "t", PromiseState.REJECTED, now=3000).promise
    assert promise is not None
    assert (promise.state, promise.value, promise.settled_at) == (PromiseState.RESOLVED, EMPTY, 2000)


@pytest.mark.parametrize(
    ("awaited", "awaiter", "status"),
    [
        ("r", "r", 400),
        ("no", "r", 404),
        ("no", "no too", 404),
        ("x", "no", 422),
        ("x", "y", 422),
        ("i", "r", 422),
        ("x", "r", 200),
    ],
)
def test_register_callback_statuses(awaited: str, awaiter: str, status: int, world: World) -> None:
    """400, 404 and the four cases of 422 in their order."""
    hold(world, "r")
    for id, tags in (("x", EXTERNAL), ("y", EXTERNAL), ("i", {})):
        create(world, id, tags)
    assert world.submit(PromiseRegisterCallback(awaited=awaited, awaiter=awaiter), 1000).status == status
    assert bool(world.promises["x"].callbacks) == (status == 200)


def test_a_dead_awaiter_waits_for_nothing(world: World) -> None:
    """A callback of a dead awaiter is answered and not registered."""
    hold(world, "r", timeout_at=2000)
    create(world, "x", EXTERNAL)
    assert world.submit(PromiseRegisterCallback(awaited="x", awaiter="r"), 2000).status == 200
    assert not world.promises["x"].callbacks


def test_obligations_are_sets(world: World) -> None:
    """A repeated registration changes nothing and answers the record."""
    hold(world, "r")
    create(world, "x", EXTERNAL)
    for request in (
        PromiseRegisterCallback(awaited="x", awaiter="r"),
        PromiseRegisterListener(awaited="x", address="http://x"),
    ):
        first = world.submit(request, 1000)
        outcome = world.decide(request, 1001)
        assert outcome.response == first
        assert not outcome.writes


@pytest.mark.parametrize("address", ["http://x", "https://x", "poll://any@g", "poll://uni@g/1", "local://1"])
def test_deliverable_addresses(address: str, world: World) -> None:
    """These schemes can be listened from."""
    create(world, "x", EXTERNAL)
    assert world.submit(PromiseRegisterListener(awaited="x", address=address), 1000).status == 200
    assert world.promises["x"].listeners == {address}
