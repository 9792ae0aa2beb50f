"""Runs that cannot proceed here: given back, tried elsewhere, halted when all refused, continued with other code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resonate_web.engine.engine import Engine
from resonate_web.machine.state import Keys, TaskRow
from resonate_web.protocol.records import TaskState
from resonate_web.protocol.requests import TaskContinue
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.context import Context
from resonate_web.workflow.registry import Registry

Make = Callable[..., Simulation]
EFFECTS: list[str] = []


def reserve() -> str:
    EFFECTS.append("reserve")
    return "held"


def charge() -> str:
    EFFECTS.append("charge")
    return "paid"


def right(ctx: Context) -> Any:
    yield ctx.run(reserve)
    yield ctx.sleep(1)
    return (yield ctx.run(charge))


def wrong(ctx: Context) -> Any:
    yield ctx.run(charge)
    yield ctx.sleep(1)
    return (yield ctx.run(reserve))


def _client(simulation: Simulation, name: str, code: Callable[..., Any] | None, fingerprint: str) -> Resonate:
    """Return a process with this code for `order`; code of its own has a fingerprint of its own."""
    client = simulation.client(name)
    if code is not None:
        client.register(code, name="order")
    client.ensure_started()
    _engine(client)._code = fingerprint
    return client


def _engine(client: Resonate) -> Engine:
    engine = client.runtime.engine
    assert isinstance(engine, Engine)
    return engine


def _task(client: Resonate) -> TaskRow:
    return client.runtime.store.read(Keys(ids=frozenset({"r"}))).tasks["r"][0]


def _stored_by(simulation: Simulation, code: Callable[..., Any]) -> None:
    """Let a process run `order` to its sleep, and die."""
    EFFECTS.clear()
    old = _client(simulation, "old", code, "old")
    old.begin_run("r", code)
    simulation.run_until_idle()
    simulation.kill("old")


def test_a_lone_process_blocks_what_it_cannot_replay(simulate: Make) -> None:
    """Other code than the recorded one: the run is halted, naming step, recorded and new command."""
    simulation = simulate()
    _stored_by(simulation, right)
    client = _client(simulation, "new", wrong, "new")
    simulation.pass_time(20_000)
    view = client.view("r")
    assert view is not None
    assert view.status == "blocked"
    assert view.reason == "NonDeterminism at r:1: recorded: step 'reserve'; now: step 'charge'"
    assert _task(client).state is TaskState.HALTED
    assert EFFECTS == ["reserve"]


def test_a_blocked_run_continues_in_a_process_with_the_fixed_code(simulate: Make) -> None:
    """A newly started process with other code takes a blocked run up again; one with the same code does not."""
    simulation = simulate()
    _stored_by(simulation, right)
    _client(simulation, "new", wrong, "broken")
    simulation.pass_time(20_000)
    simulation.kill("new")
    same = _client(simulation, "same", wrong, "broken")
    simulation.pass_time(20_000)
    assert _task(same).state is TaskState.HALTED
    simulation.kill("same")
    fixed = _client(simulation, "fixed", right, "fixed")
    assert fixed.get("r").result() == "paid"
    assert EFFECTS == ["reserve", "charge"]


@pytest.mark.parametrize("code", [wrong, None], ids=["other code", "unknown function"])
def test_others_may_try_what_one_process_refused(simulate: Make, tmp_path: Path, code: Any) -> None:
    """During a rolling deploy the old processes end what the new ones cannot, and nothing spins meanwhile."""
    simulation = simulate(run_dir=str(tmp_path / "owners"))
    _stored_by(simulation, right)
    new = _client(simulation, "new", code, "new")
    frozen = _client(simulation, "right", right, "right")
    simulation.freeze("right")
    simulation.pass_time(30_000)
    task = _task(new)
    assert task.state is TaskState.PENDING
    assert [r.pid for r in task.refusals] == [_engine(new).pid]
    view = new.view("r")
    assert view is not None
    assert view.status == "blocked"
    turns = len(simulation.table.log)
    simulation.pass_time(30_000)
    assert len(simulation.table.log) - turns < 400
    simulation.freeze("right", False)
    assert frozen.get("r").result() == "paid"


def test_a_run_is_halted_when_every_live_member_has_refused(simulate: Make, tmp_path: Path) -> None:
    """While one may still be able to proceed the run stays pending; when the last has refused or left it is halted."""
    simulation = simulate(run_dir=str(tmp_path / "owners"))
    _stored_by(simulation, right)
    one = _client(simulation, "one", wrong, "a")
    _client(simulation, "two", None, "b")
    _client(simulation, "three", right, "c")
    simulation.freeze("three")
    simulation.pass_time(20_000)
    task = _task(one)
    assert task.state is TaskState.PENDING
    assert len({r.pid for r in task.refusals}) == 2
    simulation.kill("three")
    simulation.pass_time(20_000)
    assert _task(one).state is TaskState.HALTED


def test_members_of_other_groups_do_not_count(simulate: Make, tmp_path: Path) -> None:
    """A process of another group will never take the run, so nobody waits for it."""
    simulation = simulate(run_dir=str(tmp_path / "owners"))
    _stored_by(simulation, right)
    other = simulation.client("other", settings=replace(simulation.settings, group="mail"))
    other.ensure_started()
    one = _client(simulation, "one", wrong, "a")
    simulation.pass_time(20_000)
    assert _task(one).state is TaskState.HALTED


def test_an_unknown_version_is_refused_and_a_known_one_kept(simulate: Make) -> None:
    """A run stays on the version it started with, also when a newer one is registered."""

    def version_one(ctx: Context) -> Any:
        yield ctx.sleep(5)
        return "one"

    def version_two(ctx: Context) -> Any:
        yield ctx.sleep(5)
        return "two"

    simulation = simulate()
    old = simulation.client("old")
    old.register(version_one, name="w")
    old.begin_run("a", "w")
    simulation.run_until_idle()
    simulation.kill("old")
    only_two = simulation.client("two")
    only_two.register(version_two, name="w", version=2)
    only_two.ensure_started()
    simulation.pass_time(20_000)
    view = only_two.view("a")
    assert view is not None
    assert "version 1" in (view.reason or "")
    simulation.kill("two")
    both = simulation.client("both")
    both.register(version_one, name="w", version=1)
    both.register(version_two, name="w", version=2)
    both.ensure_started()
    _engine(both)._code = "both"
    both.runtime.server.post([TaskContinue(id="a")], lambda a: None)
    assert both.get("a").result() == "one"
    assert both.run("b", "w") == "two"
    assert both.options(version=1).run("c", "w") == "one"


def test_an_internal_error_blocks_only_its_run(simulate: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of this library stops one run with its reason; the others go on."""

    class Broken(Registry):
        def find(self, name: str, version: int | None = None) -> Any:
            if name == "order" and not self.fixed:
                raise ZeroDivisionError("a bug")
            return super().find(name, version)

        fixed = False

    simulation = simulate()
    registry = Broken()
    client = simulation.client(registry=registry)
    client.register(right, name="order")
    client.register(wrong, name="other")
    client.begin_run("r", right)
    assert client.run("s", wrong) == "held"
    view = client.view("r")
    assert view is not None
    assert view.status == "blocked"
    assert "ZeroDivisionError" in (view.reason or "")
