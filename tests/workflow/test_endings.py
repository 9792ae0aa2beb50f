"""How runs end: what they wait for, what they cancel, what a deadline does, and what closing does not do."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from resonate_web.errors import Canceled, TimedOut
from resonate_web.protocol.records import PromiseState
from resonate_web.protocol.requests import PromiseCreate, TaskAcquire, TaskFence
from resonate_web.testing.rehearsal import Crash, Rehearsal
from resonate_web.workflow.context import Context
from resonate_web.workflow.coroutine import Coroutine, Raised, Returned, Yielded
from resonate_web.workflow.retry import Constant, Never

PENDING, RESOLVED, REJECTED = PromiseState.PENDING, PromiseState.RESOLVED, PromiseState.REJECTED
CANCELED, TIMEDOUT = PromiseState.CANCELED, PromiseState.TIMEDOUT


def step(*args: Any) -> Any:
    return list(args)


def child(ctx: Context, n: int) -> Any:
    yield ctx.sleep(n)
    return n


def forever(ctx: Context) -> Any:
    yield (yield ctx.promise("never"))


def _rehearsal(*fns: Any, **options: Any) -> Rehearsal:
    rehearsal = Rehearsal(**options)
    for fn in (child, forever, *fns):
        rehearsal.registry.add(fn)
    return rehearsal


def _states(rehearsal: Rehearsal) -> dict[str, PromiseState]:
    return {id: rehearsal.promise(id).state for id in sorted(rehearsal.machine.promises)}


# Structured concurrency


@pytest.mark.parametrize("keep", [True, False])
def test_a_run_waits_for_its_attached_steps_and_runs(keep: bool) -> None:
    """A workflow that returns early ends after everything it began, and with its own value."""

    def fail() -> None:
        raise TypeError("not the run's failure")

    def workflow(ctx: Context) -> Any:
        yield ctx.begin_run(step)
        yield ctx.begin_run(child, 5)
        yield ctx.begin_rpc(child, 10)
        yield ctx.begin_run(fail)
        return "early"

    rehearsal = _rehearsal(workflow, keep=keep)
    start = rehearsal.now
    assert rehearsal.run("r", workflow) == "early"
    assert rehearsal.now == start + 10_000
    assert {id: s for id, s in _states(rehearsal).items() if s is not RESOLVED} == {"r:4": REJECTED}


@pytest.mark.parametrize("keep", [True, False])
def test_what_nobody_awaits_is_canceled_with_the_end(keep: bool) -> None:
    """Timers and promises left behind are canceled in the group of the fulfil; detached runs live on."""

    def workflow(ctx: Context) -> Any:
        yield ctx.promise("approval")
        sleep = yield ctx.all()  # an empty join is over at once
        assert sleep == []
        yield ctx.race(ctx.run(step), ctx.sleep(1000))
        yield ctx.detached(child, 50)
        return "done"

    rehearsal = _rehearsal(workflow, keep=keep)
    assert rehearsal.run("r", workflow) == "done"
    states = _states(rehearsal)
    detached = next(id for id in states if id.startswith("r:d"))
    assert states["r:@approval"] is CANCELED
    assert states[detached] is PENDING
    while rehearsal.proceed():
        pass
    assert rehearsal.promise(detached).state is RESOLVED


def test_failure_cancels_what_is_attached() -> None:
    """A workflow that raises cancels its unsettled descendants in the same group."""

    def parent(ctx: Context) -> Any:
        yield ctx.begin_rpc(forever)
        yield ctx.begin_run(forever)
        yield ctx.detached(child, 1)
        yield ctx.sleep(1)
        raise ValueError("enough")

    rehearsal = _rehearsal(parent)
    with pytest.raises(ValueError, match="enough"):
        rehearsal.run("r", parent)
    states = _states(rehearsal)
    assert states["r:1"] is states["r:1.@never"] is states["r:2"] is states["r:2.@never"] is CANCELED
    assert CANCELED not in [state for id, state in states.items() if id.startswith("r:d")]


def test_a_caught_failure_of_an_inner_workflow_cancels_only_its_own() -> None:
    """An inner workflow's failure ends what it began, not its siblings."""

    def inner(ctx: Context) -> Any:
        yield ctx.begin_rpc(forever)
        yield ctx.sleep(1)
        raise ValueError("inner")

    def parent(ctx: Context) -> Any:
        other = yield ctx.begin_rpc(child, 5)
        with pytest.raises(ValueError, match="inner"):
            yield ctx.run(inner)
        return (yield other)

    rehearsal = _rehearsal(inner, parent)
    assert rehearsal.run("r", parent) == 5
    assert _states(rehearsal)["r:2.1"] is CANCELED


def test_all_waits_for_every_member_then_raises_the_first_error_by_position() -> None:
    """`all` never leaves members running: it raises after the last, whichever failed first in time."""

    def late(ctx: Context) -> Any:
        yield ctx.sleep(20)
        raise ValueError("late but first")

    def early(ctx: Context) -> Any:
        yield ctx.sleep(1)
        raise KeyError("early")

    def workflow(ctx: Context) -> Any:
        try:
            yield ctx.all(ctx.rpc(child, 5), ctx.rpc(late), ctx.rpc(early), ctx.rpc(child, 40))
        except ValueError as error:
            return str(error)

    rehearsal = _rehearsal(late, early, workflow)
    start = rehearsal.now
    assert rehearsal.run("r", workflow) == "late but first"
    assert rehearsal.now == start + 40_000


def test_a_canceled_child_raises_at_its_yield() -> None:
    """A child that somebody canceled raises Canceled where it is awaited."""

    def workflow(ctx: Context) -> Any:
        promise = yield ctx.promise("p")
        try:
            yield promise
        except Canceled:
            return "canceled"

    rehearsal = _rehearsal(workflow)
    rehearsal.begin("r", workflow)
    rehearsal.proceed()
    rehearsal.settle("r:@p", state=CANCELED)
    assert rehearsal.finish("r") == "canceled"


def test_a_step_settled_by_somebody_else_keeps_their_outcome() -> None:
    """A result that comes second is replaced by the recorded one, live as in a replay."""
    rehearsal = _rehearsal()

    def slow() -> str:
        rehearsal.settle("r:1", "theirs")
        return "mine"

    def workflow(ctx: Context) -> Any:
        return (yield ctx.options(announce=True).run(slow))

    rehearsal.registry.add(workflow)
    assert rehearsal.run("r", workflow) == "theirs"


# Deadlines


@pytest.mark.parametrize("keep", [True, False])
def test_a_sleep_cut_by_its_runs_deadline_is_no_wake(keep: bool) -> None:
    """A local workflow that sleeps beyond its deadline times out; the sleep ends as timed out, never as a wake."""
    woke: list[bool] = []

    def slow(ctx: Context) -> Any:
        yield ctx.run(step)
        yield ctx.sleep(100)
        woke.append(True)

    def workflow(ctx: Context) -> Any:
        try:
            yield ctx.options(timeout=5).run(slow)
        except TimedOut:
            return (yield ctx.run(step, "late"))

    rehearsal = _rehearsal(workflow, keep=keep)
    start = rehearsal.now
    assert rehearsal.run("r", workflow) == ["late"]
    assert rehearsal.now == start + 5000
    assert woke == []
    assert _states(rehearsal)["r:1.2"] is not RESOLVED


def test_a_sleep_cut_by_the_root_deadline_times_out_with_it() -> None:
    """A root run's deadline ends it as timed out, with its sleep, and without any further command."""

    def workflow(ctx: Context) -> Any:
        yield ctx.sleep(100)
        yield ctx.run(step)

    rehearsal = _rehearsal(workflow)
    rehearsal.begin("r", workflow, timeout_ms=5000)
    with pytest.raises(TimedOut):
        rehearsal.finish("r")
    assert _states(rehearsal) == {"r": TIMEDOUT, "r:1": TIMEDOUT}


def test_a_sleep_that_fits_wakes_normally() -> None:
    """A sleep that ends before or exactly at the deadline is a timer."""

    def workflow(ctx: Context) -> Any:
        yield ctx.options(timeout=5).sleep(5)
        return "awake"

    rehearsal = _rehearsal(workflow)
    assert rehearsal.run("r", workflow) == "awake"
    assert _states(rehearsal)["r:1"] is RESOLVED


def test_an_explicit_timeout_bounds_attached_children_but_not_detached_ones() -> None:
    """Everything attached below a bounded workflow has at most its deadline."""

    def bounded(ctx: Context) -> Any:
        yield ctx.promise("mine", timeout=1000)
        yield ctx.begin_rpc(forever)
        yield ctx.detached(child, 1)
        yield ctx.options(timeout=1).promise("shorter")
        yield ctx.sleep(1000)

    def workflow(ctx: Context) -> Any:
        with pytest.raises(TimedOut):
            yield ctx.options(timeout=60).run(bounded)

    rehearsal = _rehearsal(workflow)
    start = rehearsal.now
    rehearsal.run("r", workflow)
    limits = {
        request.action.id: request.action.timeout_at - start
        for request in rehearsal.sent
        if isinstance(request, TaskFence) and isinstance(request.action, PromiseCreate)
    }
    detached = next(id for id in limits if id.startswith("r:d"))
    assert limits.pop(detached) > 10**12
    del limits["r:1.1.@never"], limits[f"{detached}.1"]
    assert limits == {"r:1": 60_000, "r:1.@mine": 60_000, "r:1.1": 60_000, "r:1.@shorter": 1000, "r:1.3": 60_000}


def test_a_step_that_is_late_has_timed_out() -> None:
    """A result after the step's deadline is answered with the time-out, and its retries stop at the deadline."""
    rehearsal = _rehearsal()

    def slow() -> str:
        rehearsal.now += 10_000
        return "too late"

    def flaky() -> None:
        raise OSError("again")

    def workflow(ctx: Context) -> Any:
        found = []
        try:
            yield ctx.options(timeout=5).run(slow)
        except TimedOut:
            found.append("slow")
        try:
            yield ctx.options(timeout=5, retry=Constant(2)).run(flaky)
        except OSError as error:
            found.append(str(error))
        return found

    rehearsal.registry.add(workflow)
    assert rehearsal.run("r", workflow) == ["slow", "again"]
    assert rehearsal.bodies == ["r:1", "r:2", "r:2", "r:2"]


def test_a_child_whose_deadline_passed_is_not_run_again() -> None:
    """A local workflow whose deadline passed while nobody ran it is timed out at once, with what it had begun."""
    ran: list[int] = []

    def slow(ctx: Context) -> Any:
        ran.append(1)
        yield ctx.run(step)
        yield ctx.run(step)

    def workflow(ctx: Context) -> Any:
        try:
            yield ctx.options(timeout=5).run(slow)
        except TimedOut:
            return "late"

    rehearsal = _rehearsal(workflow, bodies_left=2)
    rehearsal.begin("r", workflow)
    with pytest.raises(Crash):
        rehearsal.finish("r")
    rehearsal.bodies_left = None
    rehearsal.now += 6000
    assert rehearsal.finish("r") == "late"
    assert (ran, rehearsal.bodies) == ([1], ["r:1.1", "r:1.2"])


@pytest.mark.parametrize("keep", [True, False])
def test_a_deadline_that_passed_during_a_suspension_counts_when_the_run_goes_on(keep: bool) -> None:
    """A bounded workflow that waits for a detached run is timed out as soon as anything wakes the run."""

    def bounded(ctx: Context) -> Any:
        yield (yield ctx.detached(child, 1000))

    def workflow(ctx: Context) -> Any:
        future = yield ctx.options(timeout=5).begin_run(bounded)
        yield ctx.sleep(20)
        try:
            yield future
        except TimedOut:
            return "late"

    rehearsal = _rehearsal(workflow, keep=keep)
    start = rehearsal.now
    assert rehearsal.run("r", workflow) == "late"
    assert rehearsal.now == start + 20_000


# Closing is not an ending


def holding(ctx: Context) -> Any:
    yield ctx.run(step, "hold")
    try:
        yield ctx.sleep(1)
        yield ctx.run(step, "use")
        yield ctx.sleep(1)
    finally:
        yield ctx.run(step, "release")
    return "kept"


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("crash", [None, 1, 2, 3, 4, 5, 6, 7, 8])
def test_a_release_in_finally_runs_once(keep: bool, crash: int | None) -> None:
    """Two sleeps, a crash anywhere, no cache: `release` runs at the end, once."""
    rehearsal = _rehearsal(holding, keep=keep, groups_left=crash)
    rehearsal.begin("r", holding)
    try:
        rehearsal.finish("r")
    except Crash:
        rehearsal.groups_left = None
        rehearsal.kept.clear()
    assert rehearsal.finish("r") == "kept"
    assert rehearsal.bodies.count("r:5") == 1
    assert rehearsal.bodies[-1] == "r:5"


def test_a_killed_execution_writes_nothing() -> None:
    """After `kill` nothing is sent, whatever the workflow yields while it unwinds or bodies bring later."""

    def workflow(ctx: Context) -> Any:
        try:
            yield ctx.run(step)
        finally:
            yield ctx.run(step, "release")
            yield ctx.detached(child, 1)

    rehearsal = _rehearsal(workflow)
    rehearsal.begin("r", workflow)
    answer = rehearsal.submit(_acquire())
    assert answer.promise is not None
    execution = rehearsal._load(answer.promise, 1, ())
    execution.begin()
    node = execution.collect().start[0]
    assert execution.kill() == [node]
    execution.body_ended(node, RESOLVED, rehearsal.codec.encode(1))
    execution.attempt_failed(node, 1, rehearsal.codec.encode(1))
    execution.announce(node)
    execution.expired(node)
    execution.settled([])
    actions = execution.collect()
    assert (actions.send, actions.start, actions.refusal) == ([], [], None)


def _acquire() -> Any:
    return TaskAcquire(id="r", version=0, pid="p", ttl=1000, preload="owned")


def _helper(log: list[str], name: str) -> Any:
    try:
        yield name
    finally:
        log.append(f"{name} closing")
        yield f"{name} in finally"
        yield f"{name} again"
        log.append(f"{name} closed")


def _delegating(log: list[str]) -> Any:
    try:
        yield from _helper(log, "inner")
    finally:
        yield "outer in finally"
        yield from _helper(log, "second")
        log.append("outer closed")


async def _awaiting(log: list[str]) -> Any:
    class Command:
        def __init__(self, name: str) -> None:
            self.name = name

        def __await__(self) -> Any:
            return (yield self.name)

    async def inner() -> None:
        try:
            await Command("inner")
        finally:
            await Command("inner in finally")
            log.append("inner closed")

    try:
        await inner()
    finally:
        await Command("outer in finally")
        log.append("outer closed")


@pytest.mark.parametrize(
    "make", [lambda log: _helper(log, "x"), _delegating, _awaiting], ids=["plain", "delegating", "awaiting"]
)
def test_closing_unwinds_from_the_inside_out(make: Any) -> None:
    """Commands of `finally` blocks are dropped, at every depth, and nothing is left to the garbage collector."""
    log: list[str] = []
    body = Coroutine(lambda: make(log))
    assert isinstance(body.advance(None, None), Yielded)
    body.close()
    body.close()
    made, seen = body._body, list(log)
    assert getattr(made, "gi_frame", None) is None
    assert getattr(made, "cr_frame", None) is None
    assert not any("closed" in line for line in seen)  # a dropped command is the end of its `finally`
    del body, made
    gc.collect()
    assert log == seen


def test_a_body_that_refuses_to_close_is_given_up() -> None:
    """A workflow that swallows every exit cannot keep its process from going on."""

    def stubborn() -> Any:
        for n in range(5000):
            try:
                yield n
            except BaseException:
                pass

    body = Coroutine(stubborn)
    body.advance(None, None)
    body.close()
    made = body._body
    for _ in range(5000):  # let it end, so that the garbage collector finds nothing
        try:
            next(made)
        except StopIteration:
            break


def test_a_body_that_was_never_started_is_closed_silently() -> None:
    """Closing before the first command calls nothing at all."""
    called: list[int] = []
    body = Coroutine(lambda: called.append(1))
    body.close()
    assert called == []


def test_a_plain_function_is_a_workflow_without_commands() -> None:
    """A call that returns a value at once has ended with it; one that raises has failed."""
    assert Coroutine(lambda: 7).advance(None, None) == Returned(7)
    raised = Coroutine(lambda: 1 / 0).advance(None, None)
    assert isinstance(raised, Raised)
    assert isinstance(raised.error, ZeroDivisionError)


def test_ctrl_c_is_nobodys_failure() -> None:
    """KeyboardInterrupt belongs to the process, not to the run."""

    def workflow() -> Any:
        yield 1
        raise KeyboardInterrupt

    body = Coroutine(workflow)
    body.advance(None, None)
    with pytest.raises(KeyboardInterrupt):
        body.advance(None, None)


def test_a_run_without_retries_fails_at_its_first_error() -> None:
    """`Never` gives up at once; the error that ends a step is the run's."""

    def boom() -> None:
        raise OSError("once")

    def workflow(ctx: Context) -> Any:
        yield ctx.options(retry=Never()).run(boom)

    rehearsal = _rehearsal(workflow)
    with pytest.raises(OSError, match="once"):
        rehearsal.run("r", workflow)
    assert rehearsal.bodies == ["r:1"]


def test_canceling_a_local_workflow_from_outside_cancels_what_it_began() -> None:
    """Nothing below a local workflow that others settled goes on once the run is replayed."""

    def inner(ctx: Context) -> Any:
        yield ctx.begin_rpc(forever)
        yield ctx.sleep(1000)

    def workflow(ctx: Context) -> Any:
        future = yield ctx.begin_run(inner)
        yield ctx.sleep(5)
        try:
            yield future
        except Canceled:
            return "canceled"

    rehearsal = _rehearsal(inner, workflow)
    rehearsal.begin("r", workflow)
    while "r:1.1.@never" not in rehearsal.machine.promises:
        rehearsal.proceed()
    rehearsal.settle("r:1", state=CANCELED)
    assert rehearsal.finish("r") == "canceled"
    states = _states(rehearsal)
    assert states["r:1.1"] is states["r:1.2"] is states["r:1.1.@never"] is CANCELED
