"""The verbs of a client: start, join, look, retry, settle; and a clear error for everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from resonate_web.errors import (
    AlreadyRegistered,
    CallerError,
    Canceled,
    ConfigError,
    IdInUse,
    InvalidId,
    NotFound,
    NotRegistered,
    TimedOut,
    TooLarge,
    Unserializable,
)
from resonate_web.protocol.records import PromiseState, Value
from resonate_web.protocol.requests import PromiseSettle
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.context import Context
from resonate_web.workflow.retry import Never

EFFECTS: list[str] = []
STATE = {"fail": True}


def add(a: int, b: int = 1) -> int:
    return a + b


def workflow(ctx: Context, n: int, *, more: int = 0) -> Any:
    return (yield ctx.run(add, n, b=more))


def waiting(ctx: Context) -> Any:
    return (yield (yield ctx.promise("p")))


@pytest.fixture
def client(simulation: Simulation) -> Resonate:
    EFFECTS.clear()
    made = simulation.client()
    for fn in (workflow, waiting, add):
        made.register(fn)
    return made


def _stored(client: Resonate) -> list[str]:
    return [p.id for p in client.runs(limit=1000)]


@pytest.mark.parametrize("verb", ["run", "rpc"])
def test_run_and_wait(client: Resonate, verb: str) -> None:
    """`run` and `rpc` start a run, wait for it, and return its value; by function or by name."""
    call = getattr(client, verb)
    assert call("a", workflow, 1, more=2) == 3
    assert call("b", "workflow", 5) == 5
    assert call("a", workflow, 1, more=2) == 3


@pytest.mark.parametrize("verb", ["begin_run", "begin_rpc"])
def test_begin_and_ask(client: Resonate, simulation: Simulation, verb: str) -> None:
    """A handle tells id, whether it is done, and the result; another handle of the same id too."""
    handle = getattr(client, verb)("a", waiting)
    assert (handle.id, handle.done()) == ("a", False)
    assert repr(handle) == "<handle a>"
    with pytest.raises(TimeoutError):
        handle.result(timeout=0.5)
    client.promises.resolve("a:@p", 7)
    assert handle.result(timeout=5) == 7
    assert (handle.done(), client.get("a").result()) == (True, 7)


def test_a_plain_function_can_be_a_run(client: Resonate) -> None:
    """A registered plain function runs as the only step of its run."""
    assert client.run("a", add, 1, b=4) == 5
    view = client.view("a")
    assert view is not None
    assert [(s.name, s.kind) for s in view.steps] == [("add", "step")]


def test_the_same_start_joins(client: Resonate) -> None:
    """The same id, function and arguments is the same run, told apart by `created`."""
    first = client.launch("a", workflow, (1,), {"more": 2})
    again = client.launch("a", workflow, (1,), {"more": 2})
    assert (first.created, again.created) == (True, False)
    assert first.promise.id == again.promise.id == "a"
    assert _stored(client) == ["a"]


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.run("a", workflow, 2),
        lambda c: c.run("a", workflow, 1, more=1),
        lambda c: c.run("a", waiting),
        lambda c: c.begin_run("a", workflow, "1"),
        lambda c: c.options(on_failed="new").begin_run("a", workflow, 2),
    ],
)
def test_an_id_never_means_two_things(client: Resonate, call: Callable[[Resonate], Any]) -> None:
    """Another function or other arguments under a used id raise IdInUse and change nothing."""
    client.run("a", workflow, 1)
    with pytest.raises(IdInUse):
        call(client)
    assert client.get("a").result() == 1
    assert _stored(client) == ["a"]


def test_arguments_are_compared_as_stored(client: Resonate) -> None:
    """A tuple and a list, or another order of keywords, are the same arguments."""

    def many(ctx: Context, items: Any, **named: int) -> Any:
        return (yield ctx.run(len, items))

    client.register(many)
    client.run("a", many, (1, 2), x=1, y=2)
    assert client.run("a", many, [1, 2], y=2, x=1) == 2


@pytest.mark.parametrize("id", ["", "a:1", "a~2", "~a", "a//b", "x" * 201, "a\n", "/a", 7])
def test_bad_ids_start_nothing(client: Resonate, id: Any) -> None:
    """An id that breaks the rules raises InvalidId before anything is stored."""
    with pytest.raises(InvalidId):
        client.begin_run(id, workflow, 1)
    assert _stored(client) == []


def test_what_cannot_be_stored_starts_nothing(client: Resonate) -> None:
    """Unserialisable or too large arguments and unknown functions are errors at the call; nothing is stored."""
    client.ensure_started()
    with pytest.raises(Unserializable, match="object"):
        client.begin_run("a", workflow, object())
    with pytest.raises(Unserializable):
        client.begin_run("a", workflow, float("nan"))
    with pytest.raises(TooLarge, match="workflow"):
        client.begin_run("a", workflow, "x" * 10_000_000)
    with pytest.raises(NotRegistered, match="unknown"):
        client.begin_run("a", "unknown", 1)
    with pytest.raises(NotRegistered, match="len"):
        client.begin_run("a", len, 1)
    with pytest.raises(NotRegistered, match="version 9"):
        client.options(version=9).begin_run("a", workflow, 1)
    assert _stored(client) == []
    with pytest.raises(NotFound):
        client.get("a")
    with pytest.raises(NotFound):
        client.tree("a")
    assert client.view("a") is None


def test_an_unserialisable_result_fails_the_run(client: Resonate) -> None:
    """A result that cannot be stored is the run's error, said clearly."""

    def opaque(ctx: Context) -> Any:
        yield ctx.run(add, 1)
        return object()

    client.register(opaque)
    with pytest.raises(Unserializable, match="result of a"):
        client.run("a", opaque)


def test_registering(client: Resonate) -> None:
    """`register` is a function and a decorator; two functions of one name and version are an error."""

    @client.register
    def one() -> int:
        return 1

    @client.register(name="two", version=2)
    def other() -> int:
        return 2

    assert (one(), other()) == (1, 2)
    assert client.register(one) is one
    assert client.run("a", one) == 1
    assert client.run("b", "two") == 2

    def imposter() -> int:
        return 3

    with pytest.raises(AlreadyRegistered, match="imposter"):
        client.register(imposter, name="two", version=2)
    with pytest.raises(ValueError, match="version"):
        client.register(imposter, version=0)
    with pytest.raises(NotRegistered):
        client.register(imposter, on_cancel="nobody")


# Options


def test_options_never_mix_with_arguments(client: Resonate, simulation: Simulation) -> None:
    """Options belong to a copy of the client; unknown ones are named; the original is unchanged."""
    soon = client.options(timeout=timedelta(seconds=5), tags={"team": "a"})
    handle = soon.begin_run("a", waiting)
    with pytest.raises(TimedOut):
        handle.result()
    assert client.promises.get("a").tags["team"] == "a"
    assert client.begin_run("b", waiting).done() is False
    assert client.promises.get("b").timeout_at > simulation.clock.now() + 10**12
    with pytest.raises(ConfigError, match="timeot"):
        client.options(timeot=1)
    with pytest.raises(ConfigError, match="on_failed"):
        client.options(on_failed="maybe")


def test_a_target_is_another_group(client: Resonate, simulation: Simulation) -> None:
    """A run for another group waits until a process of that group takes it."""
    handle = client.options(target="mail").begin_run("a", workflow, 1)
    simulation.pass_time(20_000)
    assert not handle.done()
    mail = simulation.client("mail", settings=replace(simulation.settings, group="mail"))
    mail.register(workflow)
    mail.ensure_started()
    assert handle.result() == 1


def test_a_process_without_worker_only_starts(client: Resonate, simulation: Simulation) -> None:
    """With `worker=False` runs are started and awaited, and executed elsewhere."""
    web = simulation.client("web", settings=replace(simulation.settings, worker=False))
    web.register(workflow)
    handle = web.begin_run("a", workflow, 1)
    simulation.pass_time(20_000)
    assert not handle.done()
    client.ensure_started()
    assert handle.result() == 1


# Failed runs


def checkout(ctx: Context, order: int) -> Any:
    yield ctx.run(effect, "reserve")
    yield ctx.sleep(1)
    yield ctx.run(packing, order)
    yield ctx.rpc(billing, order)
    yield ctx.run(effect, "confirm")
    return "ok"


def packing(ctx: Context, order: int) -> Any:
    yield ctx.run(effect, "wrap")
    yield ctx.run(effect, "label")


def billing(ctx: Context, order: int) -> Any:
    yield ctx.run(effect, "bill")
    return "billed"


def broken_packing(ctx: Context, order: int) -> Any:
    yield ctx.run(effect, "wrap")
    yield ctx.options(retry=Never()).run(sometimes)


def sometimes() -> None:
    EFFECTS.append("sometimes")
    if STATE["fail"]:
        raise OSError("not this time")


def effect(name: str) -> str:
    EFFECTS.append(name)
    return name


def failing(ctx: Context, order: int) -> Any:
    yield ctx.run(effect, "reserve")
    yield ctx.sleep(1)
    yield ctx.rpc(billing, order)
    yield ctx.run(broken_packing, order)
    return "ok"


def _failed(client: Resonate) -> None:
    STATE["fail"] = True
    for fn in (failing, billing):
        client.register(fn)
    with pytest.raises(OSError, match="not this time"):
        client.run("a", failing, 1)


def test_retry_keeps_what_succeeded(client: Resonate) -> None:
    """`retry` starts `<id>~2` with the same arguments; steps that succeeded, inner ones too, do not run again."""
    _failed(client)
    before = list(EFFECTS)
    STATE["fail"] = False
    handle = client.retry("a")
    assert handle.id == "a~2"
    assert handle.result() == "ok"
    assert before == ["reserve", "bill", "wrap", "sometimes"]
    assert EFFECTS[len(before) :] == ["sometimes"]
    tree = {p.id: p.tags.get("resonate:parent") for p in client.runtime.server.children("a~2")}
    assert all(parent == "a~2" or parent in tree for parent in tree.values()), "a row without its parent's"


def naming(ctx: Context) -> Any:
    gate = yield ctx.promise("gate")
    yield ctx.run(effect, f"{ctx.id} {gate.id} a~21")
    yield ctx.rpc(billing_of, ctx.id)
    yield ctx.options(retry=Never()).run(sometimes)


def billing_of(ctx: Context, id: str) -> Any:
    return (yield ctx.run(effect, f"bill {ctx.id} of {id}"))


def test_a_retry_knows_its_own_id_among_the_arguments(client: Resonate) -> None:
    """A step that was given the run's id, or a promise's, is kept by later tries too: only the number has changed."""
    STATE["fail"] = True
    for fn in (naming, billing_of):
        client.register(fn)
    with pytest.raises(OSError, match="not this time"):
        client.run("a", naming)
    before = list(EFFECTS)
    with pytest.raises(OSError, match="not this time"):
        client.retry("a").result()
    STATE["fail"] = False
    client.retry("a").result()
    assert before[:2] == ["a a:@gate a~21", "bill a:2 of a"]
    assert EFFECTS[len(before) :] == ["sometimes", "sometimes"]


def test_retry_may_fail_again(client: Resonate) -> None:
    """Each try has a number of its own; `get` of a number is that try, a start follows the newest."""
    _failed(client)
    with pytest.raises(OSError, match="not this time"):
        client.retry("a").result()
    STATE["fail"] = False
    handle = client.retry("a")
    assert handle.id == "a~3"
    assert handle.result() == "ok"
    with pytest.raises(OSError, match="not this time"):
        client.get("a").result()
    launched = client.launch("a", failing, (1,))
    assert (launched.id, launched.created) == ("a~3", False)
    view = client.view("a")
    assert view is not None
    assert (view.id, view.promise.id, view.status) == ("a", "a~3", "succeeded")
    assert EFFECTS.count("reserve") == EFFECTS.count("bill") == EFFECTS.count("wrap") == 1


def test_only_failed_runs_are_retried(client: Resonate) -> None:
    """A run that goes on or succeeded, and one that does not exist, cannot be retried."""
    client.run("a", workflow, 1)
    client.begin_run("b", waiting)
    for id in ("a", "b"):
        with pytest.raises(CallerError, match="not failed"):
            client.retry(id)
    with pytest.raises(NotFound):
        client.retry("none")


def test_on_failed_new_starts_over(client: Resonate) -> None:
    """`on_failed="new"` starts a fresh try of a failed run, and joins any other."""
    _failed(client)
    with pytest.raises(OSError, match="not this time"):
        client.run("a", failing, 1)
    STATE["fail"] = False
    fresh = client.options(on_failed="new")
    launched = fresh.launch("a", failing, (1,))
    assert (launched.id, launched.created) == ("a~2", True)
    assert fresh.launch("a", failing, (1,)).id == "a~2"
    assert client.get("a~2").result() == "ok"
    assert fresh.run("a", failing, 1) == "ok"
    assert EFFECTS.count("reserve") == 2


def test_a_canceled_run_can_be_retried(client: Resonate) -> None:
    """A canceled run is a failed one: its next try waits anew."""
    handle = client.begin_run("a", waiting)
    client.promises.cancel("a")
    with pytest.raises(Canceled):
        handle.result()
    again = client.retry("a")
    assert not again.done()
    client.runtime.turns.run_until_idle()  # type: ignore[attr-defined]
    client.promises.resolve("a~2:@p", 3)
    assert again.result() == 3


# Promises


def test_promises(client: Resonate) -> None:
    """create, get, resolve, reject, cancel: the first settlement wins, later ones get the recorded promise."""
    made = client.promises.create("x", timeout=60, data={"a": 1}, tags={"k": "v"})
    assert (made.state, made.tags["k"], client.codec.decode(made.param)) == (PromiseState.PENDING, "v", {"a": 1})
    assert client.promises.create("x", data="other").param == made.param
    assert client.promises.resolve("x", [1]).state is PromiseState.RESOLVED
    assert client.promises.reject("x", "late").state is PromiseState.RESOLVED
    assert client.promises.cancel("x").state is PromiseState.RESOLVED
    assert client.get("x").result() == [1]
    client.promises.create("y")
    client.promises.reject("y", ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        client.get("y").result()
    client.promises.create("z")
    client.promises.cancel("z")
    with pytest.raises(Canceled):
        client.get("z").result()
    client.promises.create("t", timeout=1)
    with pytest.raises(TimedOut):
        client.get("t").result()


def test_promises_that_do_not_exist(client: Resonate) -> None:
    """Asking for or settling an unknown promise is NotFound; an unserialisable value stores nothing."""
    for call in (client.promises.get, client.promises.resolve, client.promises.cancel):
        with pytest.raises(NotFound):
            call("none")
    with pytest.raises(NotFound):
        client.promises.reject("none", "x")
    client.promises.create("x")
    with pytest.raises(Unserializable):
        client.promises.resolve("x", object())
    assert client.promises.get("x").state is PromiseState.PENDING
    with pytest.raises(CallerError):
        client.promises.create("")


def test_a_promise_written_by_others_in_no_known_form(client: Resonate) -> None:
    """A value that is not ours is a clear error for who awaits it, not a blocked run."""
    for n, state in enumerate((PromiseState.RESOLVED, PromiseState.REJECTED)):
        handle = client.begin_run(f"r{n}", waiting)
        client.runtime.turns.run_until_idle()  # type: ignore[attr-defined]
        raw = PromiseSettle(id=f"r{n}:@p", state=state, value=Value(data="%%%"))
        client.runtime.server.submit(raw)
        with pytest.raises(Exception) as raised:  # noqa: PT011
            handle.result()
        assert type(raised.value).__name__ in ("Unserializable", "ApplicationError")


def test_looking_at_a_run(client: Resonate) -> None:
    """The view lists the steps in their order with kind, name and state; the tree has every descendant."""
    for fn in (checkout, billing):
        client.register(fn)
    assert client.run("a", checkout, 1) == "ok"
    view = client.view("a")
    assert view is not None
    assert [(s.id, s.kind, s.name) for s in view.steps] == [
        ("a:1", "step", "effect"), ("a:2", "sleep", "sleep"), ("a:3", "workflow", "packing"),
        ("a:3.1", "step", "effect"), ("a:3.2", "step", "effect"), ("a:4", "rpc", "billing"), ("a:5", "step", "effect"),
    ]  # fmt: skip
    assert (view.status, view.done, view.function) == ("succeeded", True, "checkout")
    assert {p.id for p in client.tree("a")} == {"a", "a:4.1"} | {s.id for s in view.steps}


def test_statuses(client: Resonate, simulation: Simulation) -> None:
    """running, waiting, succeeded, failed, canceled, timedout: each from the rows alone."""

    def fail(ctx: Context) -> Any:
        yield ctx.run(add, 1)
        raise ValueError("x")

    client.register(fail)
    client.begin_run("waiting", waiting)
    client.begin_run("canceled", waiting)
    client.options(timeout=1).begin_run("timedout", waiting)
    client.begin_run("succeeded", workflow, 1)
    client.begin_run("failed", fail)
    simulation.pass_time(2000)
    client.promises.cancel("canceled")
    for status in ("waiting", "canceled", "timedout", "succeeded", "failed"):
        view = client.view(status)
        assert view is not None
        assert view.status == status
