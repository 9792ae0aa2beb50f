"""Worlds in which the object `r` is in a known situation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resonate_web.protocol import requests as rq
from resonate_web.testing.scenarios import EXTERNAL, acquire, create, hold, settle, suspend
from resonate_web.testing.world import World

DEADLINE = 50_000


def _pending(world: World) -> None:
    create(world, "r", {"resonate:target": "poll://any@g"}, timeout_at=DEADLINE)


def _acquired(world: World) -> None:
    hold(world, "r", timeout_at=DEADLINE)


def _reacquired(world: World) -> None:
    _acquired(world)
    world.submit(rq.TaskRelease(id="r", version=1), 1000)
    acquire(world, "r", 1)


def _suspended(world: World) -> None:
    _acquired(world)
    create(world, "x", EXTERNAL)
    suspend(world, "r", "x")


def _halted(world: World) -> None:
    _acquired(world)
    world.submit(rq.TaskHalt(id="r"), 1000)


def _settled(world: World) -> None:
    _acquired(world)
    settle(world, "r")


def _untargeted(world: World) -> None:
    create(world, "r", {})


SITUATIONS: dict[str, Callable[[World], None]] = {
    "absent": lambda world: None,
    "untargeted": _untargeted,
    "pending": _pending,
    "acquired": _acquired,
    "other version": _reacquired,
    "suspended": _suspended,
    "halted": _halted,
    "settled": _settled,
}


@pytest.fixture
def world() -> World:
    """An empty world."""
    return World()


@pytest.fixture
def situation(world: World) -> Callable[[str], tuple[World, int]]:
    """Put `r` into the named situation; `dead <situation>` is that situation at the deadline. Returns also `now`."""

    def arrange(name: str) -> tuple[World, int]:
        dead = name.startswith("dead ")
        SITUATIONS[name.removeprefix("dead ")](world)
        return world, DEADLINE if dead else 2000

    return arrange
