"""Processes that die, stop or lose their lease: nothing is written twice, nothing is lost, nothing spins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resonate_web.errors import StoreUnavailable, StoreUnknown
from resonate_web.protocol.records import PromiseState
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.context import Context, StepContext

Make = Callable[..., Simulation]

LEDGER: list[tuple[str, str]] = []
PROCESS = "resonate:process"


def work(ctx: StepContext, *args: Any) -> Any:
    LEDGER.append((ctx.get_dependency(PROCESS), ctx.key))
    return list(args)


def child(ctx: Context, n: int) -> Any:
    yield ctx.run(work, n)
    yield ctx.sleep(n)
    return n


def order(ctx: Context) -> Any:
    yield ctx.run(work, "validate")
    hold = yield ctx.run(work, "reserve")
    try:
        yield ctx.promise("link")
        yield ctx.sleep(3)
        both = yield ctx.all(ctx.rpc(child, 2), ctx.run(child, 1), ctx.run(work, "charge"))
        winner = yield ctx.race(ctx.rpc(child, 9), ctx.sleep(1))
        yield ctx.sleep(3)
    finally:
        yield ctx.run(work, "release")
    yield ctx.detached(child, 1)
    return [hold, both, winner.position]


RESULT = [["reserve"], [2, 1, ["charge"]], 1]
"""The race's winner may be the other one when nobody was there to see the first: whoever came next decided."""


def _client(simulation: Simulation, name: str, *fns: Callable[..., Any], **options: Any) -> Resonate:
    client = simulation.client(name, dependencies={PROCESS: name}, **options)
    known: tuple[Callable[..., Any], ...] = (order, child, *fns)
    for fn in known:
        client.register(fn)
    return client


def _start(simulation: Simulation, client: Resonate, *call: Any) -> None:
    """Start a run in a process that may die before it has answered."""
    LEDGER.clear()
    try:
        client.begin_run(*call)
    except Exception:
        assert not simulation.processes["p1"].turns.alive


def _done(simulation: Simulation, client: Resonate) -> Any:
    handle = client.begin_run("r", order)
    return handle.result()


@pytest.mark.parametrize("cache_size", [100, 0])
@pytest.mark.parametrize("commit", range(1, 22))
def test_a_kill_after_every_commit(simulate: Make, commit: int, cache_size: int) -> None:
    """Whatever commit was the last of a process, its sibling ends the run within the lease, and steps stay done."""
    simulation = simulate(seed=commit, cache_size=cache_size)
    one, two = _client(simulation, "p1"), _client(simulation, "p2")
    two.ensure_started()
    simulation.freeze("p2")
    simulation.processes["p1"].fault = lambda number: "kill" if number == commit else None
    _start(simulation, one, "r", order)
    while simulation.processes["p1"].turns.alive and simulation.clock.elapsed() < 1_100_000:
        simulation.pass_time(500)
    stored = _settled(simulation)
    before = len(LEDGER)
    simulation.freeze("p2", False)
    assert _done(simulation, two) in (RESULT, [*RESULT[:2], 0])
    again = {key for process, key in LEDGER[before:]}
    assert not again & stored, "a stored step was started again"
    keys = [key for _, key in LEDGER]
    assert keys.count("r/work/4") == 1, "release ran more than once"
    assert _settled(simulation) >= stored


def _settled(simulation: Simulation) -> set[str]:
    """Return the keys of the steps whose settle is stored."""
    server = simulation.processes["p2"].runtime
    assert server is not None
    found: set[str] = set()
    for run in ("r", "r:4", "r:7"):
        children = server.server.children(run)
        for p in children:
            if p.state is not PromiseState.PENDING and p.id in _KEYS:
                found.add(_KEYS[p.id])
    return found


_KEYS = {
    "r:1": "r/work/1", "r:2": "r/work/2", "r:4.1": "r:4/work/1", "r:5.1": "r:5/work/1", "r:6": "r/work/3",
    "r:7.1": "r:7/work/1", "r:11": "r/work/4",
}  # fmt: skip


@pytest.mark.parametrize("cut", range(12))
@pytest.mark.parametrize("seed", range(3))
def test_groups_cut_at_every_prefix(simulate: Make, seed: int, cut: int) -> None:
    """A store that applied only the beginning of a group leaves something that the next process can go on from."""
    simulation = simulate(seed=seed)
    one, two = _client(simulation, "p1"), _client(simulation, "p2")
    groups = [0]

    def cutter(batch: Any) -> int | None:
        groups[0] += 1
        if len(batch) > 1 and groups[0] > cut:
            return simulation.table.dice.randrange(len(batch))
        return None

    two.ensure_started()
    simulation.freeze("p2")
    simulation.processes["p1"].cut = cutter
    _start(simulation, one, "r", order)
    while simulation.processes["p1"].turns.alive and simulation.clock.elapsed() < 1_100_000:
        simulation.pass_time(500)
    assert not simulation.processes["p1"].turns.alive
    simulation.freeze("p2", False)
    assert _done(simulation, two) in (RESULT, [*RESULT[:2], 0])
    keys = [key for _, key in LEDGER]
    assert max(keys.count(key) for key in keys) <= 2
    assert keys.count("r/work/4") == 1
    tree = {p.id: p.state for p in two.tree("r") if not p.id.startswith("r:d")}
    assert PromiseState.PENDING not in tree.values()


@pytest.mark.parametrize("fault", ["unavailable", "unknown"])
@pytest.mark.parametrize("commit", range(1, 16))
def test_a_store_that_fails_at_every_commit(simulate: Make, commit: int, fault: str) -> None:
    """A commit that failed, or whose outcome is unknown, costs time and nothing else."""
    simulation = simulate(seed=commit)
    client = _client(simulation, "p1")
    client.ensure_started()
    simulation.run_until_idle()
    process = simulation.processes["p1"]
    first = process.commits
    process.fault = lambda number: fault if number == first + commit else None
    LEDGER.clear()
    try:
        client.begin_run("r", order)
    except (StoreUnavailable, StoreUnknown):
        client.begin_run("r", order)  # whoever asks again joins what may have been stored
    assert client.get("r").result() == RESULT
    keys = [key for _, key in LEDGER]
    assert len(keys) == len(set(keys)), "a step ran twice although nobody died"


def test_a_store_that_is_away_when_a_step_must_renew_its_lease(simulate: Make) -> None:
    """A step whose lease cannot be confirmed waits until the store is back; the run is not left hanging."""

    def slow(ctx: StepContext) -> None:
        simulation.clock.advance(12_000)  # a step that blocks everything, heartbeats too

    def workflow(ctx: Context) -> Any:
        yield ctx.run(slow)
        return (yield ctx.run(work, "after"))

    simulation = simulate(lead=1.0)
    client = _client(simulation, "p1", workflow)
    process = simulation.processes["p1"]
    state = {"away": 0}

    def fault(number: int) -> str | None:
        engine = client.runtime.engine
        held = engine.roster.held() if engine else []
        if held and held[0].lease_until - simulation.clock.elapsed() < 5000 and state["away"] < 4:
            state["away"] += 1
            return "unavailable"
        return None

    process.fault = fault
    LEDGER.clear()
    assert client.begin_run("r", workflow).result() == ["after"]
    assert state["away"] > 0


def test_a_frozen_process_loses_its_lease_and_writes_nothing(simulate: Make) -> None:
    """The older of two owners is fenced: its result comes too late and is not stored; its step learns of it."""
    simulation = simulate(seed=4)
    seen: list[bool] = []

    def slow(ctx: StepContext) -> str:
        process = ctx.get_dependency(PROCESS)
        LEDGER.append((process, ctx.key))
        if process == "p1":
            simulation.freeze("p1")
            simulation.pass_time(40_000)  # more than a lease, in which the sibling takes over
            simulation.freeze("p1", False)
            simulation.run_until_idle()
            seen.append(ctx.cancelled)
        return str(process)

    def workflow(ctx: Context) -> Any:
        result = yield ctx.run(slow)
        yield ctx.sleep(1)
        return result

    one, two = _client(simulation, "p1", workflow), _client(simulation, "p2", workflow)
    LEDGER.clear()
    one.ensure_started()
    two.ensure_started()
    simulation.freeze("p2")
    handle = one.begin_run("r", workflow)
    simulation.freeze("p2", False)
    assert two.get("r").result() == "p2"
    assert handle.result() == "p2"
    assert LEDGER == [("p1", "r/slow/1"), ("p2", "r/slow/1")]


def test_a_sibling_on_the_same_host_takes_over_within_two_seconds(simulate: Make, tmp_path: Path) -> None:
    """A dead owner's lock is free: its runs are taken over long before the lease ends, and strikes are counted."""
    simulation = simulate(run_dir=str(tmp_path / "owners"))

    def long(ctx: StepContext) -> str:
        LEDGER.append((ctx.get_dependency(PROCESS), ctx.key))
        if ctx.get_dependency(PROCESS) == "p1":
            simulation.kill("p1")
        return "done"

    def workflow(ctx: Context) -> Any:
        return (yield ctx.run(long))

    one, two = _client(simulation, "p1", workflow), _client(simulation, "p2", workflow)
    two.ensure_started()
    simulation.freeze("p2")
    LEDGER.clear()
    _start(simulation, one, "r", workflow)
    simulation.run_until_idle()
    simulation.freeze("p2", False)
    start = simulation.clock.now()
    assert two.get("r").result() == "done"
    assert simulation.clock.now() - start <= 2000
    assert LEDGER == [("p1", "r/long/1"), ("p2", "r/long/1")]


def test_a_frozen_owner_is_not_taken_for_dead(simulate: Make, tmp_path: Path) -> None:
    """A process that is only stopped keeps its lock, and its runs until the lease ends."""
    simulation = simulate(run_dir=str(tmp_path / "owners"))
    one, two = _client(simulation, "p1"), _client(simulation, "p2")
    one.ensure_started()
    two.ensure_started()
    simulation.run_until_idle()
    simulation.freeze("p2")
    one.begin_run("r", order)
    while not _held(simulation, "p1"):
        simulation.table.turn()
    simulation.freeze("p1")
    simulation.freeze("p2", False)
    simulation.pass_time(8000)
    assert {h.pid for h in two.runtime.store.held()} == {one.runtime.engine.pid if one.runtime.engine else ""}
    assert two.get("r").result() in (RESULT, [*RESULT[:2], 0])


def _held(simulation: Simulation, name: str) -> bool:
    runtime = simulation.processes[name].runtime
    assert runtime is not None
    return bool(runtime.store.held())


def test_a_run_that_kills_its_process_is_blocked_after_five_times(simulate: Make, tmp_path: Path) -> None:
    """Five owners that died without a new checkpoint are enough: the run is halted, the others go on."""
    simulation = simulate(run_dir=str(tmp_path / "owners"))
    died: list[str] = []

    def deadly(ctx: StepContext) -> None:
        name = ctx.get_dependency(PROCESS)
        died.append(name)
        simulation.kill(name)

    def workflow(ctx: Context) -> Any:
        yield ctx.run(work, "first")
        yield ctx.run(deadly)

    for n in range(8):
        client = _client(simulation, f"p{n}", workflow)
        client.ensure_started()
        if n == 0:
            simulation.processes["p1"] = simulation.processes["p0"]
            _start(simulation, client, "r", workflow)
        simulation.pass_time(5000)
        if simulation.processes[f"p{n}"].turns.alive:
            break
    assert len(died) == 5
    view = client.view("r")
    assert view is not None
    assert view.status == "blocked"
    assert "crashes its process" in (view.reason or "")
    client.begin_run("other", child, 1).result()


def test_shutdown_releases_what_is_held(simulate: Make) -> None:
    """A process that closes gives its runs back at once: the sibling needs no lease to end."""
    simulation = simulate(seed=2)
    one, two = _client(simulation, "p1"), _client(simulation, "p2")
    one.ensure_started()
    two.ensure_started()
    simulation.freeze("p2")
    one.begin_run("r", order)
    simulation.pass_time(1000)
    one.close()
    one.close()
    assert two.runtime.store.held() == []
    simulation.freeze("p2", False)
    assert two.get("r").result() in (RESULT, [*RESULT[:2], 0])
    with pytest.raises(Exception, match="closed"):
        one.get("r")


def test_the_store_may_be_away_for_a_while(simulate: Make) -> None:
    """A start against an unavailable store is a clear error and stores nothing; later it works."""
    simulation = simulate(lead=1.0)
    client = _client(simulation, "p1")
    client.ensure_started()
    simulation.run_until_idle()
    process = simulation.processes["p1"]
    process.fault = lambda number: "unavailable"
    with pytest.raises(StoreUnavailable):
        client.begin_run("r", order)
    process.fault = lambda number: None
    assert client.begin_run("r", order).result() == RESULT
