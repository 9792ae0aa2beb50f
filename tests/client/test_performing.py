"""Driving flows: the same flow on the calling thread and on an event loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from resonate_web.config import Settings
from resonate_web.flow import Call, Commit, Flow, Read, Seat, Stream, Until
from resonate_web.resonate import Resonate

Perform = Callable[[Flow[Any]], Any]


@pytest.fixture
def core() -> Iterator[Resonate]:
    made = Resonate(Settings(store="memory://", max_waits=1))
    yield made
    made.close()


@pytest.fixture(params=["thread", "loop"])
def perform(request: pytest.FixtureRequest, core: Resonate) -> Perform:
    if request.param == "thread":
        return core.on_thread.perform
    return lambda flow: asyncio.run(core.on_loop.perform(flow))


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def test_each_effect_is_answered(perform: Perform) -> None:
    """Reads and calls give what they return, commits their result, waits whether they are over."""

    def flow() -> Flow[list[Any]]:
        found = [(yield Read(lambda: 1)), (yield Call(lambda: 2)), (yield Commit(lambda lead: done(3)))]
        found += [(yield Until(done(None), 1000)), (yield Until(Future(), 1)), (yield Until(failed(ValueError()), 9))]
        return found

    assert perform(flow()) == [1, 2, 3, True, False, True]


@pytest.mark.parametrize("effect", [Read, Call])
def test_an_error_is_thrown_into_the_flow(perform: Perform, effect: Any) -> None:
    """It can be caught where it was asked for, and is raised by the driver if it is not."""

    def flow() -> Flow[str]:
        try:
            yield effect(lambda: 1 / 0)
        except ZeroDivisionError:
            yield Commit(lambda lead: failed(KeyError("lost")))
        return "never"

    with pytest.raises(KeyError, match="lost"):
        perform(flow())


def test_a_commit_leads_on_a_thread_only(core: Resonate) -> None:
    """The calling thread may commit, an event loop never does."""

    def flow() -> Flow[bool]:
        return (yield Commit(lambda lead: done(lead)))  # type: ignore[no-any-return]

    assert core.on_thread.perform(flow()) is True
    assert asyncio.run(core.on_loop.perform(flow())) is False


def test_reads_leave_the_loop_alone(core: Resonate) -> None:
    """What may block runs on threads of ours."""

    def flow() -> Flow[str]:
        return (yield Read(lambda: threading.current_thread().name))  # type: ignore[no-any-return]

    assert asyncio.run(core.on_loop.perform(flow())).startswith("resonate-read")


def test_places_to_wait_are_given_back(core: Resonate) -> None:
    """On threads there are few: who has none is told so, and a flow that ends frees its own; asking twice is one."""

    def flow(inner: Callable[[], Any] = bool) -> Flow[list[Any]]:
        return [(yield Seat()), (yield Seat()), (yield Call(inner))]

    assert core.on_thread.perform(flow(lambda: core.on_thread.perform(flow()))) == [True, True, [False, False, False]]
    assert core.on_thread.perform(flow())[0] is True
    assert asyncio.run(core.on_loop.perform(flow()))[:2] == [True, True]


def counting(ended: list[str]) -> Stream:
    try:
        yield b"1"
        yield (yield Read(lambda: b"2"))
        yield Until(Future(), 60_000)
        yield b"never"
    finally:
        ended.append("ended")


def test_a_closed_stream_ends_its_flow(core: Resonate) -> None:
    """A client that goes away in the middle leaves nothing running, on a thread and on a loop."""
    ended: list[str] = []
    chunks = core.on_thread.chunks(counting(ended))
    assert [next(chunks), next(chunks)] == [b"1", b"2"]
    chunks.close()  # type: ignore[attr-defined]

    async def watch() -> None:
        achunks = core.on_loop.chunks(counting(ended))
        assert [await anext(achunks), await anext(achunks)] == [b"1", b"2"]
        task = asyncio.ensure_future(anext(achunks))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(watch())
    assert ended == ["ended", "ended"]


def test_a_future_that_nobody_waited_long_enough_for_stays_open(core: Resonate) -> None:
    """The end of a wait does not cancel what was waited for: the flow may wait for it again."""
    future: Future[str] = Future()

    def flow() -> Flow[list[bool]]:
        first = yield Until(future, 1)
        future.set_result("late")
        return [first, (yield Until(future, 1))]

    assert asyncio.run(core.on_loop.perform(flow())) == [False, True]


def test_on_a_loop_nobody_waits_for_a_server_that_ends(core: Resonate) -> None:
    """Under any ASGI framework: uvicorn tells it nobody but the handler of its signal."""

    class Server:
        should_exit = True

        def handle(self, *_: object) -> None:
            """Stand where uvicorn's own handler stands."""

    def flow() -> Flow[bool]:
        return bool((yield Until(Future(), 3_600_000)))

    before = signal.signal(signal.SIGTERM, Server().handle)
    try:
        assert asyncio.run(core.on_loop.perform(flow())) is False
    finally:
        signal.signal(signal.SIGTERM, before)


def test_on_a_thread_nobody_waits_for_a_server_that_ends(core: Resonate) -> None:
    """A wait that would be long is cut when the server wants its thread back."""
    looks = iter([False, True])
    core.on_thread.stopping = lambda: next(looks)

    def flow() -> Flow[bool]:
        return (yield Until(Future(), 3_600_000))  # type: ignore[no-any-return]

    assert core.on_thread.perform(flow()) is False
    assert list(looks) == []
