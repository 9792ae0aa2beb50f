"""The engine on real threads: the same words, many at once, on one SQLite file."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resonate_web.clock import SystemClock
from resonate_web.config import PREFIX
from resonate_web.engine.threads import ThreadTurns
from resonate_web.resonate import Resonate
from resonate_web.testing.servers import until
from resonate_web.testing.simulation import settings_for_tests
from resonate_web.workflow.context import Context, StepContext
from resonate_web.workflow.retry import Constant, Never

Make = Callable[..., Resonate]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a maker of clients with threads over one SQLite file."""
    made: list[Resonate] = []

    def client(*fns: Callable[..., Any], **settings: Any) -> Resonate:
        url = f"sqlite:///{tmp_path}/t.db"
        options = {"store": url, "sqlite_synchronous": "NORMAL", "poll_ms": 20, "grace_ms": 2000, **settings}
        made.append(Resonate(settings_for_tests(**options)))
        for fn in fns:
            made[-1].register(fn)
        return made[-1]

    yield client
    for one in made:
        one.close()


def double(n: int) -> int:
    return n * 2


def child(ctx: Context, n: int) -> Any:
    return (yield ctx.run(double, n))


def fan_out_steps(ctx: Context, n: int) -> Any:
    futures = []
    for i in range(n):
        futures.append((yield ctx.begin_run(double, i)))
    return sum((yield ctx.all(futures)))


def fan_out_runs(ctx: Context, n: int) -> Any:
    futures = []
    for i in range(n):
        futures.append((yield ctx.begin_rpc(child, i)))
    return sum((yield ctx.all(futures)))


def test_a_thousand_steps_and_a_thousand_children(make: Make) -> None:
    """Fan-out over 16 threads joins with the right sum; commits are groups, threads are bounded."""
    client = make(fan_out_steps, fan_out_runs, child)
    before = threading.active_count()
    steps, runs = client.begin_run("steps", fan_out_steps, 1000), client.begin_run("runs", fan_out_runs, 1000)
    assert steps.result(60) == runs.result(60) == 999_000
    assert client.runtime.server.commits < 3000
    assert threading.active_count() - before <= client.settings.threads + 4


def test_many_small_runs_at_once(make: Make) -> None:
    """Runs started by many threads at the same time all end, each with its own value."""
    client = make(child)
    results: dict[int, int] = {}

    def start(first: int) -> None:
        for n in range(first, first + 25):
            results[n] = client.run(f"r/{n}", child, n)

    threads = [threading.Thread(target=start, args=(first,)) for first in range(0, 200, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {n: 2 * n for n in range(200)}


def test_async_steps_run_on_a_loop(make: Make) -> None:
    """An unregistered `async def` is a step: it runs on the engine's loop, is retried, and blocks no thread."""
    seen: list[Any] = []

    async def fetch(ctx: StepContext, n: int) -> int:
        seen.append(asyncio.get_running_loop())
        await asyncio.sleep(0.005)
        if n == 7 and ctx.attempt == 1:
            raise OSError("once")
        return n

    async def gather(ctx: Context) -> Any:
        futures = [await ctx.options(retry=Constant(0.001)).begin_run(fetch, n) for n in range(50)]
        return sum(await ctx.all(futures))

    client = make(gather, threads=2)
    assert client.run("r", gather) == sum(range(50))
    assert len({id(loop) for loop in seen}) == 1
    assert len(seen) == 51


def test_async_steps_prefer_the_apps_loop(make: Make) -> None:
    """A running loop that the app has lent is used; when it is closed, the engine's own takes over."""
    seen: list[Any] = []

    async def fetch() -> None:
        seen.append(asyncio.get_running_loop())

    def workflow(ctx: Context) -> Any:
        yield ctx.run(fetch)

    client = make(workflow)

    async def main() -> Any:
        client.runtime.loops.adopt(asyncio.get_running_loop())
        await client.arun("a", workflow)
        return asyncio.get_running_loop()

    app = asyncio.run(main())
    client.run("b", workflow)
    assert seen[0] is app
    assert seen[1] is not app


def test_step_contexts(make: Make) -> None:
    """A step's world is opened around each attempt, and a step knows its key and attempt."""
    entered: list[str] = []

    class Around:
        def __enter__(self) -> None:
            entered.append("in")

        def __exit__(self, *exc: object) -> None:
            entered.append("out")

    def flaky(ctx: StepContext) -> str:
        assert entered[-1] == "in"
        if ctx.attempt == 1:
            raise OSError("once")
        return ctx.key

    async def late(ctx: StepContext) -> str:
        assert entered[-1] == "in"
        return ctx.key

    def workflow(ctx: Context) -> Any:
        fast = ctx.options(retry=Constant(0.001))
        return [(yield fast.run(flaky)), (yield fast.run(late))]

    client = make(workflow)
    client._around_step = Around
    assert client.run("r", workflow) == ["r/flaky/1", "r/late/1"]
    assert entered == ["in", "out"] * 3


def test_a_world_that_cannot_be_opened_is_the_steps_failure(make: Make) -> None:
    """An app context that raises fails the attempt, not the engine."""

    def broken() -> Any:
        raise RuntimeError("no app")

    def workflow(ctx: Context) -> Any:
        try:
            yield ctx.options(retry=Never()).run(double, 1)
        except RuntimeError as error:
            return str(error)

    client = make(workflow)
    client._around_step = broken
    assert client.run("r", workflow) == "no app"


def test_a_step_that_runs_long_is_visible(make: Make) -> None:
    """After `announce_ms` a running step has its pending row; a fast one is written once, at its end."""
    release, entered = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        release.wait(20)

    def workflow(ctx: Context) -> Any:
        yield ctx.run(slow)

    client = make(workflow, announce_ms=20)
    handle = client.begin_run("r", workflow)
    assert entered.wait(10)
    steps: tuple[Any, ...] = ()
    deadline = threading.Event()
    for _ in range(500):
        view = client.view("r")
        assert view is not None
        steps = view.steps
        if steps:
            break
        deadline.wait(0.01)
    assert [(s.name, s.state) for s in steps] == [("slow", "pending")]
    release.set()
    handle.result(20)


OTHER = textwrap.dedent(
    """
    import sys
    from resonate_web.resonate import Resonate
    from resonate_web.testing.simulation import settings_for_tests

    def double(n): return n * 2

    def child(ctx, n):
        return (yield ctx.run(double, n))

    client = Resonate(settings_for_tests(store=sys.argv[1], poll_ms=20))
    client.register(child)
    client.ensure_started()
    print("up", flush=True)
    sys.stdin.readline()
    assert client.run("from/other", child, 5) == 10
    assert client.get("from/one").result(20) == 4
    client.close()
    """
)


def test_handles_across_processes(make: Make, tmp_path: Path) -> None:
    """Two processes on one file start, join and await each other's runs."""
    client = make(child)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) or k == f"{PREFIX}CACHE_SIZE"}
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, client.settings.store],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ,
    )  # fmt: skip
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
        handles = [client.begin_run(f"shared/{n}", child, n) for n in range(20)]
        assert client.run("from/one", child, 2) == 4
        assert [handle.result(20) for handle in handles] == [2 * n for n in range(20)]
        _, said = other.communicate("go\n", timeout=40)
        assert other.returncode == 0, said
    assert client.get("from/other").result(20) == 10


# The turns themselves


def test_lanes_keep_their_order_and_alarms_their_time() -> None:
    """A lane runs one thing after the other; alarms ring at their instant unless canceled; a fault ends nothing."""
    turns = ThreadTurns(SystemClock(), threads=2)
    done = threading.Event()
    log: list[str] = []
    lane = turns.lane("pump")
    assert turns.lane("pump") is lane
    now = SystemClock().now()
    lane.at(now + 30, lambda: log.append("second alarm"))
    lane.at(now + 10, lambda: log.append("first alarm"))
    lane.at(now + 20, lambda: log.append("canceled")).cancel()
    lane.at(now + 40, done.set)

    def broken() -> None:
        raise SystemExit

    lane.soon(broken)
    lane.soon(lambda: log.append("soon"))
    assert done.wait(10)
    assert log == ["soon", "first alarm", "second alarm"]
    turns.close(100)


def test_the_pool_survives_exits() -> None:
    """Work that raises anything at all leaves its thread to the next work."""
    turns = ThreadTurns(SystemClock(), threads=1)

    def leave() -> None:
        raise SystemExit

    turns.spawn(leave)
    done = threading.Event()
    turns.spawn(done.set)
    assert done.wait(10)
    turns.close(100)


def test_a_closed_lane_still_runs_what_was_queued() -> None:
    """A commit that was handed to the lane just before its end is made: whoever waits for it would wait for ever."""
    turns = ThreadTurns(SystemClock(), threads=1)
    lane = turns.lane("committer")
    busy, closing, done = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        busy.set()
        assert closing.wait(10)

    lane.soon(first)
    assert busy.wait(10)
    lane.soon(done.set)
    closer = threading.Thread(target=lane.close)
    closer.start()
    until(lambda: lane._closed)
    closing.set()
    closer.join(10)
    assert done.wait(10)


def test_a_closed_lane_runs_what_it_is_given_at_once() -> None:
    """Whoever commits last during a shutdown does it in its own thread; nobody waits for a lane that has ended."""
    turns = ThreadTurns(SystemClock(), threads=1)
    lane = turns.lane("committer")
    lane.soon(lambda: None)
    turns.close(100)
    log: list[str] = []
    lane.soon(lambda: log.append(threading.current_thread().name))
    assert log == [threading.current_thread().name]
    turns.spawn(lambda: log.append("never"))
    assert len(log) == 1


def test_closing_waits_once_for_all() -> None:
    """The grace period is the process's, not each thread's."""
    turns = ThreadTurns(SystemClock(), threads=4)
    release = threading.Event()
    for _ in range(4):
        turns.spawn(lambda: release.wait(20) and None)  # type: ignore[arg-type]
    before = SystemClock().elapsed()
    turns.close(200)
    assert SystemClock().elapsed() - before < 2000
    release.set()
