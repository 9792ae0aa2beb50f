"""The border of server and engine: what each may ask of the other.

`server` and `engine` are siblings and do not import each other. A server hands tasks to a `Worker`; the engine
sends requests through a `Port`. The embedded server is one implementation, a remote one would be another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from resonate_web.machine.state import TaskRow
from resonate_web.machine.steps import Step
from resonate_web.protocol.records import Promise
from resonate_web.protocol.requests import Preload, Request, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Room for one task: who takes it, for how long (ms), and what it wants to read with it.

    `reads` are ids of promises whose records are returned beside the preloaded children.
    """

    pid: str
    ttl: int
    preload: Preload
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """A task taken for this process, with its promise and the records that were asked for."""

    task: TaskRow
    promise: Promise
    records: tuple[Promise, ...]


class Worker(Protocol):
    """What takes tasks in this process."""

    def targets(self) -> Sequence[str]:
        """Return the addresses whose tasks it takes; empty when it takes none at the moment."""
        ...

    def addresses(self) -> Sequence[str]:
        """Return the addresses whose messages reach it."""
        ...

    def reserve(self, task: TaskRow, now: int) -> Reservation | None:
        """Make room for a pending task, or decline it."""
        ...

    def deliver(self, acquired: Acquired) -> None:
        """Take a task that was acquired for a reservation; called after the commit, must not block."""
        ...

    def forgo(self, task_id: str) -> None:
        """Give up a reservation whose group failed."""
        ...

    def unblock(self, promise: Promise) -> None:
        """Take news of a settled promise that the worker listens to; called after the commit, must not block."""
        ...

    def ended(self, task_id: str) -> None:
        """Take news that a task's own promise is settled; called after the commit, must not block."""
        ...


Then = Callable[[Sequence[Response] | BaseException], None]
"""What is called with the answers of a group, or with the error that kept it from being applied."""


class Port(Protocol):
    """What the engine may ask of a server. Any prefix of a group may have been applied when one fails."""

    def now(self) -> int:
        """Return the server's time in ms; it never goes back."""
        ...

    def submit(self, *batch: Request) -> list[Response]:
        """Apply requests as one group and wait for the answers. Raises: StoreUnavailable."""
        ...

    def post(self, batch: Sequence[Request | Step], then: Then, *, lead: bool = True) -> None:
        """Apply requests as one group; `then` must not block. With `lead`, the commit may use this thread."""
        ...

    def read(self, *batch: Request) -> list[Response]:
        """Answer gets and searches from the last committed state."""
        ...

    def tasks(self, ids: Sequence[str]) -> list[TaskRow]:
        """Return stored tasks."""
        ...

    def held(self) -> Sequence[tuple[str, int, str]]:
        """Return (id, version, pid) of every acquired task, whoever holds it."""
        ...

    def halted(self) -> Sequence[TaskRow]:
        """Return halted tasks that carry a refusal."""
        ...


class NoWorker:
    """A process that only starts runs and answers."""

    def targets(self) -> Sequence[str]:
        """Return nothing."""
        return ()

    def addresses(self) -> Sequence[str]:
        """Return nothing."""
        return ()

    def reserve(self, task: TaskRow, now: int) -> Reservation | None:
        """Decline."""
        return None

    def deliver(self, acquired: Acquired) -> None:
        """Never called: nothing is reserved."""

    def forgo(self, task_id: str) -> None:
        """Never called: nothing is reserved."""

    def unblock(self, promise: Promise) -> None:
        """Never called: nothing is listened to."""

    def ended(self, task_id: str) -> None:
        """Ignore it: nothing is held."""


Watcher = Callable[[Promise], None]


def serves(targets: Sequence[str], address: str) -> bool:
    """Tell whether an address is one of the targets, or one below it (`poll://any@group/pid`)."""
    return any(address == t or address.startswith(f"{t}/") for t in targets)
