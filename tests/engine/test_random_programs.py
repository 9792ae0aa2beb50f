"""Random programs, random deaths: whatever happens, each run ends with the value that its program has.

A seed makes a program (steps, sleeps, local and remote workflows, joins, races, failures, retries) and a history:
processes that die after a commit or in the middle of a group, a store that fails, runs that change owners.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from resonate_web.errors import Canceled, StoreUnavailable, StoreUnknown, TimedOut
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.protocol.requests import TaskSearch
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation
from resonate_web.testing.turns import Deadlock
from resonate_web.workflow.context import Context, StepContext
from resonate_web.workflow.retry import Constant

Make = Callable[..., Simulation]
Program = list[Any]


def _program(dice: Random, depth: int = 0) -> Program:
    kinds = ["step", "step", "sleep", "flaky", "fails", "promise", "detached"]
    if depth < 3:
        kinds += ["local", "rpc", "all", "begin", "race", "bounded", "hasty"]
    nodes: Program = []
    for _ in range(dice.randrange(1, 4)):
        kind = dice.choice(kinds)
        if kind in ("step", "sleep"):
            nodes.append([kind, dice.randrange(1, 5)])
        elif kind in ("local", "rpc", "bounded", "hasty"):
            nodes.append([kind, _program(dice, depth + 1)])
        elif kind in ("all", "begin", "race"):
            members = [m for m in _program(dice, depth + 1) if m[0] in ("step", "sleep", "local", "rpc")]
            nodes.append([kind, [*members, ["step", 7], ["sleep", dice.randrange(1, 4)]]])
        else:
            nodes.append([kind])
    return nodes


def _value(node: Any) -> Any:
    kind = node[0]
    if kind == "step":
        return node[1]
    if kind in ("local", "rpc", "all", "begin", "bounded"):
        return [_value(n) for n in node[1]]
    return {"sleep": None, "flaky": "at last"}.get(kind, kind)


def work(ctx: StepContext, n: int) -> int:
    ctx.get_dependency("ledger").append(ctx.key)
    return n


def flaky(ctx: StepContext) -> str:
    if ctx.attempt < 2:
        raise OSError("not yet")
    return "at last"


def fails() -> None:
    raise TypeError("always")


def interpret(ctx: Context, program: Program) -> Any:
    found = []
    for node in program:
        found.append((yield from _do(ctx, node)))
    return found


def _command(ctx: Context, node: Any, begin: bool = False) -> Any:
    kind, argument = node
    if kind == "sleep":
        return ctx.sleep(argument)
    if kind == "step":
        return (ctx.begin_run if begin else ctx.run)(work, argument)
    words: dict[tuple[str, bool], Callable[..., Any]] = {
        ("local", False): ctx.run, ("local", True): ctx.begin_run,
        ("rpc", False): ctx.rpc, ("rpc", True): ctx.begin_rpc,
    }  # fmt: skip
    return words[kind, begin](interpret, argument)


def _do(ctx: Context, node: Any) -> Any:
    kind = node[0]
    if kind in ("step", "sleep", "local", "rpc"):
        return (yield _command(ctx, node))
    if kind == "bounded":
        return (yield ctx.options(timeout=100_000).run(interpret, node[1]))
    if kind == "hasty":
        try:
            yield ctx.options(timeout=3).run(interpret, node[1])
        except (TimedOut, OSError):  # the deadline, or a step that could not be tried again before it
            pass
        return "hasty"
    if kind == "flaky":
        return (yield ctx.options(retry=Constant(1)).run(flaky))
    if kind == "fails":
        try:
            yield ctx.run(fails)
        except TypeError:
            return "fails"
    if kind == "promise":
        yield ctx.promise()
        return "promise"
    if kind == "detached":
        yield ctx.detached(interpret, [["step", 1], ["sleep", 1]])
        return "detached"
    if kind == "all":
        return (yield ctx.all(_command(ctx, n) for n in node[1]))
    if kind == "race":
        winner = yield ctx.race(_command(ctx, n) for n in node[1])
        expected = _value(node[1][winner.position])
        assert winner.value == expected, f"{winner} is not {expected}"
        return "race"
    futures = []
    for member in node[1]:
        futures.append((yield _command(ctx, member, begin=True)) if member[0] != "sleep" else _command(ctx, member))
    values: list[Any] = []
    for future in reversed(futures):
        values.insert(0, (yield future))
    return values


class History:
    """A simulation whose processes come and go."""

    def __init__(self, simulation: Simulation, seed: int, trouble: bool) -> None:
        self.simulation = simulation
        self.dice = Random(seed)
        self.trouble = trouble
        self.ledger: list[str] = []
        self.born = 0
        self.clients: list[Resonate] = []

    def live(self) -> Resonate:
        """Return a client of a process that lives, starting one when there is none."""
        alive = [c for c, p in zip(self.clients, self.simulation.processes.values(), strict=True) if p.turns.alive]
        if not alive or (len(alive) < 3 and self.dice.random() < 0.2):
            alive.append(self._start())
        return self.dice.choice(alive)

    def _start(self) -> Resonate:
        self.born += 1
        name = f"p{self.born}"
        client = self.simulation.client(name, dependencies={"ledger": self.ledger})
        client.register(interpret)
        self.clients.append(client)
        process = self.simulation.processes[name]
        if self.trouble and self.born < 6:
            life, prefix = self.dice.randrange(3, 40), self.dice.random() < 0.3
            faults = Random(self.dice.random())

            def fault(number: int) -> str | None:
                if number >= life and not prefix:
                    return "kill"
                return faults.choice(["unavailable", "unknown", *[None] * 30])

            def cut(batch: Any) -> int | None:
                return faults.randrange(len(batch) + 1) if prefix and process.commits >= life else None

            process.fault, process.cut = fault, cut
        try:
            client.ensure_started()
        except (StoreUnavailable, StoreUnknown):
            pass
        return client


@pytest.mark.parametrize("trouble", [False, True], ids=["calm", "trouble"])
@pytest.mark.parametrize("seed", range(25))
def test_every_program_has_its_value(simulate: Make, seed: int, trouble: bool) -> None:
    """The outcome is the program's, stored steps run once, nothing is left pending and no task is left over."""
    dice = Random(seed)
    program = _program(dice)
    simulation = simulate(seed=seed, cache_size=dice.choice([0, 1, 100]), lead=dice.random())
    history = History(simulation, seed, trouble)
    for _ in range(200):
        client = history.live()
        try:
            launched = client.launch("r", interpret, (program,))
            promise = client.wait(client.settlement(launched.id), dice.choice([100, 3000, 60_000]))
        except (StoreUnavailable, StoreUnknown, TimeoutError, Deadlock):
            continue
        except Exception:
            if any(p.resonate is client and not p.turns.alive for p in simulation.processes.values()):
                continue
            raise
        assert client.codec.outcome(promise) == [_value(node) for node in program]
        break
    else:
        raise AssertionError("the run does not end")
    _check_the_end(history)


def _check_the_end(history: History) -> None:
    simulation = history.simulation
    for process in simulation.processes.values():
        process.fault, process.cut = (lambda number: None), None
    client = history.live()
    simulation.pass_time(60_000)
    client = history.live()
    pending = [p.id for p in client.tree("r") if p.state is PromiseState.PENDING]
    assert pending == []
    tasks = client.runtime.server.read(TaskSearch(limit=1000))[0].tasks
    assert {t.state for t in tasks} == {TaskState.FULFILLED}
    if not history.trouble:
        assert len(history.ledger) == len(set(history.ledger))


@pytest.mark.parametrize("trouble", [False, True], ids=["calm", "trouble"])
@pytest.mark.parametrize("seed", range(25))
def test_a_program_that_is_cut_short_leaves_nothing(simulate: Make, seed: int, trouble: bool) -> None:
    """Canceled at any moment or ended by its deadline, a run settles everything that is attached to it."""
    dice = Random(seed)
    program = [*_program(dice), ["rpc", _program(dice)], ["sleep", 9]]
    simulation = simulate(seed=seed, cache_size=dice.choice([0, 1, 100]), lead=dice.random())
    history = History(simulation, seed, trouble)
    cancel, patience = dice.random() < 0.6, dice.randrange(0, 8000)
    for _ in range(200):
        client = history.live()
        try:
            launched = client.options(timeout=1000 if cancel else patience / 1000 + 0.001).launch(
                "r", interpret, (program,)
            )
            for _ in range(dice.randrange(1, 200)):
                simulation.table.turn()
            simulation.pass_time(patience)
            if cancel:
                client.promises.cancel("r")
            promise = client.wait(client.settlement(launched.id), 60_000)
        except (StoreUnavailable, StoreUnknown, TimeoutError, Deadlock):
            continue
        except Exception:
            if any(p.resonate is client and not p.turns.alive for p in simulation.processes.values()):
                continue
            raise
        try:
            assert client.codec.outcome(promise) == [_value(node) for node in program]
        except (Canceled, TimedOut, OSError):
            pass
        break
    else:
        raise AssertionError("the run does not end")
    _check_the_end(history)
