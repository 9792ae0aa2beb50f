"""Simulations for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resonate_web.testing.simulation import Simulation


@pytest.fixture(params=["memory", "sqlite"])
def simulate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Simulation]]:
    """Return a maker of simulations over each kind of store; all of their processes end with the test."""
    made: list[Simulation] = []

    def make(**options: Any) -> Simulation:
        url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/{len(made)}.db"
        # Nobody pulls the plug here, so no test waits for the disk.
        made.append(Simulation(**{"store": url, "sqlite_synchronous": "NORMAL", **options}))
        return made[-1]

    yield make
    for simulation in made:
        simulation.close()
