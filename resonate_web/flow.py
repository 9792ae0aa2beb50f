"""Flows: work that asks the store and waits, written once for threads and event loops.

A flow is a generator that yields what it needs and is sent the answer, or has the error thrown in. It never
blocks itself; `resonate.performing` drives it, on the calling thread or on an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Read:
    """A look at the store, which may block; the answer is what `call` returns."""

    call: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Call:
    """The application's or its framework's own code; the answer is what `call` returns."""

    call: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Commit:
    """A durable write; the answer is the result of the future that `begin(lead)` gives.

    With `lead` the calling thread may commit.
    """

    begin: Callable[[bool], Future[Any]]


@dataclass(frozen=True, slots=True)
class Until:
    """Wait for a future, at most `ms`; the answer tells whether it is done. What it holds is not looked at."""

    future: Future[Any]
    ms: int


@dataclass(frozen=True, slots=True)
class Seat:
    """Ask for a place to wait, kept until the flow ends; the answer tells whether there was one.

    Where waiting holds a thread of the server there are few, on an event loop everybody has one.
    """


Effect: TypeAlias = Read | Call | Commit | Until | Seat
Flow: TypeAlias = Generator[Effect, Any, T]
Stream: TypeAlias = Generator[Effect | bytes, Any, None]
"""A flow that yields chunks of a body as well."""

News: TypeAlias = Future[None]
"""Done when there is something new; what it holds says nothing."""

Begun: TypeAlias = Future[Any]
"""A durable write on its way."""
