"""The event loops of async steps: the app's, which may end at any time, and the engine's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

from resonate_web import Context, Resonate, Settings
from resonate_web.engine.loops import Loops
from resonate_web.testing.servers import until

WAIT_S = 10


@pytest.fixture
def loops() -> Iterator[Loops]:
    made = Loops()
    yield made
    made.close()


async def here() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_without_an_app_bodies_share_the_engines_loop(loops: Loops) -> None:
    """It runs in a thread of its own, started by the first."""
    first, second = loops.run(here), loops.run(here)
    assert first.result(WAIT_S) is second.result(WAIT_S)


def test_a_loop_may_be_adopted_from_any_thread(loops: Loops) -> None:
    """Whoever opens the client may not be on it."""

    async def app() -> Any:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(loops.adopt, loop)
        return await asyncio.wrap_future(loops.run(here)) is loop

    assert asyncio.run(app())


def test_a_body_whose_loop_ends_begins_anew(loops: Loops) -> None:
    """On the engine's own loop, with one outcome."""
    begun: list[asyncio.AbstractEventLoop] = []
    gate = threading.Event()

    async def body() -> str:
        begun.append(asyncio.get_running_loop())
        while not gate.is_set():
            await asyncio.sleep(0.001)
        return "done"

    async def app() -> Future[Any]:
        loops.adopt(asyncio.get_running_loop())
        future = loops.run(body)
        while not begun:
            await asyncio.sleep(0)
        return future

    future = asyncio.run(app())
    until(lambda: len(begun) == 2)
    gate.set()
    assert future.result(WAIT_S) == "done"
    assert begun[0] is not begun[1]


def test_no_body_is_forgotten_by_loops_that_end(loops: Loops) -> None:
    """Handed over before, while and after, each comes to its end."""
    futures: list[Future[Any]] = []
    stop = threading.Event()

    def hand_over() -> None:
        while not stop.is_set():
            futures.append(loops.run(here))
            stop.wait(0.0001)

    async def app() -> None:
        loops.adopt(asyncio.get_running_loop())
        await asyncio.sleep(0.001)

    thread = threading.Thread(target=hand_over)
    thread.start()
    for _ in range(50):
        asyncio.run(app())
    stop.set()
    thread.join()
    assert len({id(future.result(WAIT_S)) for future in futures}) > 1


def test_a_body_that_cancels_itself_has_failed(loops: Loops) -> None:
    """It is not the end of its loop, so it does not begin anew."""
    begun: list[int] = []

    async def body() -> None:
        begun.append(1)
        raise asyncio.CancelledError

    async def app() -> None:
        loops.adopt(asyncio.get_running_loop())
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wrap_future(loops.run(body))

    asyncio.run(app())
    with pytest.raises(asyncio.CancelledError):
        loops.run(body).result(WAIT_S)
    assert len(begun) == 2


def test_after_the_end_nothing_begins(loops: Loops) -> None:
    """What was running is cancelled, and whoever hands over a body is told at once."""

    async def body() -> None:
        await asyncio.Event().wait()

    running = loops.run(body)
    loops.close()
    for future in (running, loops.run(body)):
        with pytest.raises(CancelledError):
            future.result(WAIT_S)


@pytest.mark.parametrize("own", [True, False])
def test_a_shutdown_waits_for_async_steps(tmp_path: Path, own: bool) -> None:
    """Within the grace period, on whichever loop: what such a step returns is stored, and it never runs again."""
    begun: list[int] = []
    gate = threading.Event()

    async def fetch() -> str:
        begun.append(1)
        while not gate.is_set():
            await asyncio.sleep(0.001)
        return "fetched"

    def fetches(ctx: Context) -> Any:
        return (yield ctx.run(fetch))

    def made() -> Resonate:
        client = Resonate(Settings(store=f"sqlite:///{tmp_path / 'resonate.db'}", grace_ms=WAIT_S * 1000))
        client.register(fetches)
        return client

    async def app(client: Resonate) -> None:
        if not own:
            client.adopt(asyncio.get_running_loop())
        await client.abegin_run("a", fetches)
        while not begun:
            await asyncio.sleep(0.001)
        engine = client.runtime.engine
        assert engine is not None
        closing = asyncio.create_task(asyncio.to_thread(client.close))
        while not engine.stopping:
            await asyncio.sleep(0.001)
        gate.set()
        await closing

    asyncio.run(app(made()))
    after = made()
    assert after.run("a", fetches) == "fetched"
    assert begun == [1]
    after.close()
