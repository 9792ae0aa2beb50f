"""`Resonate`: the composition root, and the verbs of an app."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from resonate_web.errors import CallerError, NotFound, ResonateError
from resonate_web.flow import Commit, Flow, Read
from resonate_web.machine.rows import seen
from resonate_web.machine.state import Keys
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.protocol.requests import PromiseSearch, Request, Response
from resonate_web.resonate import launch as starting
from resonate_web.resonate import proceeding, retrying
from resonate_web.resonate.approvals import votes_so_far
from resonate_web.resonate.handle import Handle, refuse_blocking
from resonate_web.resonate.launch import Launch
from resonate_web.resonate.opened import Opened
from resonate_web.resonate.options import Options
from resonate_web.resonate.view import RunView, view
from resonate_web.server.pruning import Pruned, prune
from resonate_web.workflow import ids
from resonate_web.workflow.commands import to_ms
from resonate_web.workflow.retry import RetryPolicy

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Resonate(Opened):
    """Durable workflows in this process. Constructing it opens nothing; the first use does."""

    _options = Options()

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
        return self.on_thread.perform(self.launching(id, fn, args, kwargs, options))

    async def alaunch(
        self,
        id: str,
        fn: Callable[..., Any] | str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        options: Options | None = None,
    ) -> Launch:
        """Await `launch`."""
        return await self.on_loop.perform(self.launching(id, fn, args, kwargs, options))

    def launching(
        self,
        id: str,
        fn: Callable[..., Any] | str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        options: Options | None = None,
    ) -> Flow[Launch]:
        """Return the flow of `launch`."""
        call, id = self._call(id, fn, args, kwargs, options)
        while True:
            launched: Launch = yield Commit(partial(self._begin, call, id))
            if launched.created:
                return launched
            again = yield Read(partial(self._decide, call, launched))
            if again is None:
                return (yield Read(partial(self._joined, call, launched)))  # type: ignore[no-any-return]
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
        new, batch = self.retrial(id)
        self.wait(self._post(batch, lambda answers: answers[0], lead=True), None)
        return Handle(self, new)

    async def aretry(self, id: str) -> Handle[Any]:
        """Await `retry`."""
        self._use()
        new, batch = self.retrial(id)
        await asyncio.wrap_future(self._post(batch, lambda answers: answers[0], lead=False))
        return Handle(self, new)

    def proceed(self, id: str) -> None:
        """Let a blocked run go on, or start its failed steps now that wait for their next attempt.

        Raises: NotFound, CallerError when nothing holds the run back that could be lifted.
        """
        refuse_blocking("proceed()", "await aproceed()", waits=False)
        self.on_thread.perform(self._proceeding(id))

    async def aproceed(self, id: str) -> None:
        """Await `proceed`."""
        await self.on_loop.perform(self._proceeding(id))

    def continuation(self, id: str) -> list[Request]:
        """Return the atomic group that `proceed` submits. Raises: as `proceed`."""
        run = self.view(id)
        if run is None:
            raise NotFound(f"no run has the id {id!r}")
        token = self._home.token(self.runtime)
        return proceeding.requests_for(run, group=self.settings.group, now=self.now(), token=token)

    def check(
        self,
        id: str,
        fn: Callable[..., Any] | str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        options: Options | None = None,
    ) -> None:
        """Raise what a later `launch` would raise of these arguments; nothing is written."""
        self._call(id, fn, args, kwargs, options)

    # Reading

    def get(self, id: str) -> Handle[Any]:
        """Return a handle of a run or promise. Raises: NotFound."""
        return Handle(self, self.record(id).id)

    async def aget(self, id: str) -> Handle[Any]:
        """Await `get`."""
        return self.get(id)

    def view(self, id: str) -> RunView | None:
        """Return a run with its children, the newest try of a failed one; None when there is none."""
        id = ids.normal(id)
        found = self._look(id)
        if found is not None and starting.failed(found.promise):
            current = starting.newest(id, found.promise, self._find, ids.newer_id).id
            found = found if current == found.promise.id else self._look(current)
        return None if found is None else replace(found, id=id)

    def runs(self, *, after: str | None = None, limit: int = 100, state: PromiseState | None = None) -> list[Promise]:
        """List started runs by id, of one state or of all."""
        request = PromiseSearch(tags={starting.ROOT: "true"}, state=state, cursor=after, limit=limit)
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

    # Keeping

    def prune(self, older_than: float | timedelta, *, dry_run: bool = False, limit: int = 10_000) -> Pruned:
        """Delete at most `limit` runs and promises that ended this long ago (seconds), with all that belongs to them.

        What something pending still waits for stays. A deleted id is unknown: it can run again. No engine is started.
        Raises: CallerError for an age below the lease, when somebody may still be writing; WrongCall, StoreUnavailable.
        """
        refuse_blocking("prune()", "await asyncio.to_thread(resonate.prune, ...)", waits=False)
        now, age = self.now(), to_ms(older_than)
        if age < self.settings.lease_ms:
            raise CallerError(
                f"prune() keeps what ended within the last {self.settings.lease_ms} ms (RESONATE_LEASE_MS)"
            )
        return prune(self.runtime.store, now=now, before=now - age, limit=limit, dry_run=dry_run)

    # Inside

    def _proceeding(self, id: str) -> Flow[None]:
        batch = yield Read(lambda: self.continuation(id))
        yield Commit(lambda lead: self.submit(batch, partial(proceeding.check, id), lead=lead))

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

    def _begin(self, call: starting.Call, id: str, lead: bool) -> Future[Launch]:
        self._use()
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
        if call.options.on_failed != "new":
            return None
        starting.join(call, launched.id, launched.promise)
        last = starting.newest(launched.id, launched.promise, self._find, ids.newer_id)
        return ids.newer_id(last.id) if starting.failed(last) else None

    def _joined(self, call: starting.Call, launched: Launch) -> Launch:
        starting.join(call, launched.id, launched.promise)
        last = starting.newest(launched.id, launched.promise, self._find, ids.newer_id)
        return Launch(id=last.id, promise=last, created=False)

    def retrial(self, id: str) -> tuple[str, list[Request]]:
        """Return the id of the next try of a failed run, and the group that starts it. Raises: as `retry`."""
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
        found = view(id, root, task[0] if task else None, children)
        votes = votes_so_far(self.runtime.server.read, found)
        return replace(found, votes=votes) if votes else found
