"""Equations between histories (protocol 7.5): what different ways to the same place have in common."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resonate_web.machine.rows import seen, settled
from resonate_web.machine.steps import Expire, Wake
from resonate_web.protocol import requests as rq
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.testing.histories import History
from resonate_web.testing.world import World

SEEDS = range(80)
STEPS = 60


def materialise(world: World, now: int) -> None:
    """Store every verdict that deadlines have given by `now`, internal promises included."""
    for id, row in list(world.promises.items()):
        record = seen(row.record, now)
        if record is not row.record:
            for write in settled(row, record, world.tasks.get(id)):
                world.write(write)


def held(seed: int) -> tuple[World, str, int] | None:
    """Return a world after a random history in which a live task is held, that task and the instant."""
    world = World(retry_interval=100)
    history = History(seed, world)
    for _ in range(STEPS):
        world.submit(history.draw(), history.now)
        for id, task in world.tasks.items():
            live = world.promises[id].record.timeout_at > history.now
            if task.state is TaskState.ACQUIRED and live and history.random.random() < 0.1:
                return world, id, history.now
    return None


@pytest.fixture(scope="module")
def claims() -> list[tuple[World, str, int]]:
    """Many worlds in which a live task is held."""
    found = [claim for claim in map(held, SEEDS) if claim is not None]
    assert len(found) > 30, "too few histories reach a claim"
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_projecting_and_materialising_answer_alike(seed: int) -> None:
    """A5: a server that stores deadlines on touch cannot be told from one that only shows them."""
    projected, stored = World(retry_interval=100), World(retry_interval=100)
    history = History(seed, projected)
    for _ in range(STEPS):
        request = history.draw()
        materialise(stored, history.now)
        assert projected.submit(request, history.now) == stored.submit(request, history.now), request


def test_halt_and_continue_are_a_release(claims: list[tuple[World, str, int]]) -> None:
    """A4: both ways store the same task; only a continue forgets strikes and refusals."""
    for world, id, now in claims:
        halted, released = world.copy(), world.copy()
        halted.submit(rq.TaskHalt(id=id), now)
        halted.submit(rq.TaskContinue(id=id), now)
        released.submit(rq.TaskRelease(id=id, version=world.tasks[id].version), now)
        released.tasks[id] = replace(released.tasks[id], strikes=0, refusals=())
        assert halted == released


def test_a_fenced_create_is_a_create(claims: list[tuple[World, str, int]]) -> None:
    """A11: same answer and same promise, which in addition belongs to the task; without the claim nothing."""
    for world, id, now in claims:
        action = rq.PromiseCreate(id="new", timeout_at=now + 10, tags={"resonate:target": "x"})
        fenced, plain = world.copy(), world.copy()
        version = world.tasks[id].version
        inner = fenced.submit(rq.TaskFence(id=id, version=version, action=action), now).action
        assert inner == plain.submit(action, now)
        fenced.promises["new"] = replace(fenced.promises["new"], owner=None)
        plain.tasks[id] = replace(plain.tasks[id], strikes=0)
        assert fenced == plain
        assert not world.decide(rq.TaskFence(id=id, version=version + 1, action=action), now).writes


def test_a_stranger_ends_every_claim(claims: list[tuple[World, str, int]]) -> None:
    """A13: after a foreign verdict each operation of the holder is 409."""
    for world, id, now in claims:
        version, other = world.tasks[id].version, world.copy()
        verdict = rq.PromiseSettle(id=id, state=PromiseState.RESOLVED)
        other.submit(verdict, now)
        action = rq.PromiseCreate(id="new", timeout_at=now + 10)
        wait = rq.PromiseRegisterCallback(awaited="x", awaiter=id)
        requests: list[rq.Request] = [
            rq.TaskFence(id=id, version=version, action=action),
            rq.TaskFulfill(id=id, version=version, action=verdict),
            rq.TaskSuspend(id=id, version=version, actions=(wait,)),
            rq.TaskRelease(id=id, version=version),
            rq.TaskAcquire(id=id, version=version, pid="p", ttl=1),
        ]
        assert {other.submit(claim, now).status for claim in requests} == {409}


@pytest.mark.parametrize("seed", SEEDS)
def test_firing_is_invisible_but_for_wakes_and_expiries(seed: int) -> None:
    """A6, and B1's other half: a wake or an expiry shows in `task.get`, as state or resumes only."""
    world = World(retry_interval=100)
    history = History(seed, world)
    for _ in range(STEPS):
        request = history.draw()
        before = {id: world.submit(rq.TaskGet(id=id), history.now).task for id in world.tasks}
        world.submit(request, history.now)
        if not isinstance(request, Wake | Expire):
            continue
        for id, task in before.items():
            after = world.submit(rq.TaskGet(id=id), history.now).task
            assert task is not None
            assert after is not None
            assert task.version == after.version
            assert task == after or after.state in {TaskState.PENDING, task.state}


@pytest.mark.parametrize("seed", SEEDS)
def test_time_alone_changes_nothing_settled(seed: int) -> None:
    """A9: what is settled now is answered the same at any later instant."""
    world = World(retry_interval=100)
    history = History(seed, world)
    for _ in range(STEPS):
        world.submit(history.draw(), history.now)
    for id in world.promises:
        now = world.submit(rq.PromiseGet(id=id), history.now).promise
        later = world.submit(rq.PromiseGet(id=id), history.now + 10**9).promise
        assert now is not None
        assert now.state is PromiseState.PENDING or now == later
