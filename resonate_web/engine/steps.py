"""User code: one attempt of a step's body, and what its failure means."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from resonate_web.errors import ApplicationError, Unserializable
from resonate_web.protocol.records import PromiseState, Value
from resonate_web.workflow.codec import Codec, error_document, to_data
from resonate_web.workflow.context import StepContext
from resonate_web.workflow.nodes import Node
from resonate_web.workflow.registry import nature_of
from resonate_web.workflow.retry import PERMANENT, Exponential, RetryPolicy

log = logging.getLogger("resonate_web.engine")

DEFAULT_RETRY = Exponential()

RUNNING: ContextVar[str | None] = ContextVar("resonate_step", default=None)
"""What runs in this context, such as `the step order/42:1`: blocking calls on runs are refused there."""
WORKFLOW = "the workflow "
"""How `RUNNING` begins while a workflow's own code runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A body that will not be tried again: its outcome."""

    state: PromiseState
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A failed attempt and the instant (ms) of the next; `note` is what is recorded of it."""

    at: int
    note: Value
    error: str


Verdict = Ended | Retry


class Steps:
    """Runs bodies. `around` opens the framework's world for each attempt, such as an app context; an async step
    enters it as an asynchronous one, if it is that too.
    """

    def __init__(
        self,
        codec: Codec,
        run_async: Callable[[Any], Future[Any]],
        now: Callable[[], int],
        around: Callable[[], AbstractContextManager[object]] | None,
        retry_of: Callable[[Callable[..., Any]], RetryPolicy | None],
    ) -> None:
        self._codec = codec
        self._run_async = run_async
        self._now = now
        self._around = around or nullcontext
        self._retry_of = retry_of
        self._awaited = 0
        self._ended_one = threading.Condition()

    def finish(self, grace_ms: int) -> None:
        """Wait at most `grace_ms` until no async body is in flight; those on threads are the pool's."""
        with self._ended_one:
            self._ended_one.wait_for(lambda: not self._awaited, grace_ms / 1000)

    def run(self, node: Node, ctx: StepContext, done: Callable[[Verdict], None]) -> Verdict | None:
        """Run one attempt in this thread and return its verdict; an async body returns None and calls `done` later."""
        fn = node.command.fn
        assert fn is not None
        try:
            args, kwargs = self._codec.loads(node.payload or "[[],{}]")
            nature = nature_of(fn)
            if nature.takes_context:
                args = [ctx, *args]
            if nature.awaited:
                self._start_async(fn, args, kwargs, node, ctx, done)
                return None
            token = RUNNING.set(f"the step {node.id}")
            try:
                with self._around():
                    return self._ended(fn(*args, **kwargs), node)
            finally:
                RUNNING.reset(token)
        except BaseException as error:
            return self._failed(error, node, ctx.attempt)

    def _start_async(
        self,
        fn: Callable[..., Any],
        args: list[Any],
        kwargs: dict[str, Any],
        node: Node,
        ctx: StepContext,
        done: Callable[[Verdict], None],
    ) -> None:
        async def body() -> Any:
            around = self._around()
            if isinstance(around, AbstractAsyncContextManager):  # its work may block, and this is an event loop
                async with around:
                    return await fn(*args, **kwargs)
            with around:
                return await fn(*args, **kwargs)

        def finished(future: Future[Any]) -> None:
            try:
                if not future.cancelled():  # else the process stops: another one takes the run over
                    done(self._outcome(future, node, ctx))
            finally:
                self._count(-1)

        self._count(1)
        self._run_async(body).add_done_callback(finished)

    def _outcome(self, future: Future[Any], node: Node, ctx: StepContext) -> Verdict:
        try:
            return self._ended(future.result(), node)
        except BaseException as error:
            return self._failed(error, node, ctx.attempt)

    def _count(self, change: int) -> None:
        with self._ended_one:
            self._awaited += change
            self._ended_one.notify_all()

    def _ended(self, result: Any, node: Node) -> Ended:
        try:
            return Ended(state=PromiseState.RESOLVED, value=self._codec.encode(result))
        except Unserializable as error:
            raise Unserializable(f"the result of step {node.command.name!r} ({node.id}): {error}") from None

    def _failed(self, error: BaseException, node: Node, attempt: int) -> Verdict:
        if not isinstance(error, Exception):  # SystemExit and the like end the step, not the server's thread
            error = ApplicationError(f"the step raised {error!r}", type_name=type(error).__name__)
        value = self._codec.encode_error(error)
        opts = node.command.opts
        if not isinstance(error, (*PERMANENT, *opts.non_retryable)):
            policy = opts.retry or self._retry_of(node.command.fn) or DEFAULT_RETRY  # type: ignore[arg-type]
            delay = self._delay(policy, attempt)
            at = self._now() + (delay or 0)
            if delay is not None and at < node.timeout_at:
                return self._retry(value, attempt, at)
        return Ended(state=PromiseState.REJECTED, value=value)

    def _delay(self, policy: RetryPolicy, attempt: int) -> int | None:
        try:
            delay = policy.delay_ms(attempt)
            return None if delay is None else int(delay)
        except Exception:
            log.exception("a retry policy failed; the step is not tried again")
            return None

    def _retry(self, value: Value, attempt: int, next_at: int) -> Retry:
        found = error_document(value)
        document = {
            "__type": "error", "name": found["name"], "message": found["message"], "attempt": attempt,
            "next_at": next_at,
        }  # fmt: skip
        note = Value(data=to_data(json.dumps(document, separators=(",", ":"))))
        return Retry(at=next_at, note=note, error=f"{found['name']}: {found['message']}")
