"""`Resonate.prune`: what a pruned id means to clients, and to processes that remember it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from resonate_web.errors import CallerError, NotFound
from resonate_web.resonate import Resonate
from resonate_web.server.pruning import Pruned
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.context import Context

DAY_MS = 86_400_000
MONTH = timedelta(days=30)


def double(n: int) -> int:
    return 2 * n


def order(ctx: Context, n: int) -> Any:
    first = yield ctx.run(double, n)
    return (yield ctx.run(double, first))


def gated(ctx: Context, n: int) -> Any:
    doubled = yield ctx.run(double, n)
    yield (yield ctx.promise("gate"))
    return doubled


def client_of(simulation: Simulation, name: str = "p1") -> Resonate:
    client = simulation.client(name)
    client.register(order)
    client.register(gated)
    client.ensure_started()
    return client


def ended(simulation: Simulation, client: Resonate, id: str, n: int) -> Any:
    handle = client.begin_run(id, order, n)
    simulation.run_until_idle()
    return handle.result(0)


def test_a_pruned_id_is_unknown_and_runs_again(simulation: Simulation) -> None:
    """In the process that ran it and in another, with other arguments too: nobody remembers the first run."""
    one, two = client_of(simulation, "p1"), client_of(simulation, "p2")
    assert ended(simulation, one, "a", 1) == 4
    simulation.clock.advance(31 * DAY_MS)
    assert ended(simulation, one, "young", 1) == 4
    assert two.prune(MONTH, dry_run=True) == two.prune(MONTH) == Pruned(runs=1, promises=3)
    with pytest.raises(NotFound):
        one.get("a")
    assert one.view("a") is None
    assert [p.id for p in one.runs()] == ["young"]
    launched = one.launch("a", order, (5,))
    assert launched.created
    simulation.run_until_idle()
    assert two.get("a").result(0) == 20


def test_a_waiting_run_is_not_pruned_however_old(simulation: Simulation) -> None:
    """It goes on after a year, with the steps that it had."""
    client = client_of(simulation)
    handle = client.begin_run("a", gated, 1)
    simulation.run_until_idle()
    simulation.clock.advance(400 * DAY_MS)
    assert client.prune(MONTH) == Pruned()
    client.promises.resolve("a:@gate")
    simulation.run_until_idle()
    assert handle.result(0) == 2


def test_what_may_still_be_written_to_is_kept(simulation: Simulation) -> None:
    """An age below the lease is refused: a process that lost a run may not know it yet."""
    client = client_of(simulation)
    for age in (0, 1.5, timedelta(seconds=14)):
        with pytest.raises(CallerError, match="RESONATE_LEASE_MS"):
            client.prune(age)
    assert client.prune(client.settings.lease_ms / 1000) == Pruned()


@pytest.mark.parametrize("seed", range(12))
def test_a_process_that_slept_through_it_revives_nothing(seed: int) -> None:
    """It held the run in its caches and was stopped for a month; what it still wants to write meets no row."""
    simulation = Simulation(seed=seed)
    try:
        one, two = client_of(simulation, "p1"), client_of(simulation, "p2")
        simulation.run_until_idle()
        one.begin_run("a", order, 1)
        simulation.freeze("p1")
        simulation.pass_time(60_000)
        assert two.get("a").result(0) == 4
        simulation.clock.advance(40 * DAY_MS)
        assert two.prune(MONTH).runs == 1
        simulation.freeze("p1", False)
        simulation.pass_time(60_000)
        assert two.runs() == []
        assert ended(simulation, one, "a", 100) == two.get("a").result(0) == 400
    finally:
        simulation.close()


@pytest.mark.parametrize("seed", range(12))
def test_a_process_that_slept_through_it_cannot_write_into_the_new_run(seed: int) -> None:
    """It held the first run, was stopped for a month, and wakes up while the id runs again elsewhere."""
    simulation = Simulation(seed=seed)
    try:
        one, two = client_of(simulation, "p1"), client_of(simulation, "p2")
        simulation.run_until_idle()
        one.begin_run("a", order, 1)
        simulation.freeze("p1")
        simulation.pass_time(60_000)
        assert two.get("a").result(0) == 4
        simulation.clock.advance(40 * DAY_MS)
        assert two.prune(MONTH).runs == 1
        handle = two.begin_run("a", order, 100)
        simulation.freeze("p1", False)
        simulation.run_until_idle()
        simulation.pass_time(60_000)
        assert handle.result(0) == 400
    finally:
        simulation.close()


def test_a_generator_of_the_pruned_run_is_not_continued(simulation: Simulation) -> None:
    """Another process ended it and it was pruned; its generator that waits here must not run for the new one."""
    one, two = client_of(simulation, "p1"), client_of(simulation, "p2")
    one.begin_run("a", gated, 1)
    simulation.run_until_idle()
    simulation.freeze("p1")
    two.promises.resolve("a:@gate")
    simulation.pass_time(60_000)
    assert two.get("a").result(0) == 2
    simulation.freeze("p1", False)
    simulation.clock.advance(40 * DAY_MS)
    assert two.prune(MONTH).runs == 1
    handle = two.begin_run("a", gated, 10)
    simulation.run_until_idle()
    simulation.freeze("p2")
    one.promises.resolve("a:@gate")
    simulation.pass_time(60_000)
    simulation.freeze("p2", False)
    simulation.run_until_idle()
    assert handle.result(0) == 20
