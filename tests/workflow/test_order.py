"""Nothing overtakes: what a body may rely on is stored before it starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resonate_web.protocol.records import PromiseState
from resonate_web.protocol.requests import PromiseCreate, PromiseSettle, TaskFence
from resonate_web.testing.rehearsal import Crash, Rehearsal
from resonate_web.workflow.context import Context, StepContext


def child(ctx: Context) -> Any:
    yield ctx.sleep(1)


def _rehearsal(*fns: Any, **options: Any) -> Rehearsal:
    rehearsal = Rehearsal(**options)
    for fn in (child, *fns):
        rehearsal.registry.add(fn)
    return rehearsal


REMOTE: dict[str, Callable[[Context], Any]] = {
    "timer": lambda ctx: ctx.sleep(1),
    "promise": lambda ctx: ctx.promise("p"),
    "rpc": lambda ctx: ctx.begin_rpc(child),
    "detached": lambda ctx: ctx.detached(child),
}


@pytest.mark.parametrize("kind", REMOTE)
def test_a_body_starts_after_every_earlier_remote_create_is_stored(kind: str) -> None:
    """Whatever was created before a step exists in the store when its body runs."""
    rehearsal = _rehearsal()
    found: list[bool] = []

    def look(ctx: StepContext, id: str) -> None:
        found.append(id in rehearsal.machine.promises)

    def workflow(ctx: Context) -> Any:
        command = REMOTE[kind](ctx)
        members = [command] if kind == "timer" else []
        if not members:
            yield command
        yield ctx.race(*members, ctx.run(look, command.id))

    rehearsal.registry.add(workflow)
    rehearsal.begin("r", workflow)
    rehearsal.proceed()
    assert found == [True]


def test_a_body_starts_after_creates_of_other_strands() -> None:
    """The rule is the run's, not the strand's: a sibling's promise is stored first as well."""
    rehearsal = _rehearsal()
    found: list[bool] = []

    def sibling(ctx: Context) -> Any:
        yield (yield ctx.promise("p", timeout=1))

    def look() -> None:
        found.append("r:1.@p" in rehearsal.machine.promises)

    def workflow(ctx: Context) -> Any:
        yield ctx.begin_run(sibling)
        yield ctx.run(look)

    rehearsal.registry.add(workflow)
    rehearsal.begin("r", workflow)
    rehearsal.proceed()
    assert found == [True]


def test_a_kill_inside_the_mail_step_leaves_a_promise_that_can_be_settled() -> None:
    """The link in a mail works even if the process died while sending it."""

    def send_mail(link: str) -> None: ...

    def workflow(ctx: Context) -> Any:
        answer = yield ctx.promise("approved")
        yield ctx.run(send_mail, answer.id)
        return (yield answer)

    rehearsal = _rehearsal(workflow, bodies_left=1)
    rehearsal.begin("r", workflow)
    with pytest.raises(Crash):
        rehearsal.finish("r")
    rehearsal.settle("r:@approved", "yes")
    rehearsal.bodies_left = None
    assert rehearsal.finish("r") == "yes"
    assert rehearsal.bodies == ["r:1", "r:1"]


def test_an_announced_step_is_stored_before_its_body() -> None:
    """`announce=True` commits the pending row first; without it the row comes with the result."""
    rehearsal = _rehearsal()
    seen: dict[str, bool] = {}

    def look(ctx: StepContext) -> None:
        seen[ctx.id] = ctx.id in rehearsal.machine.promises

    def workflow(ctx: Context) -> Any:
        yield ctx.options(announce=True).run(look)
        yield ctx.run(look)

    rehearsal.registry.add(workflow)
    rehearsal.run("r", workflow)
    assert seen == {"r:1": True, "r:2": False}


def test_a_local_step_is_one_group() -> None:
    """The create and the settle of a local step travel together."""

    def workflow(ctx: Context) -> Any:
        yield ctx.run(len, [])

    rehearsal = _rehearsal(workflow, groups_left=1)
    rehearsal.begin("r", workflow)
    with pytest.raises(Crash):
        rehearsal.finish("r")
    actions = [r.action for r in rehearsal.sent if isinstance(r, TaskFence)]
    assert [type(a) for a in actions] == [PromiseCreate, PromiseSettle]
    assert rehearsal.promise("r:1").state is PromiseState.RESOLVED


def test_a_failed_attempt_leaves_a_note_below_its_step() -> None:
    """An attempt that will be retried is written with its step: number, error, next time."""

    def flaky(ctx: StepContext) -> str:
        if ctx.attempt < 3:
            raise OSError(f"attempt {ctx.attempt}")
        return "ok"

    def workflow(ctx: Context) -> Any:
        return (yield ctx.run(flaky))

    rehearsal = _rehearsal(workflow)
    assert rehearsal.run("r", workflow) == "ok"
    notes = {id: rehearsal.codec.decode(rehearsal.promise(id).value) for id in ("r:1@1-1", "r:1@1-2")}
    assert [(n["name"], n["message"], n["attempt"]) for n in notes.values()] == [
        ("OSError", "attempt 1", 1),
        ("OSError", "attempt 2", 2),
    ]
    assert {rehearsal.promise(id).tags["resonate:parent"] for id in notes} == {"r:1"}
