"""Every task operation in every state of the task and its promise (protocol 3.6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.protocol.requests import (
    PromiseCreate,
    PromiseRegisterCallback,
    PromiseSettle,
    Request,
    TaskAcquire,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
    TaskHeartbeat,
    TaskRef,
    TaskRelease,
    TaskSuspend,
)
from resonate_web.testing.world import World

Arrange = Callable[[str], tuple[World, int]]
TARGET = {"resonate:target": "poll://any@g"}
CHILD = PromiseCreate(id="r:1", timeout_at=90_000, tags={"resonate:external": "true"})

REQUESTS: dict[str, Request] = {
    "get": TaskGet(id="r"),
    "create": TaskCreate(pid="q", ttl=10, action=PromiseCreate(id="r", timeout_at=90_000, tags=TARGET)),
    "acquire 0": TaskAcquire(id="r", version=0, pid="q", ttl=10),
    "acquire 1": TaskAcquire(id="r", version=1, pid="q", ttl=10),
    "fence create": TaskFence(id="r", version=1, action=CHILD),
    "fence settle": TaskFence(id="r", version=1, action=PromiseSettle(id="no", state=PromiseState.RESOLVED)),
    "suspend": TaskSuspend(id="r", version=1, actions=(PromiseRegisterCallback(awaited="w", awaiter="r"),)),
    "fulfill": TaskFulfill(id="r", version=1, action=PromiseSettle(id="r", state=PromiseState.RESOLVED)),
    "release": TaskRelease(id="r", version=1),
    "heartbeat": TaskHeartbeat(pid="p", tasks=(TaskRef(id="r", version=1),)),
    "halt": TaskHalt(id="r"),
    "continue": TaskContinue(id="r"),
}
COLUMNS = ("absent", "untargeted", "pending", "acquired", "other version", "suspended", "halted", "settled")
MATRIX = {
    "get": (404, 404, 200, 200, 200, 200, 200, 200),
    "create": (200, 422, 200, 409, 409, 409, 409, 200),
    "acquire 0": (404, 404, 200, 409, 409, 409, 409, 409),
    "acquire 1": (404, 404, 409, 409, 409, 409, 409, 409),
    "fence create": (404, 404, 409, 200, 409, 409, 409, 409),
    "fence settle": (404, 404, 409, 200, 409, 409, 409, 409),
    "suspend": (404, 404, 409, 200, 409, 409, 409, 409),
    "fulfill": (404, 404, 409, 200, 409, 409, 409, 409),
    "release": (404, 404, 409, 200, 409, 409, 409, 409),
    "heartbeat": (200, 200, 200, 200, 200, 200, 200, 200),
    "halt": (404, 404, 200, 200, 200, 200, 200, 409),
    "continue": (404, 404, 409, 409, 409, 409, 200, 409),
}
DEAD = {"get": 200, "create": 200, "heartbeat": 200}
LIVE_CELLS = [(op, column, status) for op, row in MATRIX.items() for column, status in zip(COLUMNS, row, strict=True)]
DEAD_CELLS = [
    (op, f"dead {column}", DEAD.get(op, 409))
    for op in MATRIX
    for column in ("pending", "acquired", "suspended", "halted")
]


@pytest.mark.parametrize(("op", "column", "status"), LIVE_CELLS + DEAD_CELLS)
def test_status(op: str, column: str, status: int, situation: Arrange) -> None:
    """The operation answers as the matrix says, and writes nothing when it refuses."""
    world, now = situation(column)
    world.submit(PromiseCreate(id="w", timeout_at=90_000, tags={"resonate:external": "true"}), 1000)
    before = world.copy()
    assert world.submit(REQUESTS[op], now).status == status
    if status >= 400:
        assert world == before


@pytest.mark.parametrize("column", ["pending", "acquired", "other version", "suspended", "halted", "settled"])
def test_get_shows_the_stored_task(column: str, situation: Arrange) -> None:
    """A live task is shown as stored, with its resumes counted."""
    world, now = situation(column)
    task, stored = world.submit(TaskGet(id="r"), now).task, world.tasks["r"]
    assert task is not None
    shown = (task.state, task.version, task.resumes, task.ttl, task.pid)
    assert shown == (stored.state, stored.version, len(stored.resumes), stored.ttl, stored.pid)


@pytest.mark.parametrize("column", ["dead pending", "dead acquired", "dead suspended", "dead halted"])
def test_get_shows_a_dead_task_as_fulfilled(column: str, situation: Arrange) -> None:
    """Past the deadline only the version is left to see."""
    world, now = situation(column)
    task = world.submit(TaskGet(id="r"), now).task
    assert task is not None
    assert (task.state, task.resumes, task.ttl, task.pid) == (TaskState.FULFILLED, 0, None, None)
    assert task.version == world.tasks["r"].version


@pytest.mark.parametrize("column", ["pending", "acquired", "suspended", "halted"])
@pytest.mark.parametrize("state", [PromiseState.RESOLVED, PromiseState.REJECTED, PromiseState.CANCELED])
def test_a_settle_ends_the_task_in_every_state(column: str, state: PromiseState, situation: Arrange) -> None:
    """Whoever settles the promise fulfils its task, whoever holds it."""
    world, now = situation(column)
    promise = world.submit(PromiseSettle(id="r", state=state), now).promise
    assert promise is not None
    assert (promise.state, promise.settled_at) == (state, now)
    assert world.tasks["r"].state is TaskState.FULFILLED


@pytest.mark.parametrize("op", ["acquire 0", "suspend", "fulfill", "release"])
def test_a_repeat_is_refused(op: str, situation: Arrange) -> None:
    """These lose their claim by succeeding, so a repeat is 409 (protocol 3.5)."""
    world, now = situation("pending" if op == "acquire 0" else "acquired")
    world.submit(PromiseCreate(id="w", timeout_at=90_000, tags={"resonate:external": "true"}), 1000)
    assert world.submit(REQUESTS[op], now).status == 200
    assert world.submit(REQUESTS[op], now).status == 409


def test_the_other_repeats(situation: Arrange) -> None:
    """Halt repeats with 200, continue and a creating acquire with 409, a fenced create finds its promise."""
    world, now = situation("acquired")
    assert world.submit(REQUESTS["create"], now).status == 409
    first, second = world.submit(REQUESTS["fence create"], now), world.submit(REQUESTS["fence create"], now + 1)
    assert first.action == second.action
    assert [world.submit(REQUESTS["halt"], now).status for _ in range(2)] == [200, 200]
    assert [world.submit(REQUESTS["continue"], now).status for _ in range(2)] == [200, 409]
