"""Runs through client, server and engine, on a virtual clock: several processes, one thread, every seed repeatable."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from resonate_web.engine.events import Event
from resonate_web.errors import ApplicationError, Canceled, TimedOut
from resonate_web.protocol.records import PromiseState
from resonate_web.protocol.requests import PromiseSettle
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.context import Context, StepContext
from resonate_web.workflow.retry import Constant, Exponential, Never

Make = Callable[..., Simulation]


def step(*args: Any) -> Any:
    return list(args)


def child(ctx: Context, n: int) -> Any:
    yield ctx.run(step, n)
    yield ctx.sleep(n)
    return n


def forever(ctx: Context) -> Any:
    yield (yield ctx.promise("never"))


def order(ctx: Context, n: int) -> Any:
    first = yield ctx.run(step, n)
    yield ctx.sleep(5)
    second = yield ctx.rpc(child, 3)
    third = yield ctx.all(ctx.run(step, 1), ctx.rpc(child, 1), ctx.run(child, 2))
    winner = yield ctx.race(ctx.sleep(2), ctx.rpc(child, 50))
    promise = yield ctx.promise("p", timeout=10)
    try:
        yield promise
    except TimedOut:
        return [first, second, third, winner.position]


def _register(client: Resonate, *fns: Callable[..., Any]) -> Resonate:
    known: tuple[Callable[..., Any], ...] = (order, child, forever, *fns)
    for fn in known:
        client.register(fn)
    return client


def _record(client: Resonate) -> list[Event]:
    events: list[Event] = []
    client.events.subscribe(events.append)
    return events


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cache_size", [10_000, 1, 0])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_run_of_everything(simulate: Make, seed: int, cache_size: int, processes: int) -> None:
    """One run, any number of processes, any cache size: the same outcome and the same records."""
    simulation = simulate(seed=seed, cache_size=cache_size)
    clients = [_register(simulation.client(f"p{n}")) for n in range(processes)]
    for client in clients:
        client.ensure_started()
    handle = clients[0].begin_run("r", order, 7)
    assert clients[-1].get("r").result() == [[7], 3, [[1], 1, 2], 0]
    assert handle.result() == [[7], 3, [[1], 1, 2], 0]
    tree = {p.id: p.state for p in clients[0].tree("r") if "@" not in p.id}
    assert set(tree.values()) <= {PromiseState.RESOLVED, PromiseState.CANCELED}
    assert [id for id, s in tree.items() if s is PromiseState.CANCELED][:1] == ["r:8"]


def test_the_same_seed_gives_the_same_log(simulate: Make) -> None:
    """Who runs when is decided by the seed alone."""
    logs = []
    for seed in (1, 1, 2):
        simulation = simulate(seed=seed)
        clients = [_register(simulation.client(f"p{n}")) for n in range(2)]
        for client in clients:
            client.ensure_started()
        for n in range(5):
            clients[n % 2].begin_run(f"r{n}", order, n)
        for n in range(5):
            clients[0].get(f"r{n}").result()
        logs.append(simulation.table.log)
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def test_a_run_alone_changes_threads_once(simulate: Make) -> None:
    """Five steps one after the other are one turn after the start: nothing is handed over in between."""

    def steps(ctx: Context) -> Any:
        for n in range(5):
            yield ctx.run(step, n)

    simulation = simulate(lead=1.0)
    client = _register(simulation.client(), steps)
    client.ensure_started()
    simulation.run_until_idle()
    mark = len(simulation.table.log)
    client.begin_run("r", steps).result()
    assert sum(line.endswith(" run") for line in simulation.table.log[mark:]) <= 8


# Retries


def test_retries_wait_as_the_policy_says(simulate: Make) -> None:
    """A failing step is tried again after growing waits, holding no thread; each failure is recorded with its step."""
    simulation = simulate()
    at: list[int] = []

    def flaky(ctx: StepContext) -> str:
        at.append(simulation.clock.now())
        if ctx.attempt < 4:
            raise OSError(f"attempt {ctx.attempt}")
        return ctx.key

    def workflow(ctx: Context) -> Any:
        return (yield ctx.options(retry=Exponential(delay=1, factor=3)).run(flaky))

    client = _register(simulation.client(), workflow)
    assert client.begin_run("r", workflow).result() == "r/flaky/1"
    assert [b - a for a, b in itertools.pairwise(at)] == [1000, 3000, 9000]
    view = client.view("r")
    assert view is not None
    assert [(f.attempt, f.error_type, f.next_at) for f in view.steps[0].failures] == [
        (1, "OSError", at[1]), (2, "OSError", at[2]), (3, "OSError", at[3]),
    ]  # fmt: skip


def test_the_policy_comes_from_command_registration_or_default(simulate: Make) -> None:
    """The command's policy wins over the function's, which wins over the default; permanent errors are not retried."""
    count: dict[str, int] = {}

    def fail(name: str) -> None:
        count[name] = count.get(name, 0) + 1
        raise OSError(name)

    def wrong() -> None:
        count["wrong"] = count.get("wrong", 0) + 1
        raise TypeError("always")

    class Final(OSError): ...

    def final() -> None:
        count["final"] = count.get("final", 0) + 1
        raise Final("no")

    def workflow(ctx: Context) -> Any:
        for command in (
            ctx.run(fail, "registered"),
            ctx.options(retry=Never()).run(fail, "command"),
            ctx.run(wrong),
            ctx.options(non_retryable=(OSError,)).run(final),
        ):
            try:
                yield command
            except (OSError, TypeError, ApplicationError):
                pass

    client = _register(simulate().client(), workflow)
    client.register(fail, retry=Constant(delay=1, max_retries=2))
    client.begin_run("r", workflow).result()
    assert count == {"registered": 3, "command": 1, "wrong": 1, "final": 1}


def test_a_policy_that_fails_gives_up(simulate: Make) -> None:
    """A retry policy is user code: when it raises, the step has failed, and the run goes on."""

    class Broken:
        def delay_ms(self, retry: int) -> int | None:
            raise ZeroDivisionError

    def fail() -> None:
        raise OSError("the step's own error")

    def workflow(ctx: Context) -> Any:
        try:
            yield ctx.options(retry=Broken()).run(fail)
        except OSError as error:
            return str(error)

    client = _register(simulate().client(), workflow)
    assert client.begin_run("r", workflow).result() == "the step's own error"


def test_exits_in_a_step_fail_that_step(simulate: Make) -> None:
    """SystemExit in a step is its failure; the process goes on."""

    def leave() -> None:
        raise SystemExit(1)

    def workflow(ctx: Context) -> Any:
        try:
            yield ctx.options(retry=Never()).run(leave)
        except ApplicationError as error:
            return error.type_name

    client = _register(simulate().client(), workflow)
    assert client.begin_run("r", workflow).result() == "SystemExit"


# Deadlines and cancellation

CANCEL = PromiseSettle(id="r", state=PromiseState.CANCELED)


def test_a_runs_deadline_ends_it_and_everything_below(simulate: Make) -> None:
    """At its deadline a run is timed out with its descendants, at that very instant; its cleanup is started."""
    simulation = simulate()
    cleaned: list[Any] = []

    def cleanup(ctx: Context, *args: Any) -> Any:
        cleaned.append(args)
        yield ctx.run(step)

    def workflow(ctx: Context, n: int) -> Any:
        yield ctx.begin_rpc(forever)
        yield ctx.sleep(1000)

    client = _register(simulation.client())
    client.register(cleanup)
    client.register(workflow, on_cancel=cleanup)
    start = simulation.clock.now()
    handle = client.options(timeout=30).begin_run("r", workflow, 9)
    with pytest.raises(TimedOut):
        handle.result()
    assert simulation.clock.now() == start + 30_000
    simulation.run_until_idle()
    states = {p.id: p.state for p in client.tree("r")}
    detached = next(id for id in states if id.startswith("r:d") and "." not in id)
    assert states["r"] is states["r:1"] is states["r:2"] is PromiseState.TIMEDOUT
    assert states["r:1.@never"] in (PromiseState.TIMEDOUT, PromiseState.CANCELED)
    assert states[detached] is PromiseState.RESOLVED
    assert cleaned == [(9,)]


def test_cancel_is_hard(simulate: Make) -> None:
    """Canceling a run cancels its descendants, tells its steps, runs no workflow code again, and starts the cleanup."""
    simulation = simulate()
    seen: list[Any] = []

    def cleanup(ctx: Context, name: str) -> Any:
        seen.append(f"cleaning up {name}")
        yield ctx.run(step)

    def long(ctx: StepContext) -> None:
        seen.append(ctx.cancelled)
        other.post([CANCEL], lambda a: None, lead=True)
        simulation.run_until_idle()
        seen.append(ctx.cancelled)

    def workflow(ctx: Context, name: str) -> Any:
        try:
            yield ctx.begin_rpc(forever)
            yield ctx.run(long)
        finally:
            yield ctx.run(step, "never")

    client = _register(simulation.client())
    client.register(cleanup)
    client.register(workflow, on_cancel=cleanup)
    other = client.runtime.server
    with pytest.raises(Canceled):
        client.begin_run("r", workflow, "x").result()
    simulation.run_until_idle()
    assert seen == [False, True, "cleaning up x"] or seen == [False, "cleaning up x", True]
    states = {p.id: p.state for p in client.tree("r")}
    assert states["r:1"] is states["r:1.@never"] is PromiseState.CANCELED
    assert "r:3" not in states


def test_cancel_of_a_suspended_run(simulate: Make) -> None:
    """A run that waits is canceled at once, with its generator; the one who waits for it hears of it."""
    simulation = simulate()
    client = _register(simulation.client())
    handle = client.begin_run("r", forever)
    simulation.run_until_idle()
    assert client.promises.cancel("r").state is PromiseState.CANCELED
    with pytest.raises(Canceled):
        handle.result()
    simulation.run_until_idle()
    engine = client.runtime.engine
    assert engine is not None
    assert engine.roster.held() == []
    assert client.promises.get("r:@never").state is PromiseState.CANCELED


def test_a_race_between_a_step_and_a_child_run_in_one_process(simulate: Make) -> None:
    """While a step runs, the end of a child run wakes the race at once, although both runs are held here."""
    simulation = simulate(cache_size=100)
    ended: list[int] = []

    def slow(ctx: StepContext) -> None:
        simulation.pass_time(60_000)
        ended.append(simulation.clock.now())

    def workflow(ctx: Context) -> Any:
        winner = yield ctx.race(ctx.run(slow), ctx.rpc(child, 2))
        return [winner.position, (yield ctx.time.now_ms())]

    client = _register(simulation.client(), workflow)
    start = simulation.clock.now()
    position, at = client.begin_run("r", workflow).result()
    assert position == 1
    assert at - start < 10_000 <= 60_000 <= ended[0] - start


def test_awaiting_a_detached_run_while_a_step_runs(simulate: Make) -> None:
    """News of a detached run reaches the run that waits for it, not the one that it names as its origin."""
    simulation = simulate()

    def slow() -> None:
        simulation.pass_time(60_000)

    def inner(ctx: Context) -> Any:
        future = yield ctx.detached(child, 2)
        winner = yield ctx.race(ctx.run(slow), future)
        return [winner.position, (yield ctx.time.now_ms())]

    def outer(ctx: Context) -> Any:
        return (yield ctx.all(ctx.rpc(inner), ctx.run(slow)))[0]

    client = _register(simulation.client(), inner, outer)
    start = simulation.clock.now()
    position, at = client.begin_run("r", outer).result()
    assert position == 1
    assert at - start < 60_000


def test_long_waits_hold_nothing(simulate: Make) -> None:
    """Weeks pass between two steps; meanwhile the process holds no run."""
    simulation = simulate(poll_ms=10**9, owner_check_ms=10**9, lease_ms=3 * 10**9)

    def workflow(ctx: Context) -> Any:
        yield ctx.sleep(21 * 24 * 3600)
        return "old"

    client = _register(simulation.client(), workflow)
    start = simulation.clock.now()
    handle = client.begin_run("r", workflow)
    simulation.pass_time(1000)
    assert client.runtime.engine is not None
    assert client.runtime.engine.roster.held() == []
    assert handle.result() == "old"
    assert simulation.clock.now() == start + 21 * 24 * 3600 * 1000
