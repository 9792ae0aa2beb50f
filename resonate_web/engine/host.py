"""What an attempt and the roster need of the engine that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from resonate_web.clock import Clock
from resonate_web.config import Settings
from resonate_web.delivery import Acquired, Port
from resonate_web.engine.announcing import Announcer
from resonate_web.engine.steps import Steps
from resonate_web.turns import Alarm, Turns, Work
from resonate_web.workflow.execution import Execution

A = TypeVar("A", contravariant=True)


class Host(Protocol[A]):
    """The engine, to its attempts (`A`)."""

    settings: Settings
    clock: Clock
    turns: Turns
    server: Port
    steps: Steps
    announcer: Announcer
    dependencies: Mapping[str, object]
    pid: str
    stopping: bool
    freed: Callable[[], None]

    def at(self, instant: int, work: Work) -> Alarm:
        """Run `work`, which must not block, at `instant` (ms)."""
        ...

    def emit(
        self, kind: str, run: str, *, step: str | None = None, attempt: int | None = None, detail: str | None = None
    ) -> None:
        """Tell the observers."""
        ...

    def load(self, acquired: Acquired) -> Execution:
        """Make the execution of a task that was just acquired."""
        ...

    def confirm_lease(self, attempt: A) -> bool:
        """Tell whether a body may start."""
        ...

    def finished(self, attempt: A) -> None:
        """Let go of a run that has ended."""
        ...

    def suspended(self, attempt: A) -> None:
        """Keep a suspended run's generator."""
        ...

    def lost(self, attempt: A) -> None:
        """Let go of a run that is somebody else's now."""
        ...

    def give_back(self, attempt: A, version: int) -> None:
        """Release a task that this process cannot go on with now."""
        ...

    def refuse(self, attempt: A, reason: str) -> None:
        """Give a run back that cannot proceed here."""
        ...

    def crashing(self, task_id: str, strikes: int) -> None:
        """Halt a run whose owners keep dying."""
        ...
