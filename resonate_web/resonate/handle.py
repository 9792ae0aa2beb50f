"""A run from outside: is it done, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from resonate_web.engine.steps import RUNNING, WORKFLOW
from resonate_web.errors import WrongCall
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.resonate.port import Client

T = TypeVar("T")


class Handle(Generic[T]):
    """Await it, or call `result()` where blocking is allowed."""

    def __init__(self, resonate: Client, id: str) -> None:
        self.id = id
        self._resonate = resonate

    def done(self) -> bool:
        """Tell whether the run has ended, however it did."""
        return self._resonate.record(self.id).state is not PromiseState.PENDING

    def result(self, timeout: float | None = None) -> T:
        """Wait for the run and return its value; `timeout` in seconds.

        Raises: what the run raised, Canceled, TimedOut, the built-in TimeoutError when the wait was too short,
        WrongCall on an event loop or inside a step.
        """
        refuse_blocking("handle.result()", "await handle")
        wait_ms = None if timeout is None else int(timeout * 1000)
        future = self.settled()
        try:
            promise = self._resonate.wait(future, wait_ms)
        finally:
            future.cancel()  # whoever gives up waiting is not kept in mind until the run ends
        return self._resonate.codec.outcome(promise)  # type: ignore[no-any-return]

    def settled(self) -> Future[Promise]:
        """Return a future of the settled promise, whatever its state. Raises: NotFound."""
        return self._resonate.settlement(self.id)

    def __await__(self) -> Generator[Any, None, T]:
        promise = yield from asyncio.wrap_future(self.settled()).__await__()
        return self._resonate.codec.outcome(promise)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<handle {self.id}>"


def refuse_blocking(call: str, instead: str, *, waits: bool = True) -> None:
    """Raise WrongCall where a blocking call would stop an event loop, or a step that `waits` for a run.

    Without `waits` the call takes one commit: a step may make it, a workflow's own code may not.
    """
    step = RUNNING.get()
    if step is not None and (waits or step.startswith(WORKFLOW)):
        raise WrongCall(f"{call} inside {step} would hold its thread: yield ctx.rpc(...) in the workflow instead")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WrongCall(f"{call} would block the event loop: use {instead}")
