"""Approvals in a workflow: every end of one reaches the code as a decision, live as in a replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from resonate_web import ApplicationError, Approval, Decision, Winner
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.protocol.requests import PromiseCreate, PromiseSettle, TaskFence
from resonate_web.testing.rehearsal import Crash, Refused, Rehearsal
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.approvals import decided
from resonate_web.workflow.context import Context
from resonate_web.workflow.decisions import Vote
from resonate_web.workflow.retry import Constant

DAY = 24 * 3600 * 1000
YES = {"decision": "approve", "by": "ann", "at": 5, "comment": "fine", "fields": {"amount": 3}, "votes": []}
APPROVED = Decision(outcome="approved", by="ann", at=5, comment="fine", fields={"amount": 3})


def link(id: str, approver: str, expires_at: int) -> str:
    return f"https://shop.example/{id}?for={approver}&until={expires_at}"


def step(*args: Any) -> Any:
    return list(args)


def _rehearsal(*fns: Callable[..., Any], **options: Any) -> Rehearsal:
    rehearsal = Rehearsal(links=link, **options)
    for fn in fns:
        rehearsal.registry.add(fn)
    return rehearsal


def _lived(rehearsal: Rehearsal, workflow: Callable[..., Any], answers: Mapping[str, Any]) -> Any:
    """Run to the end; approvals with an answer get it as soon as they exist, others time out."""
    if "r" not in rehearsal.machine.promises:
        rehearsal.begin("r", workflow)
    while rehearsal.promise("r").state is PromiseState.PENDING:
        for name, value in answers.items():
            row = rehearsal.machine.promises.get(f"r:@{name}")
            if row is not None and row.record.state is PromiseState.PENDING:
                rehearsal.settle(f"r:@{name}", value)
        assert rehearsal.proceed(), "the run waits for something that nobody settles"
    return rehearsal.finish("r")


@pytest.mark.parametrize("state", [PromiseState.REJECTED, PromiseState.CANCELED])
def test_an_approval_never_raises(state: PromiseState) -> None:
    """A promise rejected by an error or revoked is an outcome, not an exception."""

    def asks(ctx: Context) -> Any:
        return (yield (yield ctx.approval("manager")))

    rehearsal = _rehearsal(asks)
    rehearsal.begin("r", asks)
    rehearsal.proceed()
    rehearsal.settle("r:@manager", state=state)
    assert rehearsal.finish("r").outcome == ("rejected" if state is PromiseState.REJECTED else "revoked")


def test_the_three_forms_of_a_workflow_ask_alike() -> None:
    """`yield`, `yield from` and `await` give the same approval and the same decision."""

    def yields(ctx: Context) -> Any:
        approval = yield ctx.approval("manager")
        return [approval.id, (yield approval)]

    def delegates(ctx: Context) -> Any:
        approval = yield from ctx.approval("manager")
        return [approval.id, (yield from approval)]

    async def awaits(ctx: Context) -> Any:
        approval = await ctx.approval("manager")
        return [approval.id, await approval]

    for workflow in (yields, delegates, awaits):
        assert _lived(_rehearsal(workflow), workflow, {"manager": YES}) == ["r:@manager", APPROVED]


def test_a_step_receives_the_decision() -> None:
    """A decision and its votes cross the boundary as themselves, as an argument and as a result."""
    vote = Vote(by="ann", decision="approve", at=4)
    seen: list[Any] = []

    def inform(*args: Any) -> Any:
        seen.extend(args)
        return list(args)

    def asks(ctx: Context) -> Any:
        decision = yield (yield ctx.approval("manager"))
        return (yield ctx.run(inform, decision, decision.votes[0]))

    found = _lived(_rehearsal(asks), asks, {"manager": {**YES, "votes": [vote.document()]}})
    assert found == seen == [replace(APPROVED, votes=(vote,)), vote]


# In a run


def ordering(ctx: Context, *, days: int = 3) -> Any:
    approval = yield ctx.approval("manager", summary="Order 42", timeout=timedelta(days=days))
    yield ctx.run(step, approval.url)
    decision = yield approval
    yield ctx.run(step, decision)
    return decision


def escalating(ctx: Context) -> Any:
    decision = yield (yield ctx.approval("clerk", timeout=timedelta(days=1)))
    if decision.outcome == "timedout":
        boss = yield ctx.approval("boss", timeout=timedelta(days=2))
        yield ctx.run(step, boss.url)
        return [decision, (yield boss)]


def racing(ctx: Context) -> Any:
    approval = yield ctx.approval("manager")
    late = yield ctx.approval("nobody")
    winner = yield ctx.race(approval, ctx.sleep(10), late)
    yield ctx.run(step, 1)
    return [winner.position, winner.value, (yield late).outcome]


def overtaken(ctx: Context) -> Any:
    approval = yield ctx.approval("nobody")
    winner: Winner = yield ctx.race(approval, ctx.sleep(10))
    yield ctx.run(step, 1)
    return [winner.position, (yield approval).outcome]


def both(ctx: Context) -> Any:
    one = yield ctx.approval("manager", timeout=5)
    return (yield ctx.all(one, (yield ctx.approval("nobody", timeout=20))))


def nested(ctx: Context) -> Any:
    def inner(ctx: Context) -> Any:
        approval = yield ctx.approval("inner", timeout=5)
        return [approval.id, (yield approval)]

    return (yield ctx.run(inner))


START = Rehearsal().now
OUTCOMES: list[tuple[Callable[..., Any], Any]] = [
    (ordering, APPROVED),
    (
        escalating,
        [Decision(outcome="timedout", at=START + DAY), Decision(outcome="timedout", at=START + 3 * DAY)],
    ),
    (racing, [0, APPROVED, "revoked"]),
    (overtaken, [1, "revoked"]),
    (both, [APPROVED, Decision(outcome="timedout", at=START + 20_000)]),
    (nested, ["r:1.@inner", Decision(outcome="timedout", at=START + 5_000)]),
]


@pytest.mark.parametrize(("workflow", "expected"), OUTCOMES)
@pytest.mark.parametrize("keep", [True, False])
def test_live_equals_replayed(workflow: Callable[..., Any], expected: Any, keep: bool) -> None:
    """A generator that was kept and one that was replayed get the same decisions."""
    assert _lived(_rehearsal(workflow, keep=keep), workflow, {"manager": YES}) == expected


@pytest.mark.parametrize(("workflow", "expected"), OUTCOMES)
@pytest.mark.parametrize("point", ["groups_left", "bodies_left"])
def test_a_crash_changes_no_decision(workflow: Callable[..., Any], expected: Any, point: str) -> None:
    """Wherever the process dies, the run ends with the same outcome and no step that was stored is repeated."""
    for n in range(1, 20):
        rehearsal = _rehearsal(workflow)
        setattr(rehearsal, point, n)
        try:
            assert _lived(rehearsal, workflow, {"manager": YES}) == expected
            break
        except Crash:
            pass
        done = {id for id, (state, _) in rehearsal.records().items() if state != PromiseState.PENDING}
        setattr(rehearsal, point, None)
        rehearsal.bodies.clear()
        assert _lived(rehearsal, workflow, {"manager": YES}) == expected
        assert not done & set(rehearsal.bodies)
    else:
        raise AssertionError("20 crashes were not enough")


def test_the_promise_exists_before_the_mail_is_sent() -> None:
    """A step that comes later starts after the approval is stored: whoever clicks at once finds it."""
    found: list[Promise] = []
    rehearsal = Rehearsal(links=link)

    def send(url: str) -> None:
        found.append(rehearsal.promise("r:@manager"))

    def asks(ctx: Context) -> Any:
        approval = yield ctx.approval("manager")
        yield ctx.run(send, approval.url)
        return (yield approval)

    rehearsal.registry.add(asks)
    assert _lived(rehearsal, asks, {"manager": YES}) == APPROVED
    assert [promise.state for promise in found] == [PromiseState.PENDING]


@pytest.mark.parametrize("kill", [False, True])
def test_an_answer_before_the_wait_is_kept(kill: bool) -> None:
    """The approval is settled while the run is still busy with a step, which another process may have to repeat."""
    attempts: list[int] = []

    def flaky() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("not yet")

    def asks(ctx: Context) -> Any:
        approval = yield ctx.approval("manager")
        yield ctx.options(retry=Constant(60)).run(flaky)
        return (yield approval)

    simulation = Simulation(seed=3)
    clients = [simulation.client("p1"), simulation.client("p2")]
    for client in clients:
        client.register(asks)
    clients[0].begin_run("r", asks)
    simulation.run_until_idle()
    assert attempts == [1]
    clients[1].promises.resolve("r:@manager", YES)
    if kill:
        simulation.kill("p1")
    simulation.pass_time(120_000)
    assert clients[1].get("r").result() == APPROVED
    simulation.close()


def test_an_approval_that_nobody_awaits_is_revoked_with_the_end() -> None:
    """The run ends without waiting for it, and its page learns in the same group that it is over."""

    def asks(ctx: Context) -> Any:
        yield ctx.approval("manager")
        return "done"

    rehearsal = _rehearsal(asks)
    assert rehearsal.run("r", asks) == "done"
    assert rehearsal.promise("r:@manager").state is PromiseState.CANCELED
    fences = [request.action for request in rehearsal.sent if isinstance(request, TaskFence)]
    assert [type(action) for action in fences] == [PromiseCreate, PromiseSettle]
    assert decided(rehearsal.promise("r:@manager")).outcome == "revoked"


# The code changes


def _changed(before: Callable[[Context], Any], after: Callable[[Context], Any]) -> Rehearsal:
    """Run `before` until it waits; from then on the code is `after`."""
    code = [before]

    def asks(ctx: Context) -> Any:
        return (yield (yield code[0](ctx)))

    rehearsal = _rehearsal(asks)
    rehearsal.begin("r", asks)
    rehearsal.proceed()
    code[0] = after
    rehearsal.settle("r:@manager", YES)
    return rehearsal


@pytest.mark.parametrize(
    "wording", [{"summary": "new"}, {"timeout": 5}, {"comment": "required"}, {"fields": ["amount"]}]
)
def test_a_question_may_be_worded_anew(wording: dict[str, Any]) -> None:
    """Runs under way keep the question that was asked; the code that words it otherwise is not refused."""
    rehearsal = _changed(
        lambda ctx: ctx.approval("manager", summary="old"), lambda ctx: ctx.approval("manager", **wording)
    )
    before = rehearsal.promise("r:@manager")
    assert rehearsal.finish("r") == APPROVED
    assert rehearsal.promise("r:@manager") == before


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ({"approvers": ["ann", "eve"]}, "approvers"),
        ({"approvers": ["ann", "bob"], "quorum": 2}, "quorum"),
        ({"approvers": ["ann", "bob"], "require_login": True}, "require_login"),
        ({}, "approvers"),
    ],
)
def test_who_may_answer_does_not_change_silently(rules: dict[str, Any], names: str) -> None:
    """Links that went out under other rules would decide: the run is blocked, unless it asks not to be checked."""

    def before(ctx: Context) -> Any:
        return ctx.approval("manager", approvers=["ann", "bob"])

    reason = f"^NonDeterminism at r:@manager: recorded: approval 'manager' with other rules than now: {names}$"
    with pytest.raises(Refused, match=reason):
        _changed(before, lambda ctx: ctx.approval("manager", **rules)).finish("r")
    unchecked = _changed(before, lambda ctx: ctx.options(check_args=False).approval("manager", **rules))
    assert unchecked.finish("r") == APPROVED


def test_a_promise_does_not_become_an_approval() -> None:
    """Their values differ, and so do those who may settle them."""

    def promise(ctx: Context) -> Any:
        return ctx.promise("manager")

    def approval(ctx: Context) -> Any:
        return ctx.approval("manager")

    with pytest.raises(Refused, match="recorded: promise 'manager'; now: approval 'manager'"):
        _changed(promise, approval).finish("r")
    with pytest.raises(Refused, match="recorded: approval 'manager'; now: promise 'manager'"):
        _changed(approval, promise).finish("r")


def test_links_fail_where_there_is_no_web_app() -> None:
    """Without a gateway the question can be asked; only its address cannot be told."""

    def asks(ctx: Context) -> Any:
        approval: Approval = yield ctx.approval("manager")
        return approval.url

    rehearsal = Rehearsal()
    rehearsal.registry.add(asks)
    with pytest.raises(ApplicationError, match=r"r:@manager has no link: .*web app bound to this Resonate.*BASE_URL"):
        rehearsal.run("r", asks)
