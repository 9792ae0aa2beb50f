"""Several processes over one store, in one thread, on a virtual clock: deterministic for a seed.

    simulation = Simulation(seed=7)
    one, two = simulation.client("p1"), simulation.client("p2")
    for client in (one, two):
        client.register(process_order)
    handle = one.begin_run("order/1", process_order, {"id": 1})
    simulation.kill("p1")
    assert handle_of_two.result() ...

Each process is a whole `Resonate` with its own server and engine; only threads, clock and disk failures are played.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from resonate_web.config import Settings, from_mapping
from resonate_web.delivery import Then
from resonate_web.engine import owners
from resonate_web.errors import StoreUnavailable, StoreUnknown
from resonate_web.machine.steps import Step
from resonate_web.protocol.requests import Request
from resonate_web.resonate import Resonate
from resonate_web.resonate.runtime import Runtime
from resonate_web.server.server import Server
from resonate_web.store.base import Store, Transaction
from resonate_web.store.memory import MemoryStore
from resonate_web.store.open import open_store
from resonate_web.testing.clock import VirtualClock
from resonate_web.testing.turns import SimTurns, Table

Cut = Callable[[Sequence[Request | Step]], int | None]


def settings_for_tests(**changed: Any) -> Settings:
    """Return settings for a test, by field name; the environment (`RESONATE_CACHE_SIZE=0`) applies over the rest."""
    defaults: dict[str, Any] = {"store": "memory://", "poll_ms": 500, **changed}
    return from_mapping({}, os.environ, defaults=defaults)


class Simulation:
    """The world of some processes. `lead` is the share of submits that commit at once instead of forming a group."""

    def __init__(self, *, seed: int = 0, lead: float = 0.5, clock: VirtualClock | None = None, **settings: Any) -> None:
        self.clock = clock or VirtualClock()
        self.table = Table(self.clock, seed)
        self.settings = settings_for_tests(**settings)
        self.processes: dict[str, Process] = {}
        self._lead = lead
        self._memory = MemoryStore() if self.settings.store == "memory://" else None

    def client(self, name: str = "p1", **options: Any) -> Resonate:
        """Return the `Resonate` of a new process; `options` are those of its constructor, `settings` included."""
        settings = options.pop("settings", self.settings)
        process = Process(name, self, self._lead)
        self.processes[name] = process
        process.resonate = Resonate(settings, clock=self.clock, make_runtime=process.open, **options)
        return process.resonate

    def store(self, settings: Settings) -> Store:
        """Return the one store of all processes, or another connection to it."""
        return self._memory if self._memory is not None else open_store(settings)

    def kill(self, name: str) -> None:
        """End a process as SIGKILL does: nothing more of it runs or is written; its lock file is left behind, free."""
        self.processes[name].kill()

    def freeze(self, name: str, frozen: bool = True) -> None:
        """Stop a process as SIGSTOP does, or let it go on."""
        self.processes[name].turns.frozen = frozen

    def run_until_idle(self) -> None:
        """Run what is ready, in every process, until nothing is; no time passes."""
        self.table.run_until_idle()

    def pass_time(self, ms: int) -> None:
        """Let time pass, alarm by alarm, running what becomes ready."""
        self.table.pass_time(ms)

    def close(self) -> None:
        """End every process, so that no generator is left half way."""
        for process in self.processes.values():
            process.kill()


class Process:
    """One process: its turns, its way to the store, and what is to go wrong with it."""

    def __init__(self, name: str, simulation: Simulation, lead: float) -> None:
        self.name = name
        self.turns = SimTurns(simulation.clock, name=name, table=simulation.table)
        self.resonate: Resonate
        self.runtime: Runtime | None = None
        self.lead = lead
        self.cut: Cut | None = None
        """Told each group before it is submitted: how many of its requests are applied before the process dies."""
        self.commits = 0
        self.fault: Callable[[int], str | None] = lambda number: None
        """Told the number of each commit, from 1: None, `unavailable`, `unknown` (applied) or `kill` (applied)."""
        self._simulation = simulation

    def open(self, **parts: Any) -> Runtime:
        """Make the runtime: `Resonate`'s `make_runtime`."""
        store = self._simulation.store(parts["settings"])
        gate = cast(Store, _Gate(store, self))
        runtime = Runtime(**parts, store=gate, turns=self.turns, name=self.name)
        retry = parts["settings"].retry_interval_ms
        runtime.server = _Server(gate, parts["clock"], self.turns, retry_interval_ms=retry, process=self)
        self.runtime = runtime
        return runtime

    def kill(self) -> None:
        """End the process."""
        self.turns.kill()
        home = self.resonate._home
        home.runtime, home.closed = None, True  # nothing is closed in good order any more
        engine = self.runtime.engine if self.runtime is not None else None
        if engine is not None:
            for attempt in [*engine.roster.held(), *engine.roster._parked.values()]:
                attempt.close()  # generators are unwound: a dead process leaves none to the garbage collector
            if isinstance(engine.owners, owners.Owners) and engine.owners._fd >= 0:
                owners._OPEN.discard(engine.owners)
                os.close(engine.owners._fd)  # as the kernel does: the file stays, its lock is free
                engine.owners._fd = -1


class _Gate:
    """A store as one process reaches it."""

    def __init__(self, store: Store, process: Process) -> None:
        self._store = store
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def transact(self) -> AbstractContextManager[Transaction]:
        """Open the write transaction, or fail in the way that the test asked for."""
        return self._transact()

    @contextmanager
    def _transact(self) -> Iterator[Transaction]:
        process = self._process
        if not process.turns.alive:
            raise StoreUnavailable("the process is dead")
        process.commits += 1
        fault = process.fault(process.commits)
        if fault == "unavailable":
            raise StoreUnavailable("as the test asked for")
        with self._store.transact() as transaction:
            yield transaction
        if fault == "kill":
            process.kill()
        if fault in ("unknown", "kill"):
            raise StoreUnknown("as the test asked for")


class _Server(Server):
    """A server whose groups form by dice, and can be cut."""

    def __init__(
        self, store: Store, clock: VirtualClock, turns: SimTurns, *, retry_interval_ms: int, process: Process
    ) -> None:
        super().__init__(store, clock, turns, retry_interval_ms=retry_interval_ms)
        self._process = process

    def post(self, batch: Sequence[Request | Step], then: Then, *, lead: bool = True) -> None:
        process = self._process
        if lead and process.turns.table.dice.random() >= process.lead:
            lead = False
        kept = process.cut(batch) if process.cut is not None else None
        if kept is None:
            super().post(batch, then, lead=lead)
            return
        if kept:
            super().post(batch[:kept], lambda answers: None, lead=True)
        process.kill()
