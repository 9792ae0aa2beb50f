"""Directed scenarios: one per known trap of the protocol (7.1), each with its one right answer.

Each takes an empty world. What random histories cannot see in answers, these look up in the rows.
"""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.machine.steps import Cascade, Dispatch, Expire, Notify, Reclaim, Timeout, Wake
from resonate_web.protocol import requests as rq
from resonate_web.protocol.records import EMPTY, PromiseState, Task, TaskState, Value
from resonate_web.testing.world import World

Scenario = Callable[[World], None]

TARGET = {"resonate:target": "poll://any@g"}
EXTERNAL = {"resonate:external": "true"}
TIMER = {"resonate:timer": "true"}
TTL = 500
"""Length of every lease here, in ms."""
FAR = 100_000
"""A deadline that no scenario reaches by accident, in ms."""
RESOLVED = PromiseState.RESOLVED
OK = Value(data="Mg==")


def create(world: World, id: str, tags: dict[str, str], timeout_at: int = FAR, now: int = 1000) -> rq.Response:
    """Create a promise."""
    return world.submit(rq.PromiseCreate(id=id, timeout_at=timeout_at, tags=tags), now)


def hold(world: World, id: str, timeout_at: int = FAR, now: int = 1000) -> rq.Response:
    """Create a task that process `p` holds at version 1."""
    action = rq.PromiseCreate(id=id, timeout_at=timeout_at, tags=TARGET)
    return world.submit(rq.TaskCreate(pid="p", ttl=TTL, action=action), now)


def suspend(world: World, id: str, *awaited: str, version: int = 1, now: int = 1000) -> int:
    """Suspend a task and return the status."""
    actions = tuple(rq.PromiseRegisterCallback(awaited=other, awaiter=id) for other in awaited)
    return world.submit(rq.TaskSuspend(id=id, version=version, actions=actions), now).status


def settle(world: World, id: str, state: PromiseState = RESOLVED, now: int = 1000) -> rq.Response:
    """Settle a promise with a value."""
    return world.submit(rq.PromiseSettle(id=id, state=state, value=OK), now)


def acquire(world: World, id: str, version: int, now: int = 1000) -> rq.Response:
    """Acquire a task for process `p`."""
    return world.submit(rq.TaskAcquire(id=id, version=version, pid="p", ttl=TTL), now)


def fulfill(world: World, id: str, version: int = 1, now: int = 1000) -> rq.Response:
    """Fulfil a task with a value."""
    action = rq.PromiseSettle(id=id, state=RESOLVED, value=OK)
    return world.submit(rq.TaskFulfill(id=id, version=version, action=action), now)


def c1_only_external_promises_have_a_deadline_that_fires(world: World) -> None:
    """C1: an internal promise's deadline exists as projection only."""
    for id, tags in (("i", {}), ("e", EXTERNAL), ("t", TIMER), ("r", TARGET)):
        create(world, id, tags, timeout_at=2000)
    assert {step.id for step in world.enabled(2000) if isinstance(step, Timeout)} == {"e", "t", "r"}
    world.submit(Timeout(id="i"), 2000)
    assert world.promises["i"].record.state is PromiseState.PENDING


def c2_nobody_waits_for_an_internal_promise(world: World) -> None:
    """C2: 422 through register_callback and through suspend."""
    create(world, "i", {})
    hold(world, "r")
    assert world.submit(rq.PromiseRegisterCallback(awaited="i", awaiter="r"), 1000).status == 422
    assert suspend(world, "r", "i") == 422
    assert suspend(world, "r", "missing") == 422


def c3_nobody_listens_to_an_internal_promise(world: World) -> None:
    """C3: 422, for nothing would ever tell the listener."""
    create(world, "i", {})
    assert world.submit(rq.PromiseRegisterListener(awaited="i", address="http://x"), 1000).status == 422


def c4_doors_of_a_task_look_at_the_deadline(world: World) -> None:
    """C4: a dead promise's task is fulfilled for create, halt and continue alike."""
    create(world, "r", TARGET, timeout_at=2000)
    create(world, "h", TARGET, timeout_at=2000)
    world.submit(rq.TaskHalt(id="h"), 1000)
    answer = hold(world, "r", now=2000)
    assert (answer.status, answer.task) == (200, Task(id="r", state=TaskState.FULFILLED, version=0))
    assert answer.promise is not None
    assert answer.promise.state is PromiseState.TIMEDOUT
    assert world.submit(rq.TaskHalt(id="r"), 2000).status == 409
    assert world.submit(rq.TaskContinue(id="h"), 2000).status == 409


def c5_a_dead_promise_is_neither_offered_nor_taken_back(world: World) -> None:
    """C5: dispatch and lease expiry do nothing past the deadline."""
    create(world, "r", TARGET, timeout_at=2000)
    hold(world, "h", timeout_at=1400)
    before = world.copy()
    world.submit(Dispatch(id="r"), 2000)
    world.submit(Expire(id="h"), 1500)
    world.submit(Reclaim(id="h", pid="p", version=1), 1500)
    assert world == before


def c6_a_wake_does_not_revive_a_dead_awaiter(world: World) -> None:
    """C6: the time-out always wins."""
    create(world, "x", EXTERNAL)
    hold(world, "r", timeout_at=2000)
    suspend(world, "r", "x")
    settle(world, "x", now=1999)
    world.submit(Wake(id="x", awaiter="r"), 2000)
    assert world.tasks["r"].state is TaskState.FULFILLED
    assert world.promises["r"].record.settled_at == 2000
    assert not world.promises["x"].callbacks


def c7_a_heartbeat_does_not_extend_a_dead_lease(world: World) -> None:
    """C7: nor one of another process, another version, or of a task that is not held."""
    hold(world, "r", timeout_at=1200)
    hold(world, "s")
    before = world.copy()
    for pid, version, id, now in (("p", 1, "r", 1200), ("q", 1, "s", 1100), ("p", 2, "s", 1100), ("p", 1, "no", 1100)):
        ref = rq.TaskRef(id=id, version=version)
        assert world.submit(rq.TaskHeartbeat(pid=pid, tasks=(ref,)), now).status == 200
    assert world == before


def c8_every_answer_is_projected(world: World) -> None:
    """C8: no answer shows a passed deadline as pending."""
    create(world, "x", EXTERNAL, timeout_at=2000)
    hold(world, "r", timeout_at=FAR)
    requests: list[rq.Request] = [
        rq.PromiseGet(id="x"),
        rq.PromiseCreate(id="x", timeout_at=FAR, tags=EXTERNAL),
        rq.PromiseSettle(id="x", state=RESOLVED),
        rq.PromiseRegisterCallback(awaited="x", awaiter="r"),
        rq.PromiseRegisterListener(awaited="x", address="http://x"),
    ]
    for request in requests:
        promise = world.submit(request, 2000).promise
        assert promise is not None, request.kind
        assert promise.state is PromiseState.TIMEDOUT, request.kind
    assert world.promises["x"].record.state is PromiseState.PENDING


def c9_an_execute_quotes_the_version_reached(world: World) -> None:
    """C9: dispatch quotes the task's own version."""
    hold(world, "r")
    world.submit(rq.TaskRelease(id="r", version=1), 1100)
    world.submit(Dispatch(id="r"), 1100)
    message = world.messages["r"]
    assert (message.kind, message.task_id, message.version, message.address) == ("execute", "r", 1, "poll://any@g")


def c10_a_version_is_granted_once(world: World) -> None:
    """C10: a claim is (id, version, acquired); an acquire is not repeatable."""
    create(world, "r", TARGET)
    assert acquire(world, "r", 0).status == 200
    assert acquire(world, "r", 0).status == 409
    world.submit(rq.TaskRelease(id="r", version=1), 1000)
    assert world.tasks["r"].version == 1
    assert acquire(world, "r", 0).status == 409
    assert acquire(world, "r", 1).status == 200
    assert fulfill(world, "r", version=1).status == 409


def c11_a_settled_promise_gains_nothing(world: World) -> None:
    """C11: 200 with the record, and nothing is registered."""
    create(world, "x", EXTERNAL)
    hold(world, "r")
    settle(world, "x")
    assert world.submit(rq.PromiseRegisterCallback(awaited="x", awaiter="r"), 1000).status == 200
    assert world.submit(rq.PromiseRegisterListener(awaited="x", address="http://x"), 1000).status == 200
    row = world.promises["x"]
    assert not row.callbacks
    assert not row.listeners
    assert not world.tasks["r"].resumes


def t1_the_deadline_itself_is_too_late(world: World) -> None:
    """T1: at timeoutAt a promise is dead."""
    create(world, "x", EXTERNAL, timeout_at=2000)
    promise = settle(world, "x", now=2000).promise
    assert promise is not None
    assert (promise.state, promise.settled_at, promise.value) == (PromiseState.TIMEDOUT, 2000, EMPTY)


def t2_an_empty_target_is_a_target(world: World) -> None:
    """T2: presence of the tag makes the task."""
    create(world, "x", {"resonate:target": ""})
    assert world.tasks["x"].state is TaskState.PENDING


def t3_delay_is_an_instant(world: World) -> None:
    """T3: the first dispatch is at the delay itself, not that much later; a past one is now."""
    create(world, "x", {**TARGET, "resonate:delay": "3000"})
    create(world, "y", {**TARGET, "resonate:delay": "500"})
    assert world.tasks["x"].retry_at == 3000
    assert world.tasks["y"].retry_at == 1000


def t4_a_late_verdict_is_no_error(world: World) -> None:
    """T4: 200 with what was decided first."""
    create(world, "x", EXTERNAL)
    settle(world, "x", PromiseState.REJECTED)
    late = settle(world, "x", now=1001)
    assert late.status == 200
    assert late.promise == world.promises["x"].record
    assert late.promise.state is PromiseState.REJECTED


def t5_300_keeps_lease_and_version(world: World) -> None:
    """T5: only resumes change, and no callback is registered for the others."""
    create(world, "x", EXTERNAL)
    create(world, "y", EXTERNAL)
    settle(world, "y")
    hold(world, "r")
    assert suspend(world, "r", "x", "y", now=1100) == 300
    task = world.tasks["r"]
    assert (task.state, task.version, task.pid, task.expires_at) == (TaskState.ACQUIRED, 1, "p", 1500)
    assert not world.promises["x"].callbacks
    assert fulfill(world, "r", now=1200).status == 200


def t6_a_task_born_dead_is_an_answer(world: World) -> None:
    """T6: 200 with a fulfilled task at version 0."""
    answer = hold(world, "r", timeout_at=1000)
    assert (answer.status, answer.task) == (200, Task(id="r", state=TaskState.FULFILLED, version=0))


def t7_resumes_survive_until_taken(world: World) -> None:
    """T7: release, expiry, halt and continue keep them; acquire takes them."""
    create(world, "x", EXTERNAL)
    hold(world, "r")
    world.submit(rq.PromiseRegisterCallback(awaited="x", awaiter="r"), 1000)
    settle(world, "x")
    world.submit(Wake(id="x", awaiter="r"), 1000)
    world.submit(rq.TaskRelease(id="r", version=1), 1000)
    world.submit(rq.TaskHalt(id="r"), 1000)
    world.submit(rq.TaskContinue(id="r"), 1000)
    assert world.tasks["r"].resumes == {"x"}
    answer = acquire(world, "r", 1)
    assert answer.task == Task(id="r", state=TaskState.ACQUIRED, version=2, ttl=TTL, pid="p")
    assert not world.tasks["r"].resumes


def t8_the_first_wake_stands_alone(world: World) -> None:
    """T8: a suspended task is woken with exactly one resume, due now, at its version."""
    create(world, "x", EXTERNAL)
    hold(world, "r")
    suspend(world, "r", "x")
    settle(world, "x")
    world.submit(Wake(id="x", awaiter="r"), 1700)
    task = world.tasks["r"]
    assert (task.state, task.resumes, task.retry_at, task.version) == (TaskState.PENDING, frozenset("x"), 1700, 1)


def t9_a_stale_callback_may_wake(world: World) -> None:
    """T9: a task that no longer waits for a promise is woken by it all the same."""
    for id in ("x", "y"):
        create(world, id, EXTERNAL)
    hold(world, "r")
    suspend(world, "r", "x", "y")
    settle(world, "y")
    world.submit(Wake(id="y", awaiter="r"), 1000)
    acquire(world, "r", 1)
    create(world, "z", EXTERNAL)
    assert suspend(world, "r", "z", version=2) == 200
    settle(world, "x")
    world.submit(Wake(id="x", awaiter="r"), 1000)
    assert world.tasks["r"].state is TaskState.PENDING


def t10_a_promise_born_dead_was_created_at_its_deadline(world: World) -> None:
    """T10: even if that is far in the past; a timer is born resolved."""
    for id, tags, state in (("x", EXTERNAL, PromiseState.TIMEDOUT), ("t", TIMER, RESOLVED)):
        promise = create(world, id, tags, timeout_at=7).promise
        assert promise is not None
        assert (promise.state, promise.created_at, promise.settled_at) == (state, 7, 7)


def t11_a_fence_settles_anything(world: World) -> None:
    """T11: also another holder's promise, whose task ends with it."""
    hold(world, "r")
    hold(world, "other")
    action = rq.PromiseSettle(id="other", state=RESOLVED)
    answer = world.submit(rq.TaskFence(id="r", version=1, action=action), 1000)
    assert answer.action is not None
    assert answer.action.status == 200
    assert world.tasks["other"].state is TaskState.FULFILLED
    assert fulfill(world, "other").status == 409


def t12_unknown_tags_are_kept(world: World) -> None:
    """T12: byte for byte, through settlement."""
    tags = {**EXTERNAL, "x:y": " \u00e9\u0001", "": "empty"}
    create(world, "x", tags)
    promise = settle(world, "x").promise
    assert promise is not None
    assert promise.tags == tags


def t13_a_fence_on_itself_is_malformed(world: World) -> None:
    """T13: 400 even when the task does not exist."""
    for action in (rq.PromiseSettle(id="r", state=RESOLVED), rq.PromiseCreate(id="r", timeout_at=FAR)):
        assert world.submit(rq.TaskFence(id="r", version=1, action=action), 1000).status == 400


def t14_shape_precedes_existence(world: World) -> None:
    """T14: nothing exists, yet each of these is 400."""
    timer_target = {**TIMER, **TARGET}
    resolve = rq.PromiseSettle(id="r", state=RESOLVED)
    wait = rq.PromiseRegisterCallback(awaited="x", awaiter="r")
    requests: list[rq.Request] = [
        rq.PromiseCreate(id="x", timeout_at=FAR, tags=timer_target),
        rq.PromiseSettle(id="x", state=PromiseState.TIMEDOUT),
        rq.PromiseSettle(id="x", state=PromiseState.PENDING),
        rq.PromiseRegisterCallback(awaited="x", awaiter="x"),
        rq.PromiseRegisterListener(awaited="x", address="mail:x"),
        rq.TaskCreate(pid="p", ttl=1, action=rq.PromiseCreate(id="x", timeout_at=FAR)),
        rq.TaskAcquire(id="x", version=0, pid="p", ttl=0),
        rq.TaskSuspend(id="r", version=1, actions=()),
        rq.TaskSuspend(id="x", version=1, actions=(wait,)),
        rq.TaskSuspend(id="r", version=1, actions=(wait, wait)),
        rq.TaskFulfill(id="other", version=1, action=resolve),
        rq.TaskFulfill(id="x", version=1, action=rq.PromiseSettle(id="x", state=PromiseState.TIMEDOUT)),
        rq.ScheduleCreate(id="s", cron="* * * * *", promise_id="x", promise_timeout=1, promise_tags=timer_target),
    ]
    for request in requests:
        assert world.submit(request, 1000).status == 400, request


def t15_a_heartbeat_extends_by_the_stored_ttl(world: World) -> None:
    """T15: from now on."""
    hold(world, "r")
    world.submit(rq.TaskHeartbeat(pid="p", tasks=(rq.TaskRef(id="r", version=1),)), 1300)
    assert world.tasks["r"].expires_at == 1300 + TTL


def t17_task_create_acquires_before_the_delay(world: World) -> None:
    """T17: a pending task is taken at once, whatever its instant of dispatch."""
    create(world, "r", {**TARGET, "resonate:delay": "9000"})
    answer = hold(world, "r")
    assert answer.task == Task(id="r", state=TaskState.ACQUIRED, version=1, ttl=TTL, pid="p")


def t18_acquire_does_not_wait_for_the_delay(world: World) -> None:
    """T18: nor does an acquire."""
    create(world, "r", {**TARGET, "resonate:delay": "9000"})
    assert acquire(world, "r", 0).status == 200


def notify_sends_once(world: World) -> None:
    """A listener gets one message with the settled record, and is gone."""
    create(world, "x", EXTERNAL)
    world.submit(rq.PromiseRegisterListener(awaited="x", address="http://x"), 1000)
    settle(world, "x")
    for _ in range(2):
        world.submit(Notify(id="x", address="http://x"), 1000)
    assert [message.promise for message in world.messages.values()] == [world.promises["x"].record]
    assert list(world.messages) == ["x:notify:http://x"]
    assert not world.promises["x"].listeners


def dispatch_repeats_after_the_interval(world: World) -> None:
    """An offer arms the next one, a retry interval later."""
    create(world, "r", TARGET)
    for now in (1000, 1001, 1000 + world.retry_interval):
        world.submit(Dispatch(id="r"), now)
    assert world.tasks["r"].retry_at == 1000 + 2 * world.retry_interval


def cascade_reaches_attached_descendants_only(world: World) -> None:
    """A cascade cancels what is below, stops at detached runs and spares what is settled."""
    hold(world, "r")
    for id, tags in (("r:1", TARGET), ("r:2", {**TARGET, "resonate_web:detached": "true"}), ("r:3", {})):
        action = rq.PromiseCreate(id=id, timeout_at=FAR, tags=tags)
        world.submit(rq.TaskFence(id="r", version=1, action=action), 1000)
    settle(world, "r:3")
    world.submit(Cascade(id="r"), 1000)
    assert world.promises["r:1"].record.state is PromiseState.PENDING
    fulfill(world, "r")
    world.submit(Cascade(id="r"), 1100)
    states = {id: world.promises[id].record.state for id in ("r:1", "r:2", "r:3")}
    assert states == {"r:1": PromiseState.CANCELED, "r:2": PromiseState.PENDING, "r:3": RESOLVED}
    assert world.tasks["r:1"].state is TaskState.FULFILLED


SCENARIOS: tuple[Scenario, ...] = tuple(
    scenario
    for name, scenario in sorted(globals().items())
    if name.startswith(("notify_", "dispatch_", "cascade_")) or (name[0] in "ct" and name[1:2].isdigit())
)
