"""Replay: the same ids every time, and nothing that was stored is done again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from resonate_web.protocol.records import PromiseState
from resonate_web.protocol.requests import PromiseCreate, TaskContinue, TaskFence, TaskHalt
from resonate_web.testing.rehearsal import Crash, Rehearsal
from resonate_web.workflow.context import Context, StepContext
from resonate_web.workflow.retry import Constant

LEDGER: list[str] = []


def work(ctx: StepContext, *args: Any) -> Any:
    LEDGER.append(ctx.key)
    return [ctx.key, *args]


def flaky(ctx: StepContext) -> str:
    LEDGER.append(ctx.key)
    if ctx.attempt < 3:
        raise OSError("not yet")
    return ctx.key


def broken(ctx: StepContext) -> None:
    LEDGER.append(ctx.key)
    raise TypeError("never")


def leaf(ctx: Context, n: int) -> Any:
    return (yield ctx.run(work, n))


def sequence(ctx: Context) -> Any:
    total = []
    for n in range(4):
        total.append((yield ctx.run(work, n)))
    return total


def fan_out(ctx: Context) -> Any:
    futures = []
    for n in range(4):
        futures.append((yield ctx.begin_run(work, n)))
        futures.append((yield ctx.begin_rpc(leaf, n)))
    return (yield ctx.all(futures))


def nested(ctx: Context) -> Any:
    def inner(ctx: Context, depth: int) -> Any:
        yield ctx.run(work, depth)
        if depth:
            yield ctx.run(inner, depth - 1)
        yield ctx.sleep(1)
        return (yield ctx.run(work, -depth))

    one = yield ctx.begin_run(inner, 2)
    two = yield ctx.begin_run(inner, 1)
    return [(yield two), (yield one)]


def sleeper(ctx: Context) -> Any:
    yield ctx.run(work, 1)
    yield ctx.sleep(10)
    yield ctx.run(work, 2)
    yield ctx.sleep(10)
    return (yield ctx.run(work, 3))


def racer(ctx: Context) -> Any:
    first = yield ctx.race(ctx.sleep(5), ctx.rpc(leaf, 1), ctx.run(work, 2))
    second = yield ctx.race(ctx.sleep(1), ctx.sleep(2))
    return [list(first), list(second)]


def retrier(ctx: Context) -> Any:
    yield ctx.options(retry=Constant(1)).run(flaky)
    try:
        yield ctx.run(broken)
    except TypeError:
        yield ctx.run(work, "after")
    return "done"


def detacher(ctx: Context) -> Any:
    future = yield ctx.detached(leaf, 1)
    yield ctx.detached(leaf, 2)
    yield ctx.run(work, 1)
    return (yield future)


def finalizer(ctx: Context) -> Any:
    hold = yield ctx.run(work, "hold")
    try:
        yield ctx.sleep(1)
        yield ctx.run(work, "use")
        yield ctx.sleep(1)
    finally:
        yield ctx.run(work, "release")
    return hold


def unawaited(ctx: Context) -> Any:
    yield ctx.begin_run(work, 1)
    yield ctx.begin_run(leaf, 2)
    yield ctx.begin_rpc(leaf, 3)
    yield ctx.begin_run(broken)
    return "left"


def recorder(ctx: Context) -> Any:
    drawn = [(yield ctx.random.random()), (yield ctx.time.now_ms()), (yield ctx.random.choice([1, 2, 3]))]
    yield ctx.sleep(1)
    return drawn


def timed(ctx: Context) -> Any:
    def slow(ctx: Context) -> Any:
        yield ctx.run(work, "in")
        yield ctx.sleep(100)

    try:
        yield ctx.options(timeout=5).run(slow)
    except TimeoutError:
        return (yield ctx.run(work, "late"))


def failing(ctx: Context) -> Any:
    yield ctx.begin_rpc(leaf, 1)
    yield ctx.begin_run(nested)
    yield ctx.run(work, 1)
    raise ValueError("as it happens")


CORPUS = (
    sequence, fan_out, nested, sleeper, racer, retrier, detacher, finalizer, unawaited, recorder, timed, failing
)  # fmt: skip


def _rehearsal(**options: Any) -> Rehearsal:
    LEDGER.clear()
    rehearsal = Rehearsal(**options)
    for fn in (leaf, *CORPUS):
        rehearsal.registry.add(fn)
    return rehearsal


def _outcome(rehearsal: Rehearsal, id: str = "r") -> Any:
    try:
        return rehearsal.finish(id)
    except Crash:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("workflow", CORPUS)
def test_a_kept_generator_and_a_replayed_one_do_the_same(workflow: Callable[..., Any]) -> None:
    """Keeping suspended generators changes neither outcome, records nor effects."""
    histories = []
    for keep in (True, False):
        rehearsal = _rehearsal(keep=keep)
        rehearsal.dependencies["resonate:random"] = Random(1)
        rehearsal.begin("r", workflow)
        outcome = _outcome(rehearsal)
        states = {id: state for id, (state, _) in rehearsal.records().items()}
        histories.append((outcome, states, sorted(LEDGER)))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("workflow", [w for w in CORPUS if w is not failing])  # it ends in the middle of things
@pytest.mark.parametrize("seed", range(4))
def test_the_order_in_which_bodies_end_does_not_matter(workflow: Callable[..., Any], seed: int) -> None:
    """Ids, arguments and the outcome of a run do not depend on which step is faster."""
    base, other = _rehearsal(), _rehearsal(dice=Random(seed))
    for rehearsal in (base, other):
        rehearsal.dependencies["resonate:random"] = Random(1)
        rehearsal.begin("r", workflow)
    outcomes = [_outcome(base), _outcome(other)]
    assert base.records().keys() == other.records().keys()
    if workflow is not racer:
        assert outcomes[0] == outcomes[1]


def _crashing(workflow: Callable[..., Any], seed: int, **crash: int) -> tuple[Rehearsal, Any, bool]:
    """Run with one crash; return the rehearsal after recovery, its outcome, and whether it came to the crash."""
    rehearsal = _rehearsal(dice=Random(seed), **crash)
    rehearsal.dependencies["resonate:random"] = Random(1)
    rehearsal.begin("r", workflow)
    try:
        return rehearsal, _outcome(rehearsal), False
    except Crash:
        pass
    before = rehearsal.records()
    done = {id for id, (state, _) in before.items() if state != PromiseState.PENDING}
    rehearsal.groups_left = rehearsal.bodies_left = None
    rehearsal.bodies.clear()
    outcome = _outcome(rehearsal)
    assert not done & set(rehearsal.bodies), "a stored step was started again"
    after = rehearsal.records()
    assert {id: after[id] for id in done} == {id: before[id] for id in done}, "a settled promise changed"
    return rehearsal, outcome, True


@pytest.mark.parametrize("workflow", CORPUS)
def test_a_crash_at_every_group_repeats_nothing_that_was_stored(workflow: Callable[..., Any]) -> None:
    """Whatever group is the last before a crash, the run ends with the same ids, and stored steps stay done."""
    clean, expected, _ = _crashing(workflow, 0)
    for group in range(1, 60):
        rehearsal, outcome, crashed = _crashing(workflow, 0, groups_left=group)
        if not crashed:
            assert group > 1
            break
        assert rehearsal.records().keys() >= {id for id in clean.records() if "@" not in id}
        if workflow not in (racer, recorder):
            assert outcome == expected
    else:
        raise AssertionError("60 groups were not enough")


@pytest.mark.parametrize("workflow", CORPUS)
def test_a_crash_after_every_body_repeats_at_most_that_body(workflow: Callable[..., Any]) -> None:
    """A body whose result was not stored runs again under the same key; every other one runs once."""
    for body in range(1, 60):
        rehearsal, _, crashed = _crashing(workflow, 0, bodies_left=body)
        if not crashed:
            break
        del rehearsal
        again = {key for key in LEDGER if LEDGER.count(key) > 1} - {"r/flaky/1"}
        running_at_once = {fan_out: 8, nested: 2, unawaited: 4, racer: 2, failing: 3}.get(workflow, 1)
        assert len(again) <= running_at_once


@pytest.mark.parametrize("workflow", CORPUS)
def test_replay_over_unchanged_records_is_a_fixed_point(workflow: Callable[..., Any]) -> None:
    """Releasing and replaying a run at every point where it waits adds nothing to what is stored."""
    rehearsal = _rehearsal()
    rehearsal.begin("r", workflow)
    for _ in range(40):
        if rehearsal.promise("r").state is not PromiseState.PENDING:
            break
        rehearsal.machine.settle_down(rehearsal.now)
        pending = [id for id, task in sorted(rehearsal.machine.tasks.items()) if task.state == "pending"]
        if not pending:
            assert rehearsal.proceed()
            continue
        try:
            ended = rehearsal.drive(pending[0])
        except Exception:
            break
        if ended == "suspended":
            twin = _twin(rehearsal)
            before = twin.records()
            twin.begin("other", leaf, 0)  # the run itself is only disturbed, never told anything
            _disturb(twin, pending[0])
            twin_after = {id: row for id, row in twin.records().items() if not id.startswith("other")}
            assert twin_after == before


def _twin(rehearsal: Rehearsal) -> Rehearsal:
    return Rehearsal(
        registry=rehearsal.registry, codec=rehearsal.codec, now=rehearsal.now, machine=rehearsal.machine.copy(),
        dependencies=rehearsal.dependencies,
    )  # fmt: skip


def _disturb(rehearsal: Rehearsal, id: str) -> None:
    """Halt and continue a suspended task, so that it is acquired and replayed without any news."""
    rehearsal.submit(TaskHalt(id=id))
    rehearsal.submit(TaskContinue(id=id))
    bodies = len(rehearsal.bodies)
    assert rehearsal.drive(id) == "suspended"
    assert len(rehearsal.bodies) == bodies


@pytest.mark.parametrize("workflow", CORPUS)
def test_no_row_is_written_before_its_parents(workflow: Callable[..., Any]) -> None:
    """Every create names a parent that exists at that moment."""
    for seed in range(3):
        rehearsal = _rehearsal(dice=Random(seed))
        rehearsal.begin("r", workflow)
        _outcome(rehearsal)
        known = {"r"}
        for request in rehearsal.sent:
            action = request.action if isinstance(request, TaskFence) else request
            if isinstance(action, PromiseCreate):
                assert action.tags["resonate:parent"] in known, action.id
                known.add(action.id)


def test_recorded_time_and_randomness_are_read_again() -> None:
    """Every replay reads the instant and the numbers that were drawn first."""
    rehearsal = _rehearsal()
    first = rehearsal.run("r", recorder)
    value = rehearsal.codec.decode(rehearsal.promise("r:1").value)
    assert first[0] == value
    assert rehearsal.bodies == ["r:1", "r:2", "r:3"]


def test_logging_is_silent_while_replaying(caplog: pytest.LogCaptureFixture) -> None:
    """`ctx.log` writes each line once, however often the workflow is replayed; detached runs do not silence it."""

    def workflow(ctx: Context) -> Any:
        ctx.log.info("start")
        yield ctx.run(work, 1)
        yield ctx.detached(leaf, 1)
        ctx.log.info("worked")
        yield ctx.sleep(1)
        ctx.log.info("slept")
        yield ctx.run(work, 2)
        yield ctx.sleep(1)
        ctx.log.info("end")

    rehearsal = _rehearsal()
    rehearsal.registry.add(workflow)
    with caplog.at_level(logging.INFO, "resonate_web.run"):
        rehearsal.run("r", workflow)
    assert [record.getMessage() for record in caplog.records] == ["start", "worked", "slept", "end"]


def test_a_detached_child_of_a_finished_workflow_does_not_silence_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Records that nobody will meet again do not count as a replay."""

    def inner(ctx: Context) -> Any:
        yield ctx.detached(leaf, 1)

    def workflow(ctx: Context) -> Any:
        yield ctx.run(inner)
        yield ctx.sleep(1)
        ctx.log.info("end")

    rehearsal = _rehearsal()
    rehearsal.registry.add(workflow)
    with caplog.at_level(logging.INFO, "resonate_web.run"):
        rehearsal.run("r", workflow)
    assert [record.getMessage() for record in caplog.records] == ["end"]
