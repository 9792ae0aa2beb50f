"""Waiting for runs: in threads, on event loops, and where it would stop everything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resonate_web.errors import NotFound, Stopped, WrongCall
from resonate_web.resonate import Resonate
from resonate_web.workflow.context import Context, StepContext
from resonate_web.workflow.retry import Never

Make = Callable[..., Resonate]


def add(a: int, b: int = 1) -> int:
    return a + b


def workflow(ctx: Context, n: int) -> Any:
    return (yield ctx.run(add, n))


def waiting(ctx: Context) -> Any:
    return (yield (yield ctx.promise("p")))


def _client(make: Make, *fns: Callable[..., Any], **settings: Any) -> Resonate:
    client = make(**settings)
    known: tuple[Callable[..., Any], ...] = (workflow, waiting, *fns)
    for fn in known:
        client.register(fn)
    return client


def test_every_twin_is_awaited(threaded: Make) -> None:
    """On an event loop the `a` twins do what their namesakes do, and a handle is awaited."""
    client = _client(threaded)

    async def main() -> None:
        assert await client.arun("a", workflow, 1) == 2
        assert await client.arpc("b", workflow, 2) == 3
        handle = await client.abegin_run("c", waiting)
        assert (await client.abegin_rpc("c", waiting)).id == "c"
        assert not handle.done()
        while not await _exists(client, "c:@p"):
            await asyncio.sleep(0.001)
        assert (await client.promises.aget("c:@p")).id == "c:@p"
        await client.promises.aresolve("c:@p", "x")
        assert await handle == "x"
        assert await (await client.aget("c")) == "x"
        launched = await client.alaunch("c", waiting)
        assert (launched.id, launched.created) == ("c", False)
        made = await client.promises.acreate("y", timeout=60)
        assert (await client.promises.areject("y", ValueError("no"))).id == made.id
        await client.promises.acreate("z")
        assert (await client.promises.acancel("z")).state == "rejected_canceled"
        with pytest.raises(ValueError, match="no"):
            await (await client.aget("y"))

    asyncio.run(main())


async def _exists(client: Resonate, id: str) -> bool:
    try:
        await client.aget(id)
    except NotFound:
        return False
    return True


def test_blocking_on_an_event_loop_names_the_right_call(threaded: Make) -> None:
    """Each blocking verb refuses to stop a running loop and says what to await instead; nothing is started."""
    client = _client(threaded)
    client.run("done", workflow, 1)

    async def main() -> None:
        calls: dict[str, Callable[[], Any]] = {
            "await arun": lambda: client.run("a", workflow, 1),
            "await abegin_run": lambda: client.begin_run("a", workflow, 1),
            "await aretry": lambda: client.retry("done"),
            "await handle": lambda: client.get("done").result(),
            "await promises.acreate": lambda: client.promises.create("p"),
            "await promises.aresolve": lambda: client.promises.resolve("p"),
            "await promises.areject": lambda: client.promises.reject("p", "x"),
            "await promises.acancel": lambda: client.promises.cancel("p"),
        }
        for right, call in calls.items():
            with pytest.raises(WrongCall, match=right.replace(".", r"\.")):
                call()

    asyncio.run(main())
    assert [p.id for p in client.runs()] == ["done"]


def test_blocking_inside_a_step_or_a_workflow_names_the_right_call(threaded: Make) -> None:
    """A step that waited for a run would hold the thread that the run may need; a workflow must not either."""
    said: list[str] = []
    clients: list[Resonate] = []

    def impatient() -> None:
        try:
            clients[0].run("inner", workflow, 1)
        except WrongCall as error:
            said.append(str(error))
            raise

    def impatient_handle() -> Any:
        return clients[0].get("outer").result()

    def outer(ctx: Context) -> Any:
        for step in (impatient, impatient_handle):
            try:
                yield ctx.options(retry=Never()).run(step)
            except Exception as error:
                said.append(type(error).__name__)
        try:
            clients[0].get("outer").result()
        except WrongCall as error:
            said.append(str(error))

    client = _client(threaded, outer)
    clients.append(client)
    client.codec.register_error(WrongCall)
    client.run("outer", outer)
    assert said[1:3] == ["WrongCall", "WrongCall"]
    assert "ctx.rpc" in said[0]
    assert "outer" in said[3]
    assert [p.id for p in client.runs()] == ["outer"]


def test_a_waiter_that_leaves_costs_nobody_else_an_answer(threaded: Make) -> None:
    """Awaits that are cancelled, as a client that hangs up does, leave every other start and wait intact."""
    client = _client(threaded)

    async def main() -> None:
        for round in range(20):
            tasks = [asyncio.create_task(client.arun(f"{round}/{n}", workflow, n)) for n in range(6)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
            assert found[1::2] == [2, 4, 6]
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.arun("never", waiting), 0.01)

    asyncio.run(main())
    assert client.run("after", workflow, 1) == 2


def test_starting_and_closing_are_idempotent_from_any_thread(threaded: Make) -> None:
    """Many threads start at once: one engine; many close at once: one end, after which every call says so."""
    client = _client(threaded)
    barrier = threading.Barrier(8)
    errors: list[BaseException] = []
    runtimes: set[int] = set()

    def start() -> None:
        barrier.wait()
        try:
            client.ensure_started()
            runtimes.add(id(client.runtime))
        except BaseException as error:
            errors.append(error)

    def close() -> None:
        barrier.wait()
        try:
            client.close()
        except BaseException as error:
            errors.append(error)

    for target in (start, close):
        threads = [threading.Thread(target=target) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert errors == []
    assert len(runtimes) == 1
    for call in (client.ensure_started, lambda: client.run("a", workflow, 1), lambda: client.get("a")):
        with pytest.raises(Stopped):
            call()
    client.close()


def test_closing_and_starting_at_once_leaves_nothing_behind(threaded: Make) -> None:
    """A start that meets a close either wins or raises Stopped; no thread of a closed client goes on."""
    for _ in range(20):
        client = _client(threaded)
        threads = [threading.Thread(target=_quiet(client.ensure_started)), threading.Thread(target=client.close)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        client.close()
        with pytest.raises(Stopped):
            client.ensure_started()


def _quiet(call: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            call()
        except Stopped:
            pass

    return run


def test_closing_does_not_wait_for_steps_for_ever(threaded: Make) -> None:
    """A step that never ends is left to its daemon thread after the grace period, and told."""
    entered, told, release = threading.Event(), threading.Event(), threading.Event()

    def endless(ctx: StepContext) -> None:
        entered.set()
        release.wait(20)
        if ctx.cancelled:
            told.set()

    def workflow_endless(ctx: Context) -> Any:
        yield ctx.run(endless)

    client = _client(threaded, workflow_endless, grace_ms=50)
    client.begin_run("a", workflow_endless)
    assert entered.wait(10)
    client.close()
    release.set()
    assert told.wait(10)


def test_constructing_opens_nothing(threaded: Make) -> None:
    """A client that was never used has no thread and no file, and can be closed."""
    before = threading.active_count()
    client = threaded(store="sqlite:////nowhere/that/exists.db")
    client.register(workflow)
    client.options(timeout=1)
    client.close()
    assert threading.active_count() == before
