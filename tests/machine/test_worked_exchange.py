"""The worked exchange of the protocol (3.9), instant by instant."""

from __future__ import annotations

from resonate_web.machine.steps import Dispatch, Wake
from resonate_web.protocol import requests as rq
from resonate_web.protocol.records import PromiseState, Task, TaskState, Value
from resonate_web.testing.world import World

TARGET = "poll://any@g"


def tags(id: str) -> dict[str, str]:
    """Return the tags of a run of the lineage `r`."""
    lineage = {"resonate:origin": "r", "resonate:parent": "r", "resonate:branch": id}
    return {"resonate:target": TARGET, "resonate:scope": "global", **lineage}


CHILD = rq.PromiseCreate(id="r:1", timeout_at=90_000, tags=tags("r:1"))


def resolve(id: str) -> rq.PromiseSettle:
    """Return a resolving verdict."""
    return rq.PromiseSettle(id=id, state=PromiseState.RESOLVED, value=Value(data="Mg=="))


def begin(world: World) -> None:
    """Play 1000 and 1001: the root is held, its child created."""
    root = rq.PromiseCreate(id="r", timeout_at=90_000, tags=tags("r"))
    answer = world.submit(rq.TaskCreate(pid="w1", ttl=60_000, action=root), 1000)
    assert answer.task == Task(id="r", state=TaskState.ACQUIRED, version=1, ttl=60_000, pid="w1")
    answer = world.submit(rq.TaskFence(id="r", version=1, action=CHILD), 1001)
    assert answer.action is not None
    assert answer.action.promise is not None
    assert (answer.status, answer.action.status) == (200, 200)
    assert answer.action.promise.state is PromiseState.PENDING


WAIT = rq.TaskSuspend(id="r", version=1, actions=(rq.PromiseRegisterCallback(awaited="r:1", awaiter="r"),))


def test_the_exchange() -> None:
    """Start, call, suspend, execute, wake, replay, fulfil."""
    world = World()
    begin(world)
    world.submit(Dispatch(id="r:1"), 1001)
    assert (world.messages["r:1"].version, world.messages["r:1"].address) == (0, TARGET)
    assert world.submit(WAIT, 1002).status == 200
    answer = world.submit(rq.TaskAcquire(id="r:1", version=0, pid="w2", ttl=60_000), 1003)
    assert answer.task == Task(id="r:1", state=TaskState.ACQUIRED, version=1, ttl=60_000, pid="w2")
    answer = world.submit(rq.TaskFulfill(id="r:1", version=1, action=resolve("r:1")), 1004)
    settled = answer.promise
    assert settled is not None
    assert settled.state is PromiseState.RESOLVED
    assert world.enabled(1004) == [Wake(id="r:1", awaiter="r")]
    world.submit(Wake(id="r:1", awaiter="r"), 1004)
    assert world.tasks["r"].resumes == {"r:1"}
    assert world.tasks["r"].retry_at == 1004
    world.submit(Dispatch(id="r"), 1004)
    assert world.messages["r"].version == 1
    answer = world.submit(rq.TaskAcquire(id="r", version=1, pid="w1", ttl=60_000), 1005)
    assert answer.task == Task(id="r", state=TaskState.ACQUIRED, version=2, ttl=60_000, pid="w1")
    answer = world.submit(rq.TaskFence(id="r", version=2, action=CHILD), 1006)
    assert answer.action is not None
    assert answer.action.promise == settled
    assert world.submit(rq.TaskFulfill(id="r", version=2, action=resolve("r")), 1007).status == 200


def test_the_race() -> None:
    """A child that settles before the suspension keeps the run going without any message."""
    world = World()
    begin(world)
    world.submit(resolve("r:1"), 1001)
    assert world.submit(WAIT, 1002).status == 300
    assert (world.tasks["r"].state, world.tasks["r"].version) == (TaskState.ACQUIRED, 1)
    assert world.submit(rq.TaskFulfill(id="r", version=1, action=resolve("r")), 1003).status == 200
