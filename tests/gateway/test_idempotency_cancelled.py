"""A request that is cancelled while its key is asked for: whoever has gone holds nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from resonate_web.flow import Commit
from resonate_web.gateway import idempotency
from resonate_web.gateway.idempotency import Claim, Rules
from resonate_web.gateway.messages import Headers, Request
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation

OPEN = Rules(allow_anonymous=True)


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    made = Simulation()
    yield made
    made.close()


def asked() -> Request:
    """Return a request with a key."""
    return Request(method="POST", path="/pay", headers=Headers([("Idempotency-Key", "k")]))


def begun(resonate: Resonate) -> tuple[Any, Future[Any]]:
    """Return the flow of a claim whose commit is on its way, and that commit."""
    flow = idempotency.claim(resonate, asked(), OPEN)
    wanted = next(flow)
    while not isinstance(wanted, Commit):
        wanted = flow.send(wanted.call())  # type: ignore[union-attr]
    return flow, wanted.begin(False)


@pytest.mark.parametrize("committed", [False, True])
def test_a_key_granted_to_a_cancelled_request_is_free(simulation: Simulation, committed: bool) -> None:
    """Whether its commit was on its way or already done; the next request runs the handler at once."""
    resonate = simulation.client("one")
    flow, commit = begun(resonate)
    if committed:
        simulation.run_until_idle()
    assert commit.done() is committed
    with pytest.raises(asyncio.CancelledError):
        flow.throw(asyncio.CancelledError())
    simulation.run_until_idle()
    assert isinstance(resonate.on_thread.perform(idempotency.claim(resonate, asked(), OPEN)), Claim)


def test_a_cancelled_wait_leaves_the_commit_alone(simulation: Simulation) -> None:
    """The driver does not cancel what is queued: the flow may still learn what came of it."""
    resonate = simulation.client("one")
    commit: Future[str] = Future()

    def flow() -> Any:
        yield Commit(lambda lead: commit)

    async def cancelled() -> None:
        task = asyncio.ensure_future(resonate.on_loop.perform(flow()))
        while not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=0)
        assert task.cancelled()

    asyncio.run(cancelled())
    assert commit.set_running_or_notify_cancel()
