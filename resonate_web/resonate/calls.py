"""The verbs of an adapter's object that need no request: of a shell, a command, a step, or a view that waits itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from resonate_web.resonate.approvals import Approvals
from resonate_web.resonate.client import Resonate
from resonate_web.resonate.handle import Handle
from resonate_web.resonate.promises import Promises

Fn: TypeAlias = Callable[..., Any] | str


class Calls(ABC):
    """What the current client can do. Each verb that blocks has a twin that is awaited: `arun`, `aget`, ..."""

    @abstractmethod
    def _core(self) -> Resonate:
        """Return the client of the current application, with the options that were given."""

    def run(self, id: str, fn: Fn, /, *args: Any, **kwargs: Any) -> Any:
        """Run a workflow and wait for its result."""
        return self._core().run(id, fn, *args, **kwargs)

    async def arun(self, id: str, fn: Fn, /, *args: Any, **kwargs: Any) -> Any:
        """Await `run`."""
        return await self._core().arun(id, fn, *args, **kwargs)

    def begin_run(self, id: str, fn: Fn, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Start a workflow in this process and return its handle."""
        return self._core().begin_run(id, fn, *args, **kwargs)

    async def abegin_run(self, id: str, fn: Fn, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Await `begin_run`."""
        return await self._core().abegin_run(id, fn, *args, **kwargs)

    def rpc(self, id: str, fn: Fn, /, *args: Any, **kwargs: Any) -> Any:
        """Let any process of the group run a workflow and wait for its result."""
        return self._core().rpc(id, fn, *args, **kwargs)

    async def arpc(self, id: str, fn: Fn, /, *args: Any, **kwargs: Any) -> Any:
        """Await `rpc`."""
        return await self._core().arpc(id, fn, *args, **kwargs)

    def begin_rpc(self, id: str, fn: Fn, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Let any process of the group run a workflow and return its handle."""
        return self._core().begin_rpc(id, fn, *args, **kwargs)

    async def abegin_rpc(self, id: str, fn: Fn, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Await `begin_rpc`."""
        return await self._core().abegin_rpc(id, fn, *args, **kwargs)

    def get(self, id: str) -> Handle[Any]:
        """Return the handle of a run. Raises: NotFound."""
        return self._core().get(id)

    async def aget(self, id: str) -> Handle[Any]:
        """Await `get`."""
        core = self._core()
        return await core.on_loop.read(lambda: core.get(id))

    def retry(self, id: str) -> Handle[Any]:
        """Start the next try of a failed run: the same arguments, finished steps kept."""
        return self._core().retry(id)

    async def aretry(self, id: str) -> Handle[Any]:
        """Await `retry`."""
        core = self._core()
        return await core.on_loop.read(lambda: core.retry(id))

    def proceed(self, id: str) -> None:
        """Let a blocked run go on, or start its failed steps now that wait for their next attempt."""
        self._core().proceed(id)

    async def aproceed(self, id: str) -> None:
        """Await `proceed`."""
        await self._core().aproceed(id)

    @property
    def promises(self) -> Promises:
        """Return the promises of the store: get, create, resolve, reject, cancel, and their awaitable twins."""
        return self._core().promises

    @property
    def approvals(self) -> Approvals:
        """Return the approvals of the store: pending, get, decide, revoke, link, audit."""
        return self._core().approvals
