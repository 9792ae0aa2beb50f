"""`Resonate.changes`: a future of the next thing that is recorded of a run."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from resonate_web.errors import NotFound, Stopped, WrongCall
from resonate_web.resonate import Resonate
from resonate_web.testing.servers import until
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.context import Context

Make = Callable[..., Resonate]
WAIT_S = 20


def add(n: int) -> int:
    return n + 1


def gated(ctx: Context, n: int) -> Any:
    yield ctx.run(add, n)
    return (yield (yield ctx.promise("gate")))


def client_of(make: Make, **settings: Any) -> Resonate:
    client = make(**settings)
    client.register(gated)
    return client


def seen_by(client: Resonate, id: str, ended: Callable[[Any], bool]) -> list[tuple[str, int]]:
    """Follow a run as a status stream does, until what was read is the end; return what was seen."""
    found: list[tuple[str, int]] = []
    while True:
        news = client.changes(id)
        run = client.view(id)
        if run is not None:
            found.append((run.status, len(run.steps)))
            if ended(run):
                news.cancel()
                return found
        news.result(WAIT_S)


def test_a_run_is_followed_from_before_its_start_to_its_end(threaded: Make) -> None:
    """Every state that stays is seen: the wait for the gate, and the end."""
    client = client_of(threaded)
    first = client.changes("a")
    handle = client.begin_run("a", gated, 1)
    first.result(WAIT_S)
    assert seen_by(client, "a", lambda run: run.status == "waiting")[-1] == ("waiting", 2)
    client.promises.resolve("a:@gate", "open")
    assert seen_by(client, "a", lambda run: run.done)[-1] == ("succeeded", 2)
    assert handle.result(WAIT_S) == "open"
    assert not client.runtime.server.followers


def test_another_process_on_the_file_is_followed(threaded: Make, tmp_path: Path) -> None:
    """A client that executes nothing sees what the other one records; no change is missed."""
    store = f"sqlite:///{tmp_path}/shared.db"
    working, looking = client_of(threaded, store=store), client_of(threaded, store=store, worker=False)
    looking.ensure_started()
    working.begin_run("a", gated, 1)
    seen_by(looking, "a", lambda run: run.status == "waiting")
    working.promises.resolve("a:@gate", "open")
    assert seen_by(looking, "a", lambda run: run.done)[-1] == ("succeeded", 2)


def test_on_an_event_loop_it_is_awaited(threaded: Make) -> None:
    """A wrapped future ends with the change; a cancelled one leaves nothing behind."""
    client = client_of(threaded)
    client.ensure_started()

    async def main() -> None:
        news = asyncio.wrap_future(client.changes("a"))
        waiting = asyncio.ensure_future(asyncio.wait_for(asyncio.wrap_future(client.changes("b")), WAIT_S))
        await asyncio.sleep(0)
        waiting.cancel()
        await client.abegin_run("a", gated, 1)
        await asyncio.wait_for(news, WAIT_S)

    asyncio.run(main())
    until(lambda: not client.runtime.server.followers, what="leaving")


def test_whoever_leaves_is_forgotten(threaded: Make) -> None:
    """Cancelled or done, a future is kept by nobody, without the garbage collector."""
    client = client_of(threaded)
    futures: list[Future[None]] = [client.changes(id) for id in ("a", "a", "a:1", "b")]
    kept = weakref.WeakSet(futures)
    for future in futures[:3]:
        assert future.cancel()
    client.promises.create("b")
    futures[3].result(WAIT_S)
    gc.disable()
    try:
        futures.clear()
        del future
        until(lambda: not kept, what="the end of the futures")
    finally:
        gc.enable()
    assert client.runtime.server.followers.runs() == []


def test_close_ends_whoever_waits(threaded: Make) -> None:
    """Nobody waits for a client that is gone."""
    client = client_of(threaded)
    news = client.changes("a")
    client.close()
    with pytest.raises(Stopped):
        news.result(WAIT_S)


def test_without_a_pump_it_is_refused(threaded: Make) -> None:
    """With autostart off, what others record would never be noticed."""
    client = client_of(threaded, autostart="off")
    with pytest.raises(WrongCall, match="ensure_started"):
        client.changes("a")
    assert not client.runtime.server.followers


def test_ids_are_followed_in_the_form_in_which_they_are_stored(simulation: Simulation) -> None:
    """Letters typed in another way are the same letters; a later try is news of the first."""
    client = simulation.client()

    def failing(ctx: Context) -> Any:
        raise ValueError("no")
        yield

    client.register(failing)
    news = client.changes("cafe\u0301")
    client.begin_run("caf\u00e9", failing)
    simulation.run_until_idle()
    assert news.done()
    news = client.changes("caf\u00e9")
    client.retry("caf\u00e9")
    assert news.done()
    with pytest.raises(NotFound):
        client.get("cafe")
