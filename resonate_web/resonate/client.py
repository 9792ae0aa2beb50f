"""`Resonate`: the composition root, and the verbs of an app."""

from __future__ import annotations

import asyncio
import atexit
import copy
import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

from resonate_web.clock import Clock, SystemClock
from resonate_web.config import Settings
from resonate_web.engine.events import Events
from resonate_web.errors import NotFound, ResonateError, Stopped, WrongCall
from resonate_web.machine.rows import seen
from resonate_web.machine.state import Keys
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.protocol.requests import PromiseGet, PromiseSearch, Request, Response
from resonate_web.resonate import launch as starting
from resonate_web.resonate import retrying
from resonate_web.resonate.handle import Handle, refuse_blocking
from resonate_web.resonate.home import Home
from resonate_web.resonate.launch import Launch
from resonate_web.resonate.options import Options
from resonate_web.resonate.promises import Promises
from resonate_web.resonate.runtime import Runtime
from resonate_web.resonate.view import RunView, view
from resonate_web.resonate.waiter import Waiter
from resonate_web.workflow import ids
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.registry import Registry
from resonate_web.workflow.retry import RetryPolicy

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Resonate:
    """Durable workflows in this process. Constructing it opens nothing; the first use does."""

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
        self.promises = Promises(self)
        self._dependencies: dict[str, object] = {} if dependencies is None else dependencies
        self._around_step = around_step
        self._clock = clock or SystemClock()
        self._make_runtime = make_runtime
        self._options = Options()
        self._home = Home()

    # Declaring

    def register(
        self,
        fn: F | None = None,
        *,
        name: str | None = None,
        version: int = 1,
        on_cancel: Callable[..., Any] | str | None = None,
        retry: RetryPolicy | None = None,
    ) -> Any:
        """Register a function and return it unchanged; also a decorator, with or without arguments.

        `on_cancel` is a registered workflow that cleans up after a cancel or time-out, with the same arguments.
        Raises: AlreadyRegistered.
        """

        def add(fn: F) -> F:
            self.registry.add(fn, name=name, version=version, on_cancel=on_cancel, retry=retry)
            return fn

        return add if fn is None else add(fn)

    def register_error(self, class_: type[Exception]) -> type[Exception]:
        """Let this exception class cross the boundary as itself; usable as a decorator."""
        return self.codec.register_error(class_)

    def set_dependency(self, name: str, value: object) -> None:
        """Hand an object to workflows and steps: `ctx.get_dependency(name)`."""
        self._dependencies[name] = value

    def options(self, **options: Any) -> Resonate:
        """Return this client with options for starts: `timeout`, `tags`, `version`, `target`, `on_failed`."""
        twin = copy.copy(self)
        twin._options = self._options.with_(**options)
        return twin

    # Starting

    def launch(
        self,
        id: str,
        fn: Callable[..., Any] | str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        options: Options | None = None,
    ) -> Launch:
        """Start a run or join the one that has this id; returns after it is durable.

        Raises: InvalidId, NotRegistered, Unserializable, TooLarge, IdInUse, StoreUnavailable.
        """
        self._use()
        call, id = self._call(id, fn, args, kwargs, options)
        while True:
            launched = self.wait(self._begin(call, id, lead=True), None)
            again = self._decide(call, launched)
            if again is None:
                return self._joined(call, launched)
            id = again

    async def alaunch(
        self,
        id: str,
        fn: Callable[..., Any] | str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        options: Options | None = None,
    ) -> Launch:
        """Await `launch`."""
        self._use()
        call, id = self._call(id, fn, args, kwargs, options)
        while True:
            launched = await asyncio.wrap_future(self._begin(call, id, lead=False))
            again = self._decide(call, launched)
            if again is None:
                return self._joined(call, launched)
            id = again

    def begin_run(self, id: str, fn: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Start a run or join it; return a handle. Raises: as `launch`, and WrongCall where blocking is not allowed."""
        refuse_blocking("begin_run()", "await abegin_run()", waits=False)
        return Handle(self, self.launch(id, fn, args, kwargs).id)

    async def abegin_run(self, id: str, fn: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Await `begin_run`."""
        return Handle(self, (await self.alaunch(id, fn, args, kwargs)).id)

    def run(self, id: str, fn: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Any:
        """Start a run or join it, wait for it, and return its value or raise its error."""
        refuse_blocking("run()", "await arun()")
        return self.begin_run(id, fn, *args, **kwargs).result()

    async def arun(self, id: str, fn: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Any:
        """Await `run`."""
        return await (await self.abegin_run(id, fn, *args, **kwargs))

    begin_rpc = begin_run
    abegin_rpc = abegin_run
    rpc = run
    arpc = arun

    def retry(self, id: str) -> Handle[Any]:
        """Start the next try of a failed run, `<id>~2`: same arguments, successful steps kept.

        Raises: NotFound, CallerError when the run has not failed.
        """
        refuse_blocking("retry()", "await aretry()", waits=False)
        self._use()
        new, batch = self._retrial(id)
        self.wait(self._post(batch, lambda answers: answers[0], lead=True), None)
        return Handle(self, new)

    async def aretry(self, id: str) -> Handle[Any]:
        """Await `retry`."""
        self._use()
        new, batch = self._retrial(id)
        await asyncio.wrap_future(self._post(batch, lambda answers: answers[0], lead=False))
        return Handle(self, new)

    # Reading

    def get(self, id: str) -> Handle[Any]:
        """Return a handle of a run or promise. Raises: NotFound."""
        return Handle(self, self.record(id).id)

    async def aget(self, id: str) -> Handle[Any]:
        """Await `get`."""
        return self.get(id)

    def record(self, id: str) -> Promise:
        """Return a promise as last committed. Raises: NotFound."""
        promise = self._find(id)
        if promise is None:
            raise NotFound(f"no promise has the id {id!r}")
        return promise

    def view(self, id: str) -> RunView | None:
        """Return a run with its children, the newest try of a failed one; None when there is none."""
        id = ids.normal(id)
        found = self._look(id)
        if found is not None and starting.failed(found.promise):
            current = starting.newest(id, found.promise, self._find, ids.newer_id).id
            found = found if current == found.promise.id else self._look(current)
        return None if found is None else replace(found, id=id)

    def runs(self, *, after: str | None = None, limit: int = 100) -> list[Promise]:
        """List started runs by id."""
        request = PromiseSearch(tags={starting.ROOT: "true"}, cursor=after, limit=limit)
        return list(self.runtime.server.read(request)[0].promises)

    def tree(self, id: str) -> list[Promise]:
        """Return a run and all its descendants, detached ones too, by id. Raises: NotFound."""
        found: list[Promise] = []
        cursor: str | None = None
        while True:
            request = PromiseSearch(tags={tags.ORIGIN: ids.origin(ids.normal(id))}, cursor=cursor, limit=1000)
            page = self.runtime.server.read(request)[0]
            found += page.promises
            cursor = page.cursor
            if cursor is None:
                return found or [self.record(id)]

    def secret(self) -> bytes:
        """Return the store's 32 random bytes: the signing key of last resort."""
        return self.runtime.store.secret()

    # Life cycle

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
        return runtime

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

    def close(self) -> None:
        """Stop taking work, let steps in flight end within the grace period, release the rest; repeatable."""
        self._home.close()

    def now(self) -> int:
        """Return the server's time in ms; it never goes back."""
        return self.runtime.server.now()

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

    def ask(self, request: Request, answered: Callable[[Response], T], *, lead: bool) -> Future[T]:
        """Submit one request; the future holds `answered(response)`."""
        self._use()
        return self._post([request], lambda answers: answered(answers[0]), lead=lead)

    # Inside

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

    def _call(
        self,
        id: str,
        fn: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options | None,
    ) -> tuple[starting.Call, str]:
        options = options or self._options
        id = ids.root_id(id)
        entry = self.registry.of(fn, options.version)
        return starting.call(self.codec, entry, args, kwargs or {}, options, self.settings.max_body), id

    def _begin(self, call: starting.Call, id: str, *, lead: bool) -> Future[Launch]:
        token = self._home.token(self.runtime)
        group = self.settings.group
        request = starting.request(call, id, now=self.now(), group=group, token=token)

        def begun(answers: list[Response]) -> Launch:
            promise = answers[0].promise
            if promise is None:
                raise ResonateError(f"the run {id!r} could not be started: {answers[0].error}")
            return Launch(id=id, promise=promise, created=promise.tags.get(starting.STARTED) == token)

        return self._post([request], begun, lead=lead)

    def _decide(self, call: starting.Call, launched: Launch) -> str | None:
        """Return the id to start instead when the run has failed and a new try is wanted."""
        if launched.created or call.options.on_failed != "new":
            return None
        starting.join(call, launched.id, launched.promise)
        last = starting.newest(launched.id, launched.promise, self._find, ids.newer_id)
        return ids.newer_id(last.id) if starting.failed(last) else None

    def _joined(self, call: starting.Call, launched: Launch) -> Launch:
        if launched.created:
            return launched
        starting.join(call, launched.id, launched.promise)
        last = starting.newest(launched.id, launched.promise, self._find, ids.newer_id)
        return Launch(id=last.id, promise=last, created=False)

    def _retrial(self, id: str) -> tuple[str, list[Request]]:
        runtime = self.runtime
        last = starting.newest(id, self.record(id), self._find, ids.newer_id)
        children = runtime.server.children(last.id)
        return retrying.requests_for(last, children, now=self.now(), token=self._home.token(runtime))

    def _look(self, id: str) -> RunView | None:
        rows = self.runtime.store.read(Keys(ids=frozenset((id,)), owned=frozenset((id,))))
        if id not in rows.promises:
            return None
        now = self.now()
        root, *children = (seen(rows.promises[key][0].record, now) for key in (id, *rows.owned.get(id, ())))
        task = rows.tasks.get(id)
        return view(id, root, task[0] if task else None, children)

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
        )
