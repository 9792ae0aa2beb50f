"""The durable objects as clients see them. Times are integer milliseconds since the Unix epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class PromiseState(StrEnum):
    """The life of a promise; every state but PENDING is final."""

    PENDING = "pending"
    RESOLVED = "resolved"
    REJECTED = "rejected"
    CANCELED = "rejected_canceled"
    TIMEDOUT = "rejected_timedout"


SETTABLE = frozenset({PromiseState.RESOLVED, PromiseState.REJECTED, PromiseState.CANCELED})
"""The verdicts a client may give; TIMEDOUT belongs to the server."""


class TaskState(StrEnum):
    """The life of the obligation to execute a targeted promise."""

    PENDING = "pending"
    ACQUIRED = "acquired"
    SUSPENDED = "suspended"
    HALTED = "halted"
    FULFILLED = "fulfilled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A payload that the server never looks into: base64 text and optional headers."""

    data: str | None = None
    headers: Mapping[str, str] | None = None


EMPTY = Value()


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A durable value with an id and a deadline."""

    id: str
    state: PromiseState
    param: Value
    value: Value
    tags: Mapping[str, str]
    timeout_at: int
    created_at: int
    settled_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The obligation to execute one targeted promise; `resumes` counts wake-ups not yet taken."""

    id: str
    state: TaskState
    version: int
    resumes: int = 0
    ttl: int | None = None
    pid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A calendar that creates promises; `promise_timeout` is a duration in ms."""

    id: str
    cron: str
    promise_id: str
    promise_timeout: int
    promise_param: Value
    promise_tags: Mapping[str, str]
    created_at: int
    next_run_at: int
    last_run_at: int | None = None
