"""What a client has open in this process, from its first use to `close`, and how it asks its server."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from resonate_web.clock import Clock, SystemClock
from resonate_web.config import Settings
from resonate_web.engine.events import Events
from resonate_web.errors import NotFound, ResonateError, Stopped, WrongCall
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.protocol.requests import PromiseGet, Request, Response
from resonate_web.resonate.approvals import Approvals
from resonate_web.resonate.home import Home
from resonate_web.resonate.performing import OnLoop, OnThread
from resonate_web.resonate.promises import Promises
from resonate_web.resonate.runtime import Runtime
from resonate_web.resonate.waiter import News, Waiter
from resonate_web.workflow import ids
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.links import Links
from resonate_web.workflow.registry import Registry

T = TypeVar("T")


class Opened:
    """The life of a client. Constructing it opens nothing; the first use does."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        registry: Registry | None = None,
        codec: Codec | None = None,
        dependencies: dict[str, object] | None = None,
        around_step: Callable[[], AbstractContextManager[object]] | None = None,
        clock: Clock | None = None,
        make_runtime: Callable[..., Runtime] = Runtime,
    ) -> None:
        self.settings = settings or Settings()
        self.registry = registry or Registry()
        self.codec = codec or Codec()
        self.events = Events()
        self._dependencies: dict[str, object] = {} if dependencies is None else dependencies
        self._around_step = around_step
        self._clock = clock or SystemClock()
        self._make_runtime = make_runtime
        self._home = Home()
        self.promises = Promises(self)
        self.approvals = Approvals(self)
        self.on_thread = OnThread(self, self.settings.max_waits)
        self.on_loop = OnLoop(self)

    @property
    def runtime(self) -> Runtime:
        """Return what this process has open, opening it if necessary; a forked child gets its own."""
        home = self._home
        runtime = home.runtime
        if runtime is None or runtime.process != os.getpid():
            with home.lock:
                runtime = home.runtime
                if runtime is None or runtime.process != os.getpid():
                    if home.closed:
                        raise Stopped("this Resonate is closed")
                    runtime = home.runtime = self._made()
                    if home.loop is not None:
                        runtime.loops.adopt(home.loop)
        return runtime

    @property
    def links(self) -> Links:
        """Return what makes the addresses of approval pages; a gateway sets it, for all copies of this client."""
        return self._home.links

    @links.setter
    def links(self, links: Links) -> None:
        self._home.links = links

    @property
    def ready(self) -> bool:
        """Tell whether this process has opened and started what it uses, so that a call on it does not block."""
        runtime = self._home.runtime
        if runtime is None or runtime.process != os.getpid():
            return False
        return runtime.started or self.settings.autostart == "off"

    @property
    def pid(self) -> str:
        """Return the name under which this process holds tasks; the first use opens and starts what it needs."""
        self._use()
        runtime = self.runtime
        return runtime.name if runtime.engine is None else runtime.engine.pid

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run async steps on the app's own event loop from now on, for as long as it runs; opens nothing."""
        home = self._home
        if home.loop is not loop:
            home.loop = loop  # first, for a thread that opens meanwhile
            if home.runtime is not None:
                home.runtime.loops.adopt(loop)

    def ensure_started(self) -> None:
        """Start executing runs in this process, if that has not happened; cheap when it has."""
        runtime = self.runtime
        if not runtime.started:
            with self._home.lock:
                runtime = self.runtime  # it may have been closed meanwhile
                if not runtime.started:
                    runtime.start()

    def _use(self) -> None:
        if self.settings.autostart != "off":
            self.ensure_started()

    def served_by(self, threads: int, stopping: Callable[[], bool]) -> None:
        """Learn how many threads the web server has, and how it tells that it wants to end.

        A quarter of the threads may wait, unless `max_waits` says otherwise, and nobody waits when it ends.
        """
        self.on_thread.stopping = stopping
        if "max_waits" not in self.settings.sources:
            self.on_thread.seats = max(1, threads // 4)

    def close(self) -> None:
        """Stop taking work, let steps in flight end within the grace period, release the rest; repeatable."""
        self._home.close()
        self.on_loop.close()

    def now(self) -> int:
        """Return the server's time in ms; it never goes back."""
        return self.runtime.server.now()

    def record(self, id: str) -> Promise:
        """Return a promise as last committed. Raises: NotFound."""
        promise = self._find(id)
        if promise is None:
            raise NotFound(f"no promise has the id {id!r}")
        return promise

    def wait(self, future: Future[T], timeout_ms: int | None) -> T:
        """Wait for a future in the way that this process waits."""
        return self.runtime.turns.wait(future, timeout_ms)

    def settlement(self, id: str) -> Future[Promise]:
        """Return a future of a promise's settled record.

        Raises: NotFound, WrongCall when it is pending and nothing of this process would notice its end.
        """
        self._use()
        waiter = Waiter(self.runtime.server, id)
        future = waiter.future
        try:
            now = self.record(id)
            if now.state is PromiseState.PENDING and not self.runtime.started:
                raise WrongCall(
                    f"{id!r} is pending, and with autostart off nobody would notice its end: ensure_started()"
                )
        except ResonateError:
            future.cancel()
            raise
        if now.state is not PromiseState.PENDING:
            waiter(now)
        self._home.expect(future)
        return future

    def changes(self, id: str) -> Future[None]:
        """Return a future that is done when something of a run is recorded, later tries included; done or cancelled
        it is forgotten.

        Take it first, then read, then wait: so no change is missed. Now and then it is done without one.
        Raises: WrongCall when nothing of this process would notice what others record.
        """
        self._use()
        if not self.runtime.started:
            raise WrongCall(f"with autostart off nobody would notice changes of {id!r}: ensure_started()")
        future = News(self.runtime.server, ids.normal(id)).future
        self._home.expect(future)
        return future

    def ask(self, request: Request, answered: Callable[[Response], T], *, lead: bool) -> Future[T]:
        """Submit one request; the future holds `answered(response)`."""
        return self.submit([request], lambda answers: answered(answers[0]), lead=lead)

    def submit(self, batch: list[Request], answered: Callable[[list[Response]], T], *, lead: bool) -> Future[T]:
        """Submit requests as one atomic group; the future holds `answered(responses)`."""
        self._use()
        return self._post(batch, answered, lead=lead)

    def secret(self) -> bytes:
        """Return the store's 32 random bytes: the signing key of last resort."""
        return self.runtime.store.secret()

    def _post(self, batch: list[Request], answered: Callable[[list[Response]], T], *, lead: bool) -> Future[T]:
        future: Future[T] = Future()

        def done(answers: Any) -> None:
            if not future.set_running_or_notify_cancel():
                return  # whoever waited has gone
            try:
                if isinstance(answers, BaseException):
                    raise answers
                future.set_result(answered(list(answers)))
            except BaseException as error:
                future.set_exception(error)

        self.runtime.server.post(batch, done, lead=lead)
        return future

    def _find(self, id: str) -> Promise | None:
        return self.runtime.server.read(PromiseGet(id=ids.normal(id)))[0].promise

    def _made(self) -> Runtime:
        atexit.register(self._home.close)
        return self._make_runtime(
            settings=self.settings,
            clock=self._clock,
            registry=self.registry,
            codec=self.codec,
            dependencies=self._dependencies,
            events=self.events,
            around_step=self._around_step,
            links=self._home.link,
        )
