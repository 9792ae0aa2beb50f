"""Clients for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation, settings_for_tests


@pytest.fixture(params=["memory", "sqlite"])
def simulation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Simulation]:
    """Return a simulation over each kind of store."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/s.db"
    made = Simulation(store=url, sqlite_synchronous="NORMAL")
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite"])
def threaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Resonate]]:
    """Return a maker of clients with threads, over each kind of store; those of SQLite share one file."""
    made: list[Resonate] = []

    def make(**settings: Any) -> Resonate:
        url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/t.db"
        defaults = {"store": url, "sqlite_synchronous": "NORMAL", "poll_ms": 20, "grace_ms": 2000}
        made.append(Resonate(settings_for_tests(**{**defaults, **settings})))
        return made[-1]

    yield make
    for client in made:
        client.close()
