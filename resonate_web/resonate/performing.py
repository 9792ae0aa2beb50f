"""Driving flows: on the calling thread, or on an event loop, which is never held up."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from resonate_web.flow import Call, Commit, Effect, Flow, Read, Seat, Stream, Until

T = TypeVar("T")

READERS = 4
"""Threads in which an event loop's flows look at the store."""

LOOK_MS = 500
"""How often somebody who waits looks whether the server wants to end."""

_END = object()


class Waiting(Protocol):
    """What driving a flow needs of the client."""

    @property
    def ready(self) -> bool:
        """Tell whether using the client opens nothing any more."""
        ...

    def wait(self, future: Future[T], timeout_ms: int | None) -> T:
        """Wait for a future in the way that this process waits."""
        ...


class OnThread:
    """Drives flows on the thread that calls; `seats` of them may wait for long at once."""

    def __init__(self, client: Waiting, seats: int) -> None:
        self.seats = seats
        self.stopping: Callable[[], bool] = _never
        """Tells that the server was asked to end: nobody is kept waiting any more."""
        self._client = client
        self._taken = 0
        self._lock = threading.Lock()

    def perform(self, flow: Flow[T]) -> T:
        """Return what a flow returns. Raises: what it raises."""
        drive = _Drive(flow)
        for _ in self._driven(drive):
            raise TypeError("a flow yields no bytes, a stream does")
        return drive.value  # type: ignore[no-any-return]

    def chunks(self, stream: Stream) -> Iterator[bytes]:
        """Return the chunks of a stream; closing the iterator ends the stream."""
        return self._driven(_Drive(stream))

    def _driven(self, drive: _Drive) -> Iterator[bytes]:
        seated = False
        try:
            while (wanted := drive.advance()) is not _END:
                if isinstance(wanted, bytes):
                    yield wanted
                    continue
                try:
                    if isinstance(wanted, Seat):
                        seated = drive.answer = seated or self._take()
                    else:
                        drive.answer = self._carried_out(wanted)
                except BaseException as error:
                    drive.error = error
        finally:
            if seated:
                self._give_back()
            drive.close()

    def _take(self) -> bool:
        with self._lock:
            if self._taken >= self.seats:
                return False
            self._taken += 1
            return True

    def _give_back(self) -> None:
        with self._lock:
            self._taken -= 1

    def _carried_out(self, wanted: Any) -> Any:
        match wanted:
            case Read(call) | Call(call):
                return call()
            case Commit(begin):
                return self._client.wait(begin(True), None)
            case Until(future, ms):
                return self._waited(future, ms)
        raise TypeError(f"a flow yielded {wanted!r}")

    def _waited(self, future: Future[Any], ms: int) -> bool:
        left = max(ms, 0)
        while True:
            part = min(left, LOOK_MS)
            try:
                self._client.wait(future, part)
            except TimeoutError:
                left -= part
                if future.done() or left <= 0 or self.stopping():
                    return future.done()
            except Exception:
                return True
            else:
                return True


class OnLoop:
    """Drives flows on an event loop. `call` runs the application's own code, by default in place."""

    def __init__(self, client: Waiting, call: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None) -> None:
        self.stopping: Callable[[], bool] = stopping
        """Tells that the server was asked to end: nobody is kept waiting any more."""
        self._client = client
        self._call = call
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    async def perform(self, flow: Flow[T]) -> T:
        """Return what a flow returns. Raises: what it raises."""
        drive = _Drive(flow)
        try:
            while (wanted := drive.advance()) is not _END:
                await self._answered(drive, wanted)
        finally:
            drive.close()
        return drive.value  # type: ignore[no-any-return]

    async def chunks(self, stream: Stream) -> AsyncIterator[bytes]:
        """Iterate over the chunks of a stream; closing the iterator ends the stream."""
        drive = _Drive(stream)
        try:
            while (wanted := drive.advance()) is not _END:
                if isinstance(wanted, bytes):
                    yield wanted
                else:
                    await self._answered(drive, wanted)
        finally:
            drive.close()

    async def read(self, call: Callable[[], T]) -> T:
        """Run something short that may block, beside the loop and beside the framework's own threads."""
        return await asyncio.get_running_loop().run_in_executor(self._readers(), call)

    def close(self) -> None:
        """Let the readers go; a later read starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._process == os.getpid():
            pool.shutdown(wait=False)

    async def _answered(self, drive: _Drive, wanted: Any) -> None:
        try:
            drive.answer = await self._carried_out(wanted)
        except BaseException as error:
            drive.error = error

    async def _carried_out(self, wanted: Any) -> Any:
        match wanted:
            case Read(call):
                return await self.read(call)
            case Call(call):
                return call() if self._call is None else await self._call(call)
            case Commit(begin):
                begun = begin(False) if self._client.ready else await self.read(lambda: begin(False))
                # Shielded: what is queued is committed, so a flow that is cancelled may yet learn what came of it.
                return await asyncio.shield(asyncio.wrap_future(begun))
            case Until(future, ms):
                return await self._waited(future, ms)
            case Seat():
                return True
        raise TypeError(f"a flow yielded {wanted!r}")

    async def _waited(self, future: Future[Any], ms: int) -> bool:
        # Not `wait_for`: when the time is over it would cancel a future that the flow may wait for again.
        waiter = asyncio.get_running_loop().create_future()
        told = _Told(waiter)
        future.add_done_callback(told)
        deadline = waiter.get_loop().time() + ms / 1000
        try:
            while not self.stopping() and (left := deadline - waiter.get_loop().time()) > 0 and not future.done():
                await asyncio.wait((waiter,), timeout=min(left, LOOK_MS / 1000))
        finally:
            told.forget()
        return future.done()

    def _readers(self) -> ThreadPoolExecutor:
        if self._pool is None or self._process != os.getpid():
            self._process = os.getpid()
            self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="resonate-read")
        return self._pool


class _Told:
    """Tells an event loop, from whichever thread, that a future is done."""

    __slots__ = ("_loop", "_waiter")

    def __init__(self, waiter: asyncio.Future[None]) -> None:
        self._waiter: asyncio.Future[None] | None = waiter
        self._loop = waiter.get_loop()

    def __call__(self, _: Future[Any]) -> None:
        waiter = self._waiter
        if waiter is not None:
            try:
                self._loop.call_soon_threadsafe(_set, waiter)
            except RuntimeError:  # the loop was closed meanwhile
                pass

    def forget(self) -> None:
        self._waiter = None


def _never() -> bool:
    return False


def stopping() -> bool:
    """Tell whether the server was asked to end.

    Servers tell an app only after its last answer, for which an open stream would make them wait. uvicorn's server
    handles the signal itself, and says so in an attribute.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class _Drive:
    """One flow on its way: the answer or error that it gets next, and at the end its value."""

    __slots__ = ("_flow", "answer", "error", "value")

    def __init__(self, flow: Generator[Effect | bytes, Any, Any] | Flow[Any]) -> None:
        self._flow = flow
        self.answer: Any = None
        self.error: BaseException | None = None
        self.value: Any = None

    def advance(self) -> object:
        """Run to the next thing that the flow wants; `_END` when it has returned."""
        answer, self.answer = self.answer, None
        error, self.error = self.error, None
        try:
            return self._flow.send(answer) if error is None else self._flow.throw(error)
        except StopIteration as stop:
            self.value = stop.value
            return _END

    def close(self) -> None:
        self._flow.close()
