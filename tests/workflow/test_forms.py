"""Every word of `ctx` in the three ways in which a workflow may be written."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from resonate_web.errors import ApplicationError, InvalidId, NotRegistered, TimedOut, Unserializable, WrongCall
from resonate_web.testing.rehearsal import Rehearsal
from resonate_web.workflow.commands import Future, Winner
from resonate_web.workflow.context import Context, StepContext
from resonate_web.workflow.recorded import kind_of, name_of


def double(n: int) -> int:
    return n * 2


def fail(message: str) -> None:
    raise TypeError(message)


def child(ctx: Context, n: int) -> Any:
    return (yield ctx.run(double, n))


async def achild(ctx: Context, n: int) -> Any:
    return await ctx.run(double, n)


def all_words_yielded(ctx: Context, n: int) -> Any:
    found = [
        (yield ctx.run(double, n)),
        (yield ctx.run(child, n)),
        (yield ctx.rpc(child, n)),
        (yield ctx.rpc("child", n)),
    ]
    futures = [(yield ctx.begin_run(double, n)), (yield ctx.begin_run(child, n)), (yield ctx.begin_rpc(child, n))]
    for future in futures:
        found.append((yield future))
    yield ctx.sleep(0.5)
    detached = yield ctx.detached(child, n)
    found.append((yield detached))
    promise = yield ctx.promise("answer", timeout=3)
    try:
        yield promise
    except TimedOut:
        found.append("timed out")
    found.append((yield ctx.all(ctx.run(double, 1), (yield ctx.begin_run(double, 2)))))
    found.append((yield ctx.race(ctx.run(double, 1), ctx.sleep(9))))
    found.append((yield ctx.options(timeout=9).run(double, 7)))
    found.append(isinstance((yield ctx.time.time()), float))
    found.append((yield ctx.random.randint(3, 3)))
    try:
        yield ctx.run(fail, "no")
    except TypeError as error:
        found.append(str(error))
    return found


def all_words_delegated(ctx: Context, n: int) -> Any:
    found = [
        (yield from ctx.run(double, n)), (yield from ctx.run(child, n)),
        (yield from ctx.rpc(child, n)), (yield from ctx.rpc("child", n)),
    ]  # fmt: skip
    one = yield from ctx.begin_run(double, n)
    two = yield from ctx.begin_run(child, n)
    three = yield from ctx.begin_rpc(child, n)
    for future in (one, two, three):
        found.append((yield from future))
    yield from ctx.sleep(0.5)
    detached = yield from ctx.detached(child, n)
    found.append((yield from detached))
    promise = yield from ctx.promise("answer", timeout=3)
    try:
        yield from promise
    except TimedOut:
        found.append("timed out")
    found.append((yield from ctx.all(ctx.run(double, 1), (yield from ctx.begin_run(double, 2)))))
    found.append((yield from ctx.race(ctx.run(double, 1), ctx.sleep(9))))
    found.append((yield from ctx.options(timeout=9).run(double, 7)))
    found.append(isinstance((yield from ctx.time.time()), float))
    found.append((yield from ctx.random.randint(3, 3)))
    try:
        yield from ctx.run(fail, "no")
    except TypeError as error:
        found.append(str(error))
    return found


async def all_words_awaited(ctx: Context, n: int) -> Any:
    found = [await ctx.run(double, n), await ctx.run(child, n), await ctx.rpc(child, n), await ctx.rpc("child", n)]
    futures = [await ctx.begin_run(double, n), await ctx.begin_run(child, n), await ctx.begin_rpc(child, n)]
    for future in futures:
        found.append(await future)
    await ctx.sleep(0.5)
    detached = await ctx.detached(child, n)
    found.append(await detached)
    promise = await ctx.promise("answer", timeout=3)
    try:
        await promise
    except TimedOut:
        found.append("timed out")
    found.append(await ctx.all(ctx.run(double, 1), await ctx.begin_run(double, 2)))
    found.append(await ctx.race(ctx.run(double, 1), ctx.sleep(9)))
    found.append(await ctx.options(timeout=9).run(double, 7))
    found.append(isinstance(await ctx.time.time(), float))
    found.append(await ctx.random.randint(3, 3))
    try:
        await ctx.run(fail, "no")
    except TypeError as error:
        found.append(str(error))
    return found


FORMS = (all_words_yielded, all_words_delegated, all_words_awaited)


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "replayed"])
@pytest.mark.parametrize("form", FORMS)
def test_every_word_in_every_form(form: Callable[..., Any], keep: bool) -> None:
    """Generators, typed generators and coroutines say the same words with the same results and the same records."""
    rehearsal = Rehearsal(keep=keep)
    for fn in (form, child):
        rehearsal.registry.add(fn)
    found = rehearsal.run("r", form, 3)
    winner = list(Winner(0, 2))
    assert found == [6] * 7 + [6, "timed out", [2, 4], winner, 14, True, 3, "no"]


def test_the_three_forms_leave_the_same_records() -> None:
    """Ids, kinds and names of what is stored do not depend on how the workflow is written."""
    histories = []
    for form in FORMS:
        rehearsal = Rehearsal()
        for fn in (form, child):
            rehearsal.registry.add(fn)
        rehearsal.run("r", form, 3)
        rows = [row.record for id, row in sorted(rehearsal.machine.promises.items()) if id != "r"]
        histories.append([(p.id, kind_of(p), name_of(p), p.state) for p in rows])
    assert histories[0] == histories[1] == histories[2]


def test_old_names_are_the_same_words() -> None:
    """The names of earlier SDKs are aliases."""
    for old, new in (("lfc", "run"), ("lfi", "begin_run"), ("rfc", "rpc"), ("rfi", "begin_rpc")):
        assert inspect.getattr_static(Context, old) is inspect.getattr_static(Context, new)


def _ids(make: Callable[[Context], Any]) -> list[str]:
    """Return the ids of the children that a workflow left."""
    rehearsal = Rehearsal()
    rehearsal.registry.add(child)
    rehearsal.registry.add(make, name="w")
    rehearsal.begin("r", make)
    rehearsal.finish("r")
    return sorted(id for id, row in rehearsal.machine.promises.items() if row.owner == "r")


def test_ids_are_counted_when_a_command_is_made() -> None:
    """A command that is never yielded has used its number; the order of yielding does not matter."""

    def workflow(ctx: Context) -> Any:
        first, unused, third = ctx.run(double, 1), ctx.run(double, 2), ctx.run(double, 3)
        assert [first.id, unused.id, third.id] == ["r:1", "r:2", "r:3"]
        yield third
        yield first

    assert _ids(workflow) == ["r:1", "r:3"]


def test_local_workflows_count_for_themselves() -> None:
    """A workflow within a run has numbers of its own, below its id."""

    def workflow(ctx: Context) -> Any:
        yield ctx.run(child, 1)
        yield ctx.run(child, 2)

    assert _ids(workflow) == ["r:1", "r:1.1", "r:2", "r:2.1"]


def test_named_promises_use_no_number() -> None:
    """A named promise has its name as id; an unnamed one is counted."""

    def workflow(ctx: Context) -> Any:
        named = yield ctx.promise("shipped", timeout=1)
        counted = yield ctx.promise(timeout=1)
        assert (named.id, counted.id) == ("r:@shipped", "r:1")
        yield ctx.run(double, 1)

    assert _ids(workflow) == ["r:1", "r:2", "r:@shipped"]


def test_a_detached_run_has_an_id_of_its_own() -> None:
    """A detached run uses a number, but its id does not grow with depth."""

    def workflow(ctx: Context) -> Any:
        future = yield ctx.detached(child, 1)
        assert future.id.startswith("r:d")
        yield ctx.run(double, 1)

    assert _ids(workflow)[0] == "r:2"


def _raised(body: Callable[[Context], Any], error: type[Exception]) -> str:
    """Return what a workflow's failure says."""
    rehearsal = Rehearsal()
    rehearsal.codec.register_error(error)
    rehearsal.registry.add(body, name="w")
    rehearsal.registry.add(child)
    with pytest.raises(error) as found:
        rehearsal.run("r", body)
    return str(found.value)


def test_a_name_is_used_once() -> None:
    """The second promise of one name in a run is an error of the workflow; so is a bad name."""

    def twice(ctx: Context) -> Any:
        yield ctx.promise("a")
        yield ctx.promise("a")

    def bad(ctx: Context) -> Any:
        yield ctx.promise("no spaces")

    assert "'a'" in _raised(twice, WrongCall)
    assert "no spaces" in _raised(bad, InvalidId)


def test_wrong_commands_are_refused() -> None:
    """Yielding something else, a command twice, or one of another workflow's ctx raises at that yield."""

    def other_value(ctx: Context) -> Any:
        yield 7

    def twice(ctx: Context) -> Any:
        command = ctx.run(double, 1)
        yield command
        yield command

    def foreign(ctx: Context) -> Any:
        def inner(own: Context) -> Any:
            yield ctx.run(double, 1)

        yield ctx.run(inner)

    def foreign_future(ctx: Context) -> Any:
        future: Future[int] = yield ctx.begin_run(double, 1)

        def inner(own: Context) -> Any:
            yield own.race(future, own.sleep(1))

        yield ctx.run(inner)

    def not_callable(ctx: Context) -> Any:
        yield ctx.run("child")  # type: ignore[call-overload]

    def empty_race(ctx: Context) -> Any:
        yield ctx.race()

    def not_joinable(ctx: Context) -> Any:
        yield ctx.all(ctx.run(double, 1), 7)  # type: ignore[arg-type]

    def race_twice(ctx: Context) -> Any:
        race = ctx.race(ctx.run(double, 1))
        yield race
        yield race

    assert "not int" in _raised(other_value, TypeError)
    assert "yielded before" in _raised(twice, WrongCall)
    assert "another workflow" in _raised(foreign, WrongCall)
    assert "r:2" in _raised(foreign_future, WrongCall)
    assert "ctx.rpc" in _raised(not_callable, WrongCall)
    assert "at least one" in _raised(empty_race, WrongCall)
    assert "7" in _raised(not_joinable, WrongCall)
    assert "race" in _raised(race_twice, WrongCall)


def test_a_refused_command_can_be_caught() -> None:
    """The error is thrown in at the yield; a workflow that catches it goes on."""

    def workflow(ctx: Context) -> Any:
        try:
            yield object()
        except TypeError:
            return (yield ctx.run(double, 4))

    rehearsal = Rehearsal()
    rehearsal.registry.add(workflow)
    assert rehearsal.run("r", workflow) == 8


def test_unknown_and_unserialisable_calls() -> None:
    """An unregistered function cannot be called remotely, an unserialisable argument is named."""

    def unknown(ctx: Context) -> Any:
        yield ctx.rpc(double, 1)

    def opaque(ctx: Context) -> Any:
        yield ctx.run(double, object())

    def opaque_remote(ctx: Context) -> Any:
        yield ctx.rpc("child", object())

    assert "double" in _raised(unknown, NotRegistered)
    assert "object" in _raised(opaque, Unserializable)
    assert "object" in _raised(opaque_remote, Unserializable)


def test_an_unserialisable_result_rejects_only_itself() -> None:
    """A step's result that cannot be stored rejects that step, named; a workflow's result rejects the run."""

    def opaque() -> object:
        return object()

    def workflow(ctx: Context, catch: bool) -> Any:
        try:
            yield ctx.run(opaque)
        except Unserializable as error:
            if catch:
                return str(error)
        return object()

    rehearsal = Rehearsal()
    rehearsal.registry.add(workflow)
    assert "opaque" in rehearsal.run("a", workflow, True)
    with pytest.raises(Unserializable, match="result of b"):
        rehearsal.run("b", workflow, False)
    assert rehearsal.bodies == ["a:1", "b:1"]


def test_a_wrong_signature_is_the_runs_own_failure() -> None:
    """A workflow that cannot be called with its arguments fails like any other."""
    rehearsal = Rehearsal()
    rehearsal.registry.add(child)
    with pytest.raises(TypeError, match="argument"):
        rehearsal.run("r", child, 1, 2, 3)


def test_exits_and_other_base_exceptions_end_the_run() -> None:
    """SystemExit in a workflow is that run's failure, not the process's end."""

    def workflow(ctx: Context) -> Any:
        yield ctx.run(double, 1)
        raise SystemExit(3)

    rehearsal = Rehearsal()
    rehearsal.registry.add(workflow)
    with pytest.raises(ApplicationError) as found:
        rehearsal.run("r", workflow)
    assert found.value.type_name == "SystemExit"


def test_keys_name_run_function_and_use() -> None:
    """A step's key is its run, its function and the how-manieth use of it; attempts share it."""
    keys: list[tuple[str, int]] = []

    def charge(ctx: StepContext) -> None:
        keys.append((ctx.key, ctx.attempt))
        if ctx.attempt < 2:
            raise OSError("try again")

    def inner(ctx: Context) -> Any:
        yield ctx.run(charge)

    def workflow(ctx: Context) -> Any:
        assert ctx.key == "r"
        yield ctx.run(charge)
        yield ctx.run(double, 1)
        yield ctx.run(charge)
        yield ctx.run(inner)

    rehearsal = Rehearsal()
    rehearsal.registry.add(workflow)
    rehearsal.run("r", workflow)
    assert keys == [
        ("r/charge/1", 1), ("r/charge/1", 2), ("r/charge/2", 1), ("r/charge/2", 2),
        ("r:4/charge/1", 1), ("r:4/charge/1", 2),
    ]  # fmt: skip


def test_a_step_receives_ctx_only_when_it_asks() -> None:
    """The first parameter's name or annotation decides; partials, methods and callables too."""

    class Client:
        def charge(self, amount: int) -> int:
            return amount

        def with_ctx(self, ctx: StepContext, amount: int) -> str:
            return f"{ctx.id} {amount}"

        def __call__(self, amount: int) -> int:
            return -amount

    def annotated(context: Context, n: int) -> str:
        return context.id

    def workflow(ctx: Context) -> Any:
        client = Client()
        return [
            (yield ctx.run(client.charge, 1)),
            (yield ctx.run(client.with_ctx, 2)),
            (yield ctx.run(client, 3)),
            (yield ctx.run(annotated, 4)),
            (yield ctx.run(partial(double, 5))),
            (yield ctx.run(len, [1, 2])),
            (yield ctx.run(lambda: 7)),
        ]

    rehearsal = Rehearsal()
    rehearsal.registry.add(workflow)
    assert rehearsal.run("r", workflow) == [1, "r:2 2", -3, "r:4", 10, 2, 7]


def test_live_equals_replayed() -> None:
    """Arguments and results are decoded copies from the first execution on."""
    seen: list[Any] = []

    def mutate(items: list[int]) -> Any:
        items.append(99)
        seen.append(items)
        return (items, {1: "a"})

    def workflow(ctx: Context) -> Any:
        mine = [1]
        first = yield ctx.run(mutate, mine)
        future = yield ctx.begin_run(mutate, mine)
        second = yield future
        second[0].append("changed")
        again = yield future
        return [mine, first, again]

    rehearsal = Rehearsal()
    rehearsal.registry.add(workflow)
    assert rehearsal.run("r", workflow) == [[1], [[1, 99], {"1": "a"}], [[1, 99], {"1": "a"}]]


def test_errors_cross_between_runs() -> None:
    """A failed step raises where it was yielded, through local and remote workflows, with its own name."""

    class Declined(Exception): ...

    def decline() -> None:
        raise Declined("no funds")

    def inner(ctx: Context) -> Any:
        yield ctx.options(non_retryable=(Declined,)).run(decline)

    def workflow(ctx: Context) -> Any:
        found = []
        for command in (ctx.run(inner), ctx.rpc(inner)):
            try:
                yield command
            except ApplicationError as error:
                found.append((error.type_name, str(error)))
        return found

    rehearsal = Rehearsal()
    for fn in (inner, workflow):
        rehearsal.registry.add(fn)
    assert rehearsal.run("r", workflow) == [["Declined", "no funds"]] * 2
    assert len(rehearsal.bodies) == 2


def test_info_is_the_same_in_a_replay() -> None:
    """`ctx.info` tells the function's version, not the lease's, so that code may branch on it."""
    seen: list[Any] = []

    def workflow(ctx: Context) -> Any:
        seen.append((ctx.info.id, ctx.info.attempt, ctx.info.version, ctx.info.timeout_at))
        yield ctx.sleep(1)
        yield ctx.sleep(1)

    rehearsal = Rehearsal()
    rehearsal.registry.add(workflow, version=3)
    rehearsal.run("r", workflow)
    assert len(seen) == 3
    assert set(seen) == {("r", 1, 3, seen[0][3])}


def test_dependencies() -> None:
    """Objects reach workflows and steps by name; a missing one is named unless there is a default."""

    def step(ctx: StepContext) -> Any:
        return [ctx.get_dependency("rate"), ctx.get_dependency("none", 1)]

    def workflow(ctx: Context) -> Any:
        with pytest.raises(LookupError, match="missing"):
            ctx.get_dependency("missing")
        return [ctx.get_dependency("rate"), (yield ctx.run(step))]

    rehearsal = Rehearsal(dependencies={"rate": 7})
    rehearsal.registry.add(workflow)
    assert rehearsal.run("r", workflow) == [7, [7, 1]]
