"""Threads belong to bodies that are executing: what waits has none."""

import asyncio
import threading

import pytest

from resonate_web.resonate.performing import READERS

THREADS = 8
OVERHEAD = 4 + READERS
"""Committer, pump and heartbeat, one for a loop of async steps, and the few that look at the store for event loops."""
SLEEPERS = 10_000
WIDTH = 1_000


@pytest.mark.slow
def test_sleeping_runs_hold_no_thread(counted):
    """10,000 runs that sleep need no more threads than the pool has, and a few."""

    def sleeper(ctx):
        yield ctx.sleep(3600)

    before = threading.active_count()
    client = counted(threads=THREADS, cache_size=SLEEPERS)
    client.resonate.register(sleeper)

    async def some(numbers):
        for i in numbers:
            await client.resonate.abegin_run(f"sleeper/{i}", sleeper)

    async def all_of_them():
        numbers = iter(range(SLEEPERS))
        await asyncio.gather(*(some(numbers) for _ in range(256)))

    client.await_runs(SLEEPERS, "suspended", lambda: asyncio.run(all_of_them()))
    # Pool threads and lanes live until the client is closed: now there are as many as ever.
    assert threading.active_count() - before <= THREADS + OVERHEAD


def test_a_fan_out_shares_the_pool(counted):
    """1,000 steps that are started at once take turns on the threads of the pool."""
    before, most = threading.active_count(), [0]

    def step(i):
        most[0] = max(most[0], threading.active_count())
        return i

    def wide(ctx):
        return sum((yield ctx.all([ctx.run(step, i) for i in range(WIDTH)])))

    client = counted(threads=THREADS)
    client.resonate.register(wide)
    assert client.resonate.run("wide", wide) == WIDTH * (WIDTH - 1) // 2
    assert most[0] - before <= THREADS + OVERHEAD
