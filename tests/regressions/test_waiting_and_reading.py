"""What clients read and wait for."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from resonate_web.errors import Stopped, WrongCall
from resonate_web.protocol import tags
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Value
from resonate_web.resonate import Resonate
from resonate_web.resonate.view import view
from resonate_web.testing.simulation import Simulation, settings_for_tests
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.context import Context
from resonate_web.workflow.recorded import ATTEMPT
from resonate_web.workflow.retry import Never


class Money:
    """A type that a process may know how to store, or not."""

    def __init__(self, amount: Decimal) -> None:
        self.amount = amount


@pytest.fixture
def client() -> Iterator[Resonate]:
    """Return a client with threads over a store in memory, and a workflow `wait` that waits for a promise."""
    made = Resonate(settings_for_tests())
    made.register(wait)
    yield made
    made.close()


def wait(ctx: Context) -> Any:
    return (yield (yield ctx.promise("answer")))


def test_an_id_is_found_however_it_is_typed(client: Resonate) -> None:
    """Every verb takes the letters of an id composed or decomposed, as a start does."""
    typed, stored = "cafe\u0301", "caf\u00e9"
    assert client.begin_run(typed, wait).id == stored
    assert client.get(typed).id == stored
    assert client.view(typed) is not None
    assert {p.id for p in client.tree(typed)} >= {stored}
    assert client.promises.create("e\u0301").id == "\u00e9"
    assert client.promises.cancel(typed).state is PromiseState.CANCELED


def test_whoever_gives_up_waiting_is_forgotten(client: Resonate) -> None:
    """A short wait for a long run leaves nothing behind in the process."""
    handle = client.begin_run("r", wait)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            handle.result(timeout=0.001)
    assert client.runtime.server.watched() == []


def test_closing_ends_every_wait(client: Resonate) -> None:
    """Whoever waits for a run that goes on elsewhere, later, is told."""
    future = client.begin_run("r", wait).settled()
    client.close()
    assert isinstance(future.exception(timeout=0), Stopped)


def test_a_value_of_a_type_unknown_here_blocks_the_run() -> None:
    """A process that lacks a codec gives the run back; it does not fail it for good."""

    def flow(ctx: Context) -> Any:
        money = yield ctx.run(Money, Decimal(5))
        yield ctx.sleep(10)
        return money.amount

    rich = Codec()
    rich.register(Money, "money", lambda m: m.amount, Money)
    simulation = Simulation()
    try:
        one, two = simulation.client("one", codec=rich), simulation.client("two")
        for process in (one, two):
            process.register(flow)
        one.begin_run("r", flow)
        simulation.run_until_idle()
        simulation.kill("one")
        two.ensure_started()
        simulation.pass_time(60_000)
        found = two.view("r")
        assert found is not None
        assert found.status == "blocked"
        assert "money" in (found.reason or "")
        three = simulation.client("three", codec=rich)
        three.register(flow)
        three.ensure_started()
        engine = three.runtime.engine
        assert engine is not None
        engine._code = "the code that registers the codec"
        assert three.get("r").result() == Decimal(5)
    finally:
        simulation.close()


def test_a_step_may_settle_a_promise_and_start_a_run(client: Resonate) -> None:
    """Neither waits for a run; a workflow's own code may do neither, since a replay would do it again."""

    def settle(id: str) -> str:
        client.promises.resolve(id, 7)
        return client.begin_run("other", wait).id

    def flow(ctx: Context) -> Any:
        promise = yield ctx.promise()
        with pytest.raises(WrongCall):
            client.promises.resolve(promise.id)
        other = yield ctx.options(retry=Never()).run(settle, promise.id)
        return [(yield promise), other]

    client.register(flow)
    assert client.run("r", flow) == [7, "other"]


@pytest.mark.parametrize("data", ["%%%", base64.b64encode(b"[1]").decode()])
def test_a_damaged_note_does_not_hide_its_run(data: str) -> None:
    """The note of a failed attempt may be unreadable; the rest is shown."""

    def promise(id: str, marks: dict[str, str], value: Value = EMPTY) -> Promise:
        return Promise(
            id=id, state=PromiseState.RESOLVED, param=EMPTY, value=value, tags=marks, timeout_at=9, created_at=1,
            settled_at=2,
        )  # fmt: skip

    note = promise("r:1@1", {ATTEMPT: "1", tags.PARENT: "r:1"}, Value(data=data))
    found = view("r", promise("r", {}), None, [promise("r:1", {tags.PARENT: "r"}), note])
    assert [(f.attempt, f.next_at) for f in found.steps[0].failures] == [(1, None)]
