"""Going on with runs that rest: blocked ones are offered again, waiting retries begin now, and only where they wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resonate_web.errors import CallerError, NotFound
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.context import Context
from resonate_web.workflow.retry import Constant

Make = Callable[..., Simulation]
CALLS: list[str] = []
HEALED: list[bool] = []


def flaky() -> str:
    CALLS.append("flaky")
    if not HEALED:
        raise ConnectionError("away")
    return "done"


def steady(ctx: Any) -> str:
    CALLS.append(f"steady {ctx.attempt}")
    return "steady"


def retrying(ctx: Context) -> Any:
    policy = ctx.options(retry=Constant(delay=3600))
    return (yield policy.run(flaky))


def two_at_once(ctx: Context) -> Any:
    policy = ctx.options(retry=Constant(delay=3600))
    one, other = (yield policy.begin_run(flaky)), (yield policy.begin_run(flaky))
    return [(yield one), (yield other)]


def sleeper(ctx: Context) -> Any:
    yield ctx.sleep(60)


def refused(ctx: Context) -> Any:
    yield ctx.run(flaky)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()
    HEALED.clear()


def _client(simulation: Simulation, name: str) -> Resonate:
    client = simulation.client(name)
    for fn in (retrying, two_at_once, sleeper):
        client.register(fn)
    client.ensure_started()
    return client


@pytest.mark.parametrize("workflow", [retrying, two_at_once])
def test_a_waiting_retry_begins_at_once(simulate: Make, workflow: Callable[..., Any]) -> None:
    """The holder is told by its own process; each step begins exactly once, and its old alarm finds nothing to do."""
    simulation = simulate()
    client = _client(simulation, "p1")
    client.begin_run("r", workflow)
    simulation.run_until_idle()
    failed = len(CALLS)
    HEALED.append(True)
    client.proceed("r")
    simulation.run_until_idle()
    run = client.view("r")
    assert run is not None
    assert run.status == "succeeded"
    simulation.pass_time(4_000_000)
    assert len(CALLS) == 2 * failed


def test_another_process_tells_the_holder(simulate: Make) -> None:
    """The step begins in the process that holds the run, within a poll, and nowhere else."""
    simulation = simulate()
    holder, other = _client(simulation, "holder"), _client(simulation, "other")
    holder.begin_run("r", retrying)
    simulation.run_until_idle()
    run = other.view("r")
    assert run is not None
    assert run.task is not None
    before = run.task.version
    HEALED.append(True)
    other.proceed("r")
    simulation.pass_time(1000)
    run = other.view("r")
    assert run is not None
    assert run.status == "succeeded"
    assert run.task is not None
    assert run.task.version == before
    assert CALLS == ["flaky", "flaky"]


def test_a_retry_that_fails_again_waits_its_full_time(simulate: Make) -> None:
    """The alarm of the attempt before does not cut the next wait short."""
    simulation = simulate()
    client = _client(simulation, "p1")
    client.begin_run("r", retrying)
    simulation.pass_time(1_800_000)
    client.proceed("r")
    simulation.pass_time(2_000_000)
    assert len(CALLS) == 2
    simulation.pass_time(1_700_000)
    assert len(CALLS) == 3


def test_a_holder_that_dies_before_it_reads_the_note_delays_nothing(simulate: Make) -> None:
    """Whoever takes the run over begins the step anew, without the wait; the note is only history."""
    simulation = simulate()
    holder, other = _client(simulation, "holder"), _client(simulation, "other")
    holder.begin_run("r", retrying)
    simulation.run_until_idle()
    simulation.freeze("holder")
    HEALED.append(True)
    other.proceed("r")
    simulation.kill("holder")
    simulation.pass_time(30_000)
    run = other.view("r")
    assert run is not None
    assert run.status == "succeeded"


def test_a_blocked_run_is_offered_again(simulate: Make) -> None:
    """Halted for want of its function, it goes on once somebody has that and says so."""
    simulation = simulate()
    client = _client(simulation, "p1")
    client.register(refused)
    client.begin_run("r", refused)
    HEALED.append(True)
    simulation.kill("p1")
    client = _client(simulation, "p2")
    simulation.pass_time(30_000)
    run = client.view("r")
    assert run is not None
    assert run.status == "blocked"
    client.register(refused)
    client.proceed("r")
    simulation.pass_time(1000)
    run = client.view("r")
    assert run is not None
    assert run.status == "succeeded"


def test_a_run_that_some_refused_is_offered_to_them_again(simulate: Make) -> None:
    """Held by the refusals of a part of the group, it is tried again by all."""
    simulation = simulate()
    one, two = _client(simulation, "p1"), _client(simulation, "p2")
    one.register(refused)
    one.begin_run("r", refused)
    simulation.kill("p1")
    simulation.freeze("p2")
    three = _client(simulation, "p3")
    simulation.pass_time(20_000)
    run = three.view("r")
    assert run is not None
    assert run.status == "blocked"
    HEALED.append(True)
    three.register(refused)
    three.proceed("r")
    simulation.pass_time(1000)
    run = three.view("r")
    assert run is not None
    assert run.status == "succeeded"
    assert two is not three


def test_what_cannot_proceed_says_why(simulate: Make) -> None:
    """Unknown, ended and waiting runs are errors of the caller, and nothing is written for them."""
    simulation = simulate()
    client = _client(simulation, "p1")
    with pytest.raises(NotFound):
        client.proceed("r")
    client.begin_run("r", sleeper)
    simulation.run_until_idle()
    with pytest.raises(CallerError, match="nothing holds 'r' back"):
        client.proceed("r")
    simulation.pass_time(61_000)
    with pytest.raises(CallerError, match="has ended"):
        client.proceed("r")
    assert len(client.tree("r")) == 2


def test_the_note_disturbs_no_replay(simulate: Make) -> None:
    """It is part of the run's tree, and neither a step of the run nor owed by its code."""
    simulation = simulate(cache_size=0)
    client = _client(simulation, "p1")
    client.begin_run("r", retrying)
    simulation.run_until_idle()
    client.proceed("r")
    simulation.run_until_idle()
    simulation.kill("p1")
    HEALED.append(True)
    client = _client(simulation, "p2")
    simulation.pass_time(30_000)
    run = client.view("r")
    assert run is not None
    assert run.status == "succeeded"
    assert [step.name for step in run.steps] == ["flaky"]
    assert [p.id for p in client.tree("r") if "@0-" in p.id] != []
