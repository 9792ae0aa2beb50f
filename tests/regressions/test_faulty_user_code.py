"""Whatever user code does, its run ends or is blocked; it never keeps its lease and stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resonate_web.errors import ApplicationError
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.context import Context, StepContext
from resonate_web.workflow.retry import Constant, Never


class Unspeakable(Exception):
    """An error whose message cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no message")


class Vague:
    """A retry policy that answers nonsense."""

    def delay_ms(self, retry: int) -> Any:
        """Return no number."""
        return "soon"


class Broken(Exception):
    """An error of an unregistered class."""


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    """Return a simulation in memory."""
    made = Simulation()
    yield made
    made.close()


def _outcome(simulation: Simulation, workflow: Callable[..., Any]) -> Any:
    client = simulation.client()
    client.register(workflow, name="w")
    return client.run("r", workflow)


def test_a_retry_policy_that_answers_nonsense_ends_the_step(simulation: Simulation) -> None:
    """The step fails with its own error."""

    def step() -> None:
        raise ValueError("mine")

    def workflow(ctx: Context) -> Any:
        yield ctx.options(retry=Vague()).run(step)

    with pytest.raises(ValueError, match="mine"):
        _outcome(simulation, workflow)


def test_one_class_is_enough_for_non_retryable(simulation: Simulation) -> None:
    """A class alone means the tuple of it."""
    attempts: list[int] = []

    def step() -> None:
        attempts.append(1)
        raise ValueError("mine")

    def workflow(ctx: Context) -> Any:
        yield ctx.options(non_retryable=ValueError).run(step)

    with pytest.raises(ValueError, match="mine"):
        _outcome(simulation, workflow)
    assert attempts == [1]


def test_non_retryable_takes_classes_only(simulation: Simulation) -> None:
    """Anything else is an error where it is said, not when a step fails."""

    def workflow(ctx: Context) -> Any:
        yield ctx.options(non_retryable=("ValueError",)).run(len, "x")

    with pytest.raises(TypeError, match="ValueError"):
        _outcome(simulation, workflow)


def test_an_error_without_a_readable_message_is_retried(simulation: Simulation) -> None:
    """Its next attempt is made like any other's."""

    def step(ctx: StepContext) -> int:
        if ctx.attempt == 1:
            raise Unspeakable
        return ctx.attempt

    def workflow(ctx: Context) -> Any:
        return (yield ctx.options(retry=Constant(1)).run(step))

    assert _outcome(simulation, workflow) == 2


def test_an_error_without_a_message_has_none_later(simulation: Simulation) -> None:
    """An empty message crosses both boundaries as an empty message."""

    def step() -> None:
        raise Broken

    def workflow(ctx: Context) -> Any:
        yield ctx.options(retry=Never()).run(step)

    with pytest.raises(ApplicationError) as caught:
        _outcome(simulation, workflow)
    assert (str(caught.value), caught.value.type_name) == ("", "Broken")


def test_an_interrupt_in_a_workflow_blocks_its_run(simulation: Simulation) -> None:
    """The interrupt passes on to whoever drives the process; the run does not stand still with its lease."""

    def workflow(ctx: Context) -> Any:
        yield ctx.run(len, "x")
        raise KeyboardInterrupt

    client = simulation.client()
    client.register(workflow, name="w")
    with pytest.raises(KeyboardInterrupt):
        client.run("r", workflow)
    simulation.run_until_idle()
    found = client.view("r")
    assert found is not None
    assert (found.status, found.reason) == ("blocked", "internal error: KeyboardInterrupt: ")
