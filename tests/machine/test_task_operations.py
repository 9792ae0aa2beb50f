"""The task operations: what each answers and writes, our extensions included."""

from __future__ import annotations

import pytest

from resonate_web.machine.steps import Expire
from resonate_web.protocol import requests as rq
from resonate_web.protocol.records import Promise, PromiseState, Task, TaskState
from resonate_web.testing.scenarios import EXTERNAL, FAR, TARGET, TTL, acquire, create, fulfill, hold, settle, suspend
from resonate_web.testing.world import World

REFUSAL = rq.Refusal(pid="p", code="v1", reason="unknown function")


def fence(world: World, action: rq.PromiseCreate | rq.PromiseSettle, preload: rq.Preload = "branch") -> rq.Response:
    """Write through the fence of `r`."""
    return world.submit(rq.TaskFence(id="r", version=1, action=action, preload=preload), 1000)


def child(id: str, tags: dict[str, str] | None = None, timeout_at: int = FAR) -> rq.PromiseCreate:
    """Return the create of a child."""
    return rq.PromiseCreate(id=id, timeout_at=timeout_at, tags=tags or {})


def test_task_create_is_born_acquired(world: World) -> None:
    """Promise and lease are one write."""
    answer = hold(world, "r")
    assert answer.task == Task(id="r", state=TaskState.ACQUIRED, version=1, ttl=TTL, pid="p")
    assert answer.promise == world.promises["r"].record
    assert world.tasks["r"].expires_at == 1000 + TTL
    assert not world.messages


@pytest.mark.parametrize(
    "request_",
    [
        rq.TaskCreate(pid="p", ttl=0, action=child("r", TARGET)),
        rq.TaskCreate(pid="p", ttl=-1, action=child("r", TARGET)),
        rq.TaskCreate(pid="p", ttl=2**63, action=child("r", TARGET)),
        rq.TaskCreate(pid="p", ttl=1, action=child("r", {**TARGET, "resonate:timer": "true"})),
        rq.TaskCreate(pid="p", ttl=1, action=child("", TARGET)),
        rq.TaskAcquire(id="", version=0, pid="p", ttl=1),
        rq.TaskGet(id=""),
        rq.TaskFence(id="", version=0, action=child("x")),
        rq.TaskSuspend(id="", version=0, actions=(rq.PromiseRegisterCallback(awaited="x", awaiter=""),)),
        rq.TaskSuspend(id="r", version=0, actions=(rq.PromiseRegisterCallback(awaited="", awaiter="r"),)),
        rq.TaskFulfill(id="", version=0, action=rq.PromiseSettle(id="", state=PromiseState.RESOLVED)),
        rq.TaskRelease(id="", version=0),
        rq.TaskHalt(id="\0"),
        rq.TaskContinue(id=""),
    ],
)
def test_a_malformed_request_is_400(request_: rq.Request, world: World) -> None:
    """A shape that must not be stored is refused with a reason."""
    response = world.submit(request_, 1000)
    assert response.status == 400
    assert response.error


def test_acquire_grants_the_lease_of_the_request(world: World) -> None:
    """Version, holder, length and end of the lease are the request's."""
    create(world, "r", TARGET)
    answer = world.submit(rq.TaskAcquire(id="r", version=0, pid="q", ttl=70), 1200)
    assert answer.task == Task(id="r", state=TaskState.ACQUIRED, version=1, ttl=70, pid="q")
    assert answer.promise == world.promises["r"].record
    assert (world.tasks["r"].expires_at, world.tasks["r"].retry_at) == (1270, None)


def test_fence_create_marks_the_child_as_owned(world: World) -> None:
    """What a task creates through its fence is its child; what it joins is not."""
    hold(world, "r")
    create(world, "foreign", {})
    fence(world, child("r:1"))
    fence(world, child("foreign"))
    assert [row.record.id for row in world.owned("r")] == ["r:1"]


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (child("x", {**TARGET, "resonate:timer": "true"}), 400),
        (child(""), 400),
        (rq.PromiseSettle(id="no", state=PromiseState.RESOLVED), 404),
        (rq.PromiseSettle(id="no", state=PromiseState.TIMEDOUT), 400),
    ],
)
def test_fence_carries_the_inner_refusal(
    action: rq.PromiseCreate | rq.PromiseSettle, status: int, world: World
) -> None:
    """The outer answer is 200: the claim held."""
    hold(world, "r")
    answer = fence(world, action)
    assert answer.status == 200
    assert answer.action is not None
    assert answer.action.status == status


def test_preload_returns_the_children_of_the_branch_or_all(world: World) -> None:
    """Entries are ordered by id, projected, and as of after the step; the run itself is never one."""
    branch = {"resonate:branch": "r"}
    action = rq.PromiseCreate(id="r", timeout_at=FAR, tags={**TARGET, **branch})
    world.submit(rq.TaskCreate(pid="p", ttl=TTL, action=action), 1000)
    fence(world, child("r:2", branch))
    fence(world, child("r:3", {**EXTERNAL, "resonate:branch": "r:3"}))
    fence(world, child("r:1", branch, timeout_at=1000))
    settled = rq.PromiseSettle(id="r:2", state=PromiseState.RESOLVED)
    answers = {preload: fence(world, settled, preload).preload for preload in ("branch", "owned", "none")}
    ids = {preload: [promise.id for promise in promises] for preload, promises in answers.items()}
    assert ids == {"branch": ["r:1", "r:2"], "owned": ["r:1", "r:2", "r:3"], "none": []}
    assert [promise.state for promise in answers["branch"]] == [PromiseState.TIMEDOUT, PromiseState.RESOLVED]
    assert [promise.id for promise in fence(world, child("r:0", branch)).preload] == ["r:0", "r:1", "r:2"]


def test_preload_of_a_promise_without_branch_is_empty(world: World) -> None:
    """The protocol's preload needs the tag; ours does not."""
    hold(world, "r")
    fence(world, child("r:1"))
    world.submit(rq.TaskRelease(id="r", version=1), 1000)
    create(world, "x", EXTERNAL)
    settle(world, "x")
    assert acquire(world, "r", 1).preload == ()
    wait = rq.PromiseRegisterCallback(awaited="x", awaiter="r")
    answer = world.submit(rq.TaskSuspend(id="r", version=2, actions=(wait,), preload="owned"), 1000)
    assert (answer.status, [promise.id for promise in answer.preload]) == (300, ["r:1"])


def test_suspend_registers_on_every_awaited(world: World) -> None:
    """The task is bare, and each awaited lists it once."""
    hold(world, "r")
    create(world, "x", EXTERNAL)
    create(world, "y", {"resonate:timer": "true"})
    world.submit(rq.PromiseRegisterCallback(awaited="x", awaiter="r"), 1000)
    assert suspend(world, "r", "x", "y") == 200
    assert world.promises["x"].callbacks == world.promises["y"].callbacks == {"r"}
    task = world.tasks["r"]
    assert (task.state, task.pid, task.ttl, task.expires_at, task.retry_at) == (TaskState.SUSPENDED, *[None] * 4)


def test_suspend_refuses_before_it_looks_at_what_is_settled(world: World) -> None:
    """A missing or internal awaited is 422 even beside a settled one."""
    hold(world, "r")
    create(world, "x", EXTERNAL)
    settle(world, "x")
    assert suspend(world, "r", "x", "missing") == 422


def test_fulfill_settles_the_own_promise(world: World) -> None:
    """Promise and task end in one write."""
    hold(world, "r")
    promise = fulfill(world, "r", now=1100).promise
    assert isinstance(promise, Promise)
    assert (promise.state, promise.settled_at) == (PromiseState.RESOLVED, 1100)
    assert world.tasks["r"].state is TaskState.FULFILLED


def test_release_returns_the_task_at_its_version(world: World) -> None:
    """It is due at once."""
    hold(world, "r")
    world.submit(rq.TaskRelease(id="r", version=1), 1100)
    task = world.tasks["r"]
    assert (task.state, task.version, task.retry_at, task.pid) == (TaskState.PENDING, 1, 1100, None)


def test_a_refusal_defers_the_next_offer(world: World) -> None:
    """One refusal per process is kept, the latest; the next offer is one interval away."""
    other, newer = rq.Refusal(pid="q", code="v1", reason="x"), rq.Refusal(pid="p", code="v2", reason="y")
    hold(world, "r")
    for version, refusal in ((1, REFUSAL), (2, other), (3, newer)):
        world.submit(rq.TaskRelease(id="r", version=version, refusal=refusal), 1100)
        assert world.tasks["r"].retry_at == 1100 + world.retry_interval
        acquire(world, "r", version)
    assert world.tasks["r"].refusals == (other, newer)


def test_halt_records_why_and_continue_forgets(world: World) -> None:
    """A refusal may arrive with the first halt or with a later one."""
    hold(world, "r")
    world.submit(rq.TaskHalt(id="r"), 1000)
    world.submit(rq.TaskHalt(id="r", refusal=REFUSAL), 1000)
    assert world.tasks["r"].refusals == (REFUSAL,)
    assert not world.decide(rq.TaskHalt(id="r", refusal=REFUSAL), 1000).writes
    world.submit(rq.TaskContinue(id="r"), 1100)
    task = world.tasks["r"]
    assert (task.state, task.retry_at, task.refusals, task.strikes) == (TaskState.PENDING, 1100, (), 0)


def test_strikes_count_deaths_since_the_last_checkpoint(world: World) -> None:
    """A lease that runs out is a strike; a fenced write that changed something wipes them out."""
    hold(world, "r")
    for version in (1, 2):
        world.submit(Expire(id="r"), 5000 * version)
        acquire(world, "r", version, now=5000 * version)
    assert world.tasks["r"].strikes == 2
    action = rq.PromiseCreate(id="x", timeout_at=FAR)
    world.submit(rq.TaskFence(id="r", version=3, action=rq.PromiseSettle(id="no", state=PromiseState.RESOLVED)), 10_000)
    assert world.tasks["r"].strikes == 2
    before = world.tasks["r"]
    world.submit(rq.TaskFence(id="r", version=3, action=action), 10_000)
    after = world.tasks["r"]
    assert after.strikes == 0
    assert (after.pid, after.expires_at, after.version) == (before.pid, before.expires_at, before.version)
    assert len(world.decide(rq.TaskFence(id="r", version=3, action=child("y")), 10_000).writes) == 1


def test_suspend_wipes_strikes_and_refusals(world: World) -> None:
    """A run that waits has made progress."""
    hold(world, "r")
    create(world, "x", EXTERNAL)
    world.submit(Expire(id="r"), 2000)
    acquire(world, "r", 1, now=2000)
    world.submit(rq.TaskRelease(id="r", version=2, refusal=REFUSAL), 2000)
    acquire(world, "r", 2, now=2000)
    assert (world.tasks["r"].strikes, world.tasks["r"].refusals) == (1, (REFUSAL,))
    assert suspend(world, "r", "x", version=3, now=2000) == 200
    assert (world.tasks["r"].strikes, world.tasks["r"].refusals) == (0, ())


def test_heartbeat_extends_what_is_held_and_nothing_else(world: World) -> None:
    """Each ref is judged alone; an empty list and a repeated ref are fine."""
    hold(world, "r")
    hold(world, "s")
    refs = (rq.TaskRef(id="r", version=1), rq.TaskRef(id="s", version=9), rq.TaskRef(id="r", version=1))
    answer = world.submit(rq.TaskHeartbeat(pid="p", tasks=refs), 1200)
    assert answer == rq.Response(
        status=200, tasks=(Task(id="r", state=TaskState.ACQUIRED, version=1, ttl=TTL, pid="p"),)
    )
    assert (world.tasks["r"].expires_at, world.tasks["s"].expires_at) == (1200 + TTL, 1000 + TTL)
    assert not world.decide(rq.TaskHeartbeat(pid="p", tasks=refs), 1200).writes
    assert world.submit(rq.TaskHeartbeat(pid="p", tasks=()), 1200).status == 200
