"""The internal steps: what the server does on its own initiative (protocol 4), as values.

Each re-checks its own condition, so a late, early or repeated one is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """R1: settle a promise whose deadline has passed."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """R3: tell one listener of a settled promise."""

    id: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """R4: tell one awaiting task that a promise is settled."""

    id: str
    awaiter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """R5: take back a task whose lease has run out."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """R6: offer a pending task to its target, and again after the retry interval."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """R7: create the promises of a schedule's due occurrences, at most `limit` of them.

    `ids` are the promises expected to be created; `schedules.firing` plans them from the stored row. An
    occurrence whose id is not among them waits for the next firing: it is never skipped.
    """

    id: str
    limit: int = 100
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaim:
    """*Extension*: take back a task whose holder is known to be dead (R5 without waiting for the lease).

    Guarded on pid and version: a task that changed hands meanwhile is left alone.
    """

    id: str
    pid: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """*Extension*: cancel the unsettled attached descendants of a settled promise.

    If the promise was canceled or timed out and names a cleanup workflow (tag `resonate_web:on_cancel`),
    that workflow is created in the same step, detached.
    """

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """*Extension*: remove a message from the outbox after its address took it."""

    key: str


Step = Timeout | Notify | Wake | Expire | Dispatch | Fire | Reclaim | Cascade | Delivered
