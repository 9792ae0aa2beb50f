"""Every known trap of the protocol, by its name in the catalogue."""

from __future__ import annotations

import pytest

from resonate_web.testing.scenarios import SCENARIOS, Scenario
from resonate_web.testing.world import World


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_machine_gives_the_one_right_answer(scenario: Scenario) -> None:
    """The scenario of this trap ends as the protocol says."""
    scenario(World())


def test_no_trap_is_missing() -> None:
    """C1 to C11 and T1 to T18 have a scenario each; C12 is about debug and T16 about paging, tested elsewhere."""
    named = {scenario.__name__.split("_")[0] for scenario in SCENARIOS}
    expected = {f"c{number}" for number in range(1, 12)} | {f"t{number}" for number in range(1, 19)} - {"t16"}
    assert expected <= named
