"""What command lines print, on the real client in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resonate_web.config import Settings
from resonate_web.errors import CallerError, NotFound, Unserializable
from resonate_web.gateway import console
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.retry import Never

WAIT_S = 10


def charge(amount):
    if amount < 0:
        raise ValueError("negative amount")
    return {"charged": amount}


def order(ctx, amount):
    yield ctx.run(charge, amount)
    gate = yield ctx.promise("gate")
    return (yield gate)


@pytest.fixture
def core() -> Iterator[Resonate]:
    made = Resonate(Settings(store="memory://"))
    made.register(order)
    made.register(charge, retry=Never())
    yield made
    made.close()


def test_runs_are_listed(core: Resonate) -> None:
    """One line a run; none at all says so."""
    assert console.list_runs(core) == "no runs"
    core.begin_run("order/1", order, 5)
    core.begin_run("order/2", order, 5)
    lines = console.list_runs(core).splitlines()
    assert [line.split()[:3] for line in lines] == [["order/1", "pending", "order"], ["order/2", "pending", "order"]]
    assert console.list_runs(core, limit=1).splitlines() == lines[:1]
    assert console.list_runs(core, after="order/1").splitlines() == lines[1:]


def test_a_tree_shows_what_is_below(core: Resonate) -> None:
    """Each child stands below its parent with name, kind and state; the root says how it is."""
    handle = core.begin_run("order/1", order, -1)
    with pytest.raises(ValueError, match="negative"):
        handle.result(WAIT_S)
    head, step = console.tree(core, "order/1").splitlines()
    assert head == "order/1  order  rejected: ValueError: negative amount"
    assert step == "  order/1:1  charge  step  rejected: ValueError: negative amount"


def test_a_promise_is_shown_in_full(core: Resonate) -> None:
    """State, times, tags and payloads; for an error the traceback, which nobody gets by HTTP."""
    handle = core.begin_run("order/1", order, -1)
    with pytest.raises(ValueError, match="negative"):
        handle.result(WAIT_S)
    text = console.show(core, "order/1")
    assert "state    rejected" in text
    assert "settled  20" in text
    assert '"func":"order"' in text
    assert "Traceback" in text
    assert 'raise ValueError("negative amount")' in console.show(core, "order/1:1")


def test_a_promise_is_settled_once(core: Resonate) -> None:
    """The first command settles, the later ones report what was there; the run goes on."""
    handle = core.begin_run("order/1", order, 5)
    core.promises.create("gate/2")
    assert console.resolve(core, "gate/2", '{"a": 1}') == "gate/2  resolved"
    assert 'value    {"a":1}' in console.show(core, "gate/2")
    assert console.reject(core, "gate/2", "no") == "gate/2  was resolved already; nothing was changed"
    assert console.cancel(core, "order/1") == "order/1  rejected_canceled"
    assert handle.done()


def test_what_is_not_there_or_not_json_is_an_error(core: Resonate) -> None:
    """Every command names what it did not find; a value must be JSON."""
    for ask in (console.show, console.tree, console.cancel):
        with pytest.raises(NotFound, match="nowhere"):
            ask(core, "nowhere")
    with pytest.raises(NotFound, match="nowhere"):
        console.resolve(core, "nowhere", None)
    core.promises.create("gate/2")
    with pytest.raises(Unserializable, match="double quotes"):
        console.resolve(core, "gate/2", "yes")


def test_a_failed_run_is_tried_again_by_the_serving_processes() -> None:
    """A command starts the next try and no engine; a run that has not failed is refused."""
    simulation = Simulation()
    try:
        serving, commanding = simulation.client("p1"), simulation.client("p2")
        for client in (serving, commanding):
            client.register(order)
            client.register(charge, retry=Never())
        serving.begin_run("order/1", order, -1)
        simulation.run_until_idle()
        assert console.retry(commanding, "order/1") == "order/1~2  started; steps that succeeded are kept"
        assert not commanding.runtime.started
        simulation.pass_time(10_000)
        assert serving.record("order/1~2").state == "rejected"
        commanding.runtime.server.submit(*commanding.retrial("order/1")[1])
        with pytest.raises(CallerError, match="nothing holds"):
            console.retry(commanding, "order/1")
        with pytest.raises(NotFound, match="nowhere"):
            console.retry(commanding, "nowhere")
    finally:
        simulation.close()


def test_old_runs_are_pruned() -> None:
    """What would go and what went is told, and that a pruned id can run again."""
    simulation = Simulation()
    try:
        client = simulation.client()
        client.register(order)
        client.register(charge, retry=Never())
        client.begin_run("order/1", order, -1)
        client.begin_run("order/2", order, 1)
        simulation.run_until_idle()
        simulation.clock.advance(46 * 60_000)
        told = "1 run that ended over 45m ago (2 promises in all)"
        assert console.prune(client, "45m", dry_run=True) == f"would delete {told}"
        assert console.prune(client, "45m") == f"deleted {told}; their ids are unknown now and can run again"
        assert console.prune(client, "1h") == "deleted 0 runs that ended over 1h ago (0 promises in all)"
        assert console.list_runs(client).split()[0] == "order/2"
    finally:
        simulation.close()


@pytest.mark.parametrize("age", ["", "30", "d", "3.5d", "-1d", "30D", "1w", "30 d", "1d12h", "9999999d", "\u0663"])
def test_an_age_is_a_number_and_a_unit(core: Resonate, age: str) -> None:
    """Anything else is refused, with an example."""
    with pytest.raises(CallerError, match="30d, 12h or 45m"):
        console.prune(core, age)


def test_too_short_an_age_is_refused(core: Resonate) -> None:
    """What ended just now may still be written to by a process that does not know it yet."""
    with pytest.raises(CallerError, match="RESONATE_LEASE_MS"):
        console.prune(core, "0m")
