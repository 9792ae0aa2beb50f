"""Commits are shared as soon as several orders are in flight."""

import asyncio
import threading

import pytest

IN_FLIGHT = 32
ROWS_PER_COMMIT = 8


@pytest.mark.slow
def test_orders_in_flight_share_commits(counted, order):
    """On a disk that takes 20 ms for a commit, 32 orders in flight write at least 8 rows with each."""
    client = counted()
    client.resonate.register(order)
    client.resonate.run("warm", order, {"id": "o0"})
    client.file.forget()
    never = threading.Event()

    def slow_disk():
        never.wait(0.02)

    client.file.hold = slow_disk

    async def all_of_them():
        await asyncio.gather(*(client.resonate.arun(f"order/{i}", order, {"id": f"o{i}"}) for i in range(IN_FLIGHT)))

    asyncio.run(all_of_them())
    assert client.file.rows / client.file.commits >= ROWS_PER_COMMIT
