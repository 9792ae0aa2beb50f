"""Stores and servers for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resonate_web.server.server import Server
from resonate_web.store.base import Store
from resonate_web.store.open import open_store
from resonate_web.testing.clock import VirtualClock
from resonate_web.testing.simulation import settings_for_tests
from resonate_web.testing.turns import SimTurns, Table


@pytest.fixture
def clock() -> VirtualClock:
    """Return a clock for all servers of a test."""
    return VirtualClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Return an empty store of each kind."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/s.db"
    opened = open_store(settings_for_tests(store=url))
    yield opened
    opened.close()


@pytest.fixture
def make_server(store: Store, clock: VirtualClock) -> Callable[[], Server]:
    """Return a maker of servers over the one store, each with its own cache."""
    table = Table(clock, 0)

    def make() -> Server:
        return Server(store, clock, SimTurns(clock, name="server", table=table), retry_interval_ms=5000)

    return make
