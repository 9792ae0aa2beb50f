"""What one process has open: store, server and, once started, pump and engine. Forked children make their own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from resonate_web.clock import Clock
from resonate_web.config import Settings
from resonate_web.engine.engine import Engine
from resonate_web.engine.events import Events
from resonate_web.engine.heartbeat import Heartbeat
from resonate_web.engine.loops import Loops
from resonate_web.engine.owners import NoOwners, Owners
from resonate_web.engine.threads import ThreadTurns
from resonate_web.server.pump import Pump
from resonate_web.server.server import Server
from resonate_web.store.base import Store
from resonate_web.store.open import open_store
from resonate_web.turns import Turns
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.links import Links
from resonate_web.workflow.registry import Registry


class Runtime:
    """Opened without a thread; `start` begins to execute runs."""

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        registry: Registry,
        codec: Codec,
        dependencies: Mapping[str, object],
        events: Events,
        around_step: Callable[[], AbstractContextManager[object]] | None,
        links: Links,
        store: Store | None = None,
        turns: Turns | None = None,
        name: str | None = None,
    ) -> None:
        self.process = os.getpid()
        self.name = name or secrets.token_hex(8)
        self.turns = turns or ThreadTurns(clock, threads=settings.threads)
        self.store = store or open_store(settings)
        self.server = Server(self.store, clock, self.turns, retry_interval_ms=settings.retry_interval_ms)
        self.loops = Loops()
        self.engine: Engine | None = None
        self._settings = settings
        self._clock = clock
        self._registry = registry
        self._codec = codec
        self._dependencies = dependencies
        self._events = events
        self._around_step = around_step
        self._links = links
        self._pump: Pump | None = None
        self._heartbeat: Heartbeat | None = None

    @property
    def started(self) -> bool:
        """Tell whether `start` was called."""
        return self._pump is not None

    def start(self) -> None:
        """Start the pump and, in a process that works, the engine: what a dead process left is taken over."""
        settings = self._settings
        if settings.worker:
            self.engine = Engine(
                settings=settings,
                clock=self._clock,
                turns=self.turns,
                server=self.server,
                owners=self._owners(),
                registry=self._registry,
                codec=self._codec,
                dependencies=self._dependencies,
                events=self._events,
                around_step=self._around_step,
                loops=self.loops,
                links=self._links,
            )
            self.server.worker = self.engine.roster
        self._pump = Pump(
            self.server,
            self.turns.lane("pump"),
            self._clock,
            poll_ms=settings.poll_ms,
            renew_ms=settings.lease_ms // 3,
        )
        if self.engine is not None:
            self.engine.freed = self._pump.nudge
            self._heartbeat = Heartbeat(self.engine)
            self.turns.lane("heartbeat").soon(self._heartbeat.start)
            self.turns.lane("heartbeat").soon(self.engine.readmit)
        self._pump.start()

    def close(self) -> None:
        """Stop, release what is held, and close the store."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._pump is not None:
            self._pump.stop()
        if self.engine is not None:
            self.engine.close(self._settings.grace_ms)
        else:
            self.turns.close(self._settings.grace_ms)
        self.store.close()

    def _owners(self) -> Owners | NoOwners:
        folder = run_dir(self._settings)
        if folder is None:
            return NoOwners(self.name)
        return Owners(folder, self.name, self._settings.group)


def run_dir(settings: Settings) -> Path | None:
    """Return the folder by whose files processes on this host see each other live; None where there is one only."""
    if settings.run_dir:
        return Path(settings.run_dir)
    if settings.store.startswith("sqlite:///"):
        return Path(f"{os.path.abspath(settings.store.removeprefix('sqlite:///'))}.owners")
    return None
