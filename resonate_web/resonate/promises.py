"""`resonate.promises`: promises that somebody outside settles. Each verb has a twin that is awaited: `aresolve`, ..."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

from resonate_web.clock import FOREVER
from resonate_web.errors import ApplicationError, CallerError, NotFound
from resonate_web.protocol import tags as words
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Value
from resonate_web.protocol.requests import PromiseCreate, PromiseSettle, Request
from resonate_web.resonate.handle import refuse_blocking
from resonate_web.resonate.port import Client
from resonate_web.workflow import ids
from resonate_web.workflow.commands import to_ms


class Promises:
    """The verbs. The first settlement wins; every later one returns the recorded promise."""

    def __init__(self, resonate: Client) -> None:
        self._resonate = resonate

    def get(self, id: str) -> Promise:
        """Return a promise as last committed. Raises: NotFound."""
        return self._resonate.record(id)

    async def aget(self, id: str) -> Promise:
        """Await `get`."""
        return self.get(id)

    def create(
        self, id: str, *, timeout: float | timedelta | None = None, data: Any = None, tags: Mapping[str, str] = {}
    ) -> Promise:
        """Create a promise that is settled from outside, or return the existing one; `timeout` in seconds."""
        return self._now(self._creation(id, timeout, data, tags), "promises.create()", "await promises.acreate()")

    async def acreate(
        self, id: str, *, timeout: float | timedelta | None = None, data: Any = None, tags: Mapping[str, str] = {}
    ) -> Promise:
        """Await `create`."""
        return await self._later(self._creation(id, timeout, data, tags))

    def resolve(self, id: str, value: Any = None) -> Promise:
        """Settle a promise with a value. Raises: NotFound, Unserializable."""
        return self._now(self._resolution(id, value), "promises.resolve()", "await promises.aresolve()")

    async def aresolve(self, id: str, value: Any = None) -> Promise:
        """Await `resolve`."""
        return await self._later(self._resolution(id, value))

    def reject(self, id: str, error: BaseException | str) -> Promise:
        """Settle a promise with an error. Raises: NotFound."""
        return self._now(self._rejection(id, error), "promises.reject()", "await promises.areject()")

    async def areject(self, id: str, error: BaseException | str) -> Promise:
        """Await `reject`."""
        return await self._later(self._rejection(id, error))

    def cancel(self, id: str) -> Promise:
        """Cancel a promise; of a run, everything attached to it as well. Raises: NotFound."""
        return self._now(self._settlement(id, PromiseState.CANCELED), "promises.cancel()", "await promises.acancel()")

    async def acancel(self, id: str) -> Promise:
        """Await `cancel`."""
        return await self._later(self._settlement(id, PromiseState.CANCELED))

    def _creation(self, id: str, timeout: float | timedelta | None, data: Any, tags: Mapping[str, str]) -> Request:
        now = self._resonate.now()
        return PromiseCreate(
            id=ids.normal(id),
            timeout_at=now + (FOREVER if timeout is None else to_ms(timeout)),
            param=self._resonate.codec.encode(data),
            tags={**tags, words.EXTERNAL: "true"},
        )

    def _resolution(self, id: str, value: Any) -> Request:
        return self._settlement(id, PromiseState.RESOLVED, self._resonate.codec.encode(value))

    def _rejection(self, id: str, error: BaseException | str) -> Request:
        raised = ApplicationError(error) if isinstance(error, str) else error
        return self._settlement(id, PromiseState.REJECTED, self._resonate.codec.encode_error(raised))

    def _settlement(self, id: str, state: PromiseState, value: Value = EMPTY) -> Request:
        return PromiseSettle(id=ids.normal(id), state=state, value=value)

    def _now(self, request: Request, call: str, instead: str) -> Promise:
        refuse_blocking(call, instead, waits=False)
        return self._resonate.wait(self._answer(request, lead=True), None)

    async def _later(self, request: Request) -> Promise:
        return await asyncio.wrap_future(self._answer(request, lead=False))

    def _answer(self, request: Request, *, lead: bool) -> Future[Promise]:
        def answered(response: Any) -> Promise:
            if response.status == 404:
                raise NotFound(f"no promise has the id {getattr(request, 'id', '')!r}")
            if response.status != 200:
                raise CallerError(f"{request.kind} was refused: {response.error}")
            return response.promise  # type: ignore[no-any-return]

        return self._resonate.ask(request, answered, lead=lead)
