"""Kept generators: continued only at exactly the next version, bounded, and never needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resonate_web.engine.events import Event
from resonate_web.protocol.requests import TaskContinue, TaskHalt
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.context import Context

Make = Callable[..., Simulation]
CALLS: list[str] = []


def counted(ctx: Context) -> Any:
    CALLS.append(ctx.id)
    yield ctx.sleep(1)
    yield ctx.run(len, [])
    yield ctx.sleep(1)
    return "done"


def waiting(ctx: Context) -> Any:
    CALLS.append(ctx.id)
    value = yield (yield ctx.promise("p"))
    yield ctx.run(len, [])
    return value


def _client(simulation: Simulation, name: str = "p1") -> Resonate:
    CALLS.clear()
    client = simulation.client(name)
    client.register(counted)
    client.register(waiting)
    client.ensure_started()
    return client


def _events(client: Resonate) -> list[Event]:
    events: list[Event] = []
    client.events.subscribe(events.append)
    return events


def test_a_generator_is_kept_while_the_process_lives(simulate: Make) -> None:
    """With a cache the workflow is called once, however often it suspends; without, once per wake."""
    for cache_size, calls in ((100, 1), (0, 3)):
        client = _client(simulate(cache_size=cache_size))
        assert client.run("r", counted) == "done"
        assert len(CALLS) == (calls if client.settings.cache_size == cache_size else 3)


def test_the_oldest_generators_make_room(simulate: Make) -> None:
    """The cache is bounded: the oldest suspended runs are replayed, the newest continued; all of them end."""
    simulation = simulate(cache_size=3)
    client = _client(simulation)
    handles = [client.begin_run(f"r{n}", waiting) for n in range(10)]
    simulation.run_until_idle()
    engine = client.runtime.engine
    assert engine is not None
    assert len(engine.roster._parked) <= 3
    for n, handle in enumerate(handles):
        client.promises.resolve(f"{handle.id}:@p", n)
    assert [handle.result() for handle in handles] == list(range(10))


def test_a_generator_of_an_older_version_is_dropped(simulate: Make) -> None:
    """A run that another process has held meanwhile is replayed, not continued."""
    simulation = simulate(cache_size=100)
    one = _client(simulation, "p1")
    two = _client(simulation, "p2")
    simulation.freeze("p2")
    one.begin_run("r", waiting)
    simulation.run_until_idle()
    simulation.freeze("p1")
    simulation.freeze("p2", False)
    two.runtime.server.post([TaskHalt(id="r")], lambda a: None)
    two.runtime.server.post([TaskContinue(id="r")], lambda a: None)
    simulation.pass_time(1000)
    assert CALLS.count("r") == 2
    simulation.freeze("p2")
    simulation.freeze("p1", False)
    one.promises.resolve("r:@p", 7)
    assert one.get("r").result() == 7
    assert CALLS.count("r") == 3


def test_a_generator_whose_run_was_released_under_it_is_continued(simulate: Make) -> None:
    """Halting and continuing a suspended run here changes nothing for its generator."""
    simulation = simulate(cache_size=100)
    client = _client(simulation)
    client.begin_run("r", waiting)
    simulation.run_until_idle()
    for request in (TaskHalt(id="r"), TaskContinue(id="r")):
        client.runtime.server.post([request], lambda a: None)
        simulation.pass_time(1000)
    client.promises.resolve("r:@p", "x")
    assert client.get("r").result() == "x"


def test_a_generator_closed_while_its_run_is_taken_is_replaced(simulate: Make) -> None:
    """A run that was resumed into a generator which is gone is given back at once and replayed."""
    simulation = simulate(cache_size=100)
    client = _client(simulation)
    client.begin_run("r", waiting)
    simulation.run_until_idle()
    engine = client.runtime.engine
    assert engine is not None
    for attempt in list(engine.roster._parked.values()):
        attempt.post(attempt.close)  # as an eviction at the worst moment does
    start = simulation.clock.now()
    client.promises.resolve("r:@p", "x")
    assert client.get("r").result() == "x"
    assert simulation.clock.now() - start < 10_000


def test_a_deadline_that_rings_while_the_run_is_suspended_does_not_cost_the_run(simulate: Make) -> None:
    """The alarm of a local workflow's deadline may ring with its wake: the run goes on at once, in its generator."""

    def bounded(ctx: Context) -> Any:
        yield (yield ctx.promise("p"))

    def workflow(ctx: Context) -> Any:
        CALLS.append(ctx.id)
        try:
            yield ctx.options(timeout=5).run(bounded)
        except TimeoutError:
            return "late"

    for seed in range(10):
        simulation = simulate(seed=seed, cache_size=100)
        client = _client(simulation)
        client.register(workflow)
        start = simulation.clock.now()
        assert client.run("r", workflow) == "late"
        assert simulation.clock.now() - start == 5000
        if client.settings.cache_size:
            assert CALLS == ["r"]


def test_room_is_bounded_and_nothing_is_forgotten(simulate: Make) -> None:
    """With room for two runs at a time, twenty start at once and all of them end."""
    simulation = simulate(max_runs=2)
    client = _client(simulation)
    handles = [client.begin_run(f"r{n}", counted) for n in range(20)]
    assert [handle.result() for handle in handles] == ["done"] * 20


def test_observers_see_a_runs_life(simulate: Make) -> None:
    """Telemetry subscribes to one list; an observer that fails is nobody's problem."""
    simulation = simulate(cache_size=100)
    client = _client(simulation)
    events = _events(client)

    def broken(event: Event) -> None:
        raise RuntimeError("a bug in telemetry")

    leave = client.events.subscribe(broken)
    client.run("r", counted)
    simulation.run_until_idle()
    leave()
    kinds = [event.kind for event in events if event.run == "r"]
    assert kinds[0] == "acquired"
    assert kinds[-1] == "finished"
    assert kinds.count("suspended") == 2
    assert kinds.count("step_started") == kinds.count("step_ended") == 1
