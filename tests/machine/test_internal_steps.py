"""The internal steps R1 to R6, reclaiming and delivery: when each is enabled, and what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from resonate_web.machine.internal import enabled, next_instant
from resonate_web.machine.state import DeleteMessage, Outcome
from resonate_web.machine.steps import Delivered, Dispatch, Expire, Notify, Reclaim, Step, Timeout, Wake
from resonate_web.protocol import requests as rq
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.testing.scenarios import EXTERNAL, TARGET, TIMER, TTL, acquire, create, hold, settle, suspend
from resonate_web.testing.world import World

Arrange = Callable[[str], tuple[World, int]]
NOTHING = Outcome(rq.Response(status=200))
STEPS: list[Step] = [
    Timeout(id="r"),
    Notify(id="r", address="http://x"),
    Wake(id="r", awaiter="a"),
    Expire(id="r"),
    Dispatch(id="r"),
    Reclaim(id="r", pid="p", version=1),
]
ENABLED = {
    "absent": [],
    "untargeted": [],
    "pending": [Dispatch(id="r")],
    "acquired": [Expire(id="r")],
    "suspended": [],
    "halted": [],
    "settled": [],
    "dead pending": [Timeout(id="r")],
    "dead acquired": [Timeout(id="r")],
    "dead suspended": [Timeout(id="r")],
    "dead halted": [Timeout(id="r")],
    "dead untargeted": [],
}


@pytest.mark.parametrize("name", ENABLED)
def test_enabled_steps_and_only_they_write(name: str, situation: Arrange) -> None:
    """In every situation the listed steps are enabled, and no other one (reclaiming apart) does anything."""
    world, now = situation(name)
    steps = enabled(world.promise("r"), world.task("r"), now)
    assert list(steps) == ENABLED[name]
    reclaimable = [Reclaim(id="r", pid="p", version=1)] if name == "acquired" else []
    for step in STEPS:
        writes = world.decide(step, now).writes
        assert bool(writes) == (step in [*steps, *reclaimable]), step


@pytest.mark.parametrize("step", STEPS)
def test_a_step_on_nothing_does_nothing(step: Step, world: World) -> None:
    """A late step finds its object gone."""
    assert world.decide(step, 1000) == NOTHING


def test_a_settled_promise_enables_its_drains(world: World) -> None:
    """One notify per listener, one wake per callback, in a stable order; before that none."""
    create(world, "x", EXTERNAL)
    hold(world, "r")
    for address in ("http://b", "http://a"):
        world.submit(rq.PromiseRegisterListener(awaited="x", address=address), 1000)
    world.submit(rq.PromiseRegisterCallback(awaited="x", awaiter="r"), 1000)
    drains: list[Step] = [
        Notify(id="x", address="http://a"),
        Notify(id="x", address="http://b"),
        Wake(id="x", awaiter="r"),
    ]
    assert enabled(world.promise("x"), None, 1000) == ()
    for drain in drains:
        assert world.decide(drain, 1000) == NOTHING
    assert enabled(world.promise("x"), None, 100_000) == (Timeout(id="x"), *drains)
    settle(world, "x")
    assert list(enabled(world.promise("x"), None, 1000)) == drains


@pytest.mark.parametrize(
    ("tags", "expected"), [({}, None), (EXTERNAL, 9000), (TIMER, 9000), (TARGET, 1000), ({**TARGET, **EXTERNAL}, 1000)]
)
def test_next_instant_of_a_pending_promise(tags: dict[str, str], expected: int | None, world: World) -> None:
    """The earliest of deadline, dispatch and end of lease; an internal promise has none."""
    create(world, "x", tags, timeout_at=9000)
    assert next_instant(world.promise("x"), world.task("x")) == expected


def test_next_instant_follows_the_task(world: World) -> None:
    """A lease ends before the deadline; a suspended task waits for it; a settled promise for nothing."""
    hold(world, "r")
    assert world.next_instant() == 1000 + TTL
    create(world, "x", EXTERNAL, timeout_at=99_000)
    suspend(world, "r", "x")
    assert next_instant(world.promise("r"), world.task("r")) == 100_000
    settle(world, "r")
    assert next_instant(world.promise("r"), world.task("r")) is None
    assert next_instant(None, None) is None


@pytest.mark.parametrize(("tags", "state"), [(EXTERNAL, PromiseState.TIMEDOUT), (TIMER, PromiseState.RESOLVED)])
def test_timeout_settles_at_the_deadline(tags: dict[str, str], state: PromiseState, world: World) -> None:
    """R1: however late it fires, the stamp is the deadline."""
    create(world, "x", tags, timeout_at=2000)
    world.submit(Timeout(id="x"), 1999)
    assert world.promises["x"].record.state is PromiseState.PENDING
    world.submit(Timeout(id="x"), 7000)
    assert (world.promises["x"].record.state, world.promises["x"].record.settled_at) == (state, 2000)


def test_drains_store_what_the_deadline_decided(world: World) -> None:
    """R3 and R4 on a promise that is dead but stored as pending settle it, and its task, in the same step."""
    hold(world, "r", timeout_at=2000)
    hold(world, "a")
    world.submit(rq.PromiseRegisterListener(awaited="r", address="http://x"), 1000)
    world.submit(rq.PromiseRegisterCallback(awaited="r", awaiter="a"), 1000)
    for step in (Notify(id="r", address="http://x"), Wake(id="r", awaiter="a")):
        twin = world.copy()
        twin.submit(step, 2000)
        assert twin.promises["r"].record.state is PromiseState.TIMEDOUT
        assert twin.tasks["r"].state is TaskState.FULFILLED


@pytest.mark.parametrize("name", ["acquired", "pending", "halted"])
def test_a_wake_of_an_unsuspended_task_adds_a_resume(name: str, situation: Arrange) -> None:
    """R4: state, lease and dispatch stay as they are."""
    world, now = situation(name)
    create(world, "y", EXTERNAL)
    world.submit(rq.PromiseRegisterCallback(awaited="y", awaiter="r"), 1000)
    settle(world, "y")
    before = world.tasks["r"]
    world.submit(Wake(id="y", awaiter="r"), now)
    after = world.tasks["r"]
    assert after.resumes == before.resumes | {"y"}
    kept = (before.state, before.version, before.pid, before.ttl, before.expires_at, before.retry_at)
    assert (after.state, after.version, after.pid, after.ttl, after.expires_at, after.retry_at) == kept


def test_a_wake_by_a_known_resume_changes_no_task(world: World) -> None:
    """R4: the callback is consumed, the set stays as it is."""
    hold(world, "r")
    create(world, "x", EXTERNAL)
    settle(world, "x")
    world.promises["x"] = replace(world.promises["x"], callbacks=frozenset("r"))
    world.tasks["r"] = task = replace(world.tasks["r"], resumes=frozenset("x"))
    world.submit(Wake(id="x", awaiter="r"), 1000)
    assert world.tasks["r"] is task
    assert not world.promises["x"].callbacks


def test_a_wake_of_a_fulfilled_task_consumes_the_callback(world: World) -> None:
    """R4: nothing else happens."""
    create(world, "x", EXTERNAL)
    hold(world, "r")
    suspend(world, "r", "x")
    settle(world, "r")
    settle(world, "x")
    task = world.tasks["r"]
    world.submit(Wake(id="x", awaiter="r"), 1000)
    assert world.tasks["r"] is task
    assert not world.promises["x"].callbacks


def test_expiry_takes_the_task_back_at_the_end_of_the_lease(world: World) -> None:
    """R5: due at once, at its version, with a strike."""
    hold(world, "r")
    assert world.decide(Expire(id="r"), 1000 + TTL - 1) == NOTHING
    world.submit(Expire(id="r"), 1000 + TTL)
    task = world.tasks["r"]
    assert (task.state, task.version, task.retry_at, task.pid) == (TaskState.PENDING, 1, 1000 + TTL, None)
    assert task.strikes == 1


@pytest.mark.parametrize(("pid", "version", "reclaimed"), [("p", 1, True), ("q", 1, False), ("p", 0, False)])
def test_reclaim_is_guarded_by_holder_and_version(pid: str, version: int, reclaimed: bool, world: World) -> None:
    """A task that changed hands meanwhile is left alone."""
    hold(world, "r")
    world.submit(Reclaim(id="r", pid=pid, version=version), 1001)
    task = world.tasks["r"]
    if reclaimed:
        assert (task.state, task.strikes, task.retry_at) == (TaskState.PENDING, 1, 1001)
    else:
        assert task.state is TaskState.ACQUIRED


def test_a_newer_offer_replaces_the_older(world: World) -> None:
    """R6: the outbox holds one execute per task, whatever its version."""
    create(world, "r", TARGET)
    world.submit(Dispatch(id="r"), 1000)
    acquire(world, "r", 0)
    world.submit(rq.TaskRelease(id="r", version=1), 1100)
    world.submit(Dispatch(id="r"), 1100)
    assert [message.version for message in world.messages.values()] == [1]


def test_delivery_removes_the_message(world: World) -> None:
    """A delivered message leaves the outbox; repeating that is harmless."""
    create(world, "r", TARGET)
    world.submit(Dispatch(id="r"), 1000)
    assert world.decide(Delivered(key="r"), 1000).writes == (DeleteMessage(key="r"),)
    for _ in range(2):
        world.submit(Delivered(key="r"), 1000)
    assert not world.messages


def test_a_fair_sweeper_brings_everything_home(world: World) -> None:
    """V1 to V5: deadlines settle, listeners hear, awaiters wake, crashed holders lose their tasks."""
    create(world, "t", TIMER, timeout_at=3000)
    world.submit(rq.PromiseRegisterListener(awaited="t", address="http://x"), 1000)
    hold(world, "waiting")
    suspend(world, "waiting", "t")
    hold(world, "crashed")
    sweep(world, until=3000)
    assert "t:notify:http://x" in world.messages
    assert world.messages["waiting"].version == 1
    assert world.messages["crashed"].version == 1
    offered = world.tasks["crashed"].retry_at
    assert offered is not None
    assert offered > 3000


def sweep(world: World, until: int) -> None:
    """Apply every step at its instant, up to `until` (ms)."""
    while (now := world.next_instant()) is not None and now <= until:
        world.settle_down(now)
