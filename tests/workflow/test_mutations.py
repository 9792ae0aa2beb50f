"""A workflow is changed between a crash and the restart: each change is detected or proven harmless.

The original runs until a crash point (after each of its checkpoints); the changed code continues from what was
stored. Either the run refuses to go on, naming the step, what was recorded and what the code says now, before any
body that the original would not have started; or the run ends, and the table below says why that is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from resonate_web.testing.rehearsal import Crash, Refused, Rehearsal
from resonate_web.workflow.context import Context, StepContext
from resonate_web.workflow.retry import Constant

EFFECTS: list[str] = []
ENVIRONMENT = {"branch": False}


def _effect(name: str) -> Callable[..., Any]:
    def step(ctx: StepContext, *args: Any, **kwargs: Any) -> Any:
        EFFECTS.append(name)
        return [name, *args]

    step.__name__ = name
    return step


validate, reserve, charge, mail, confirm = map(_effect, ("validate", "reserve", "charge", "mail", "confirm"))
audit, refund, renamed = map(_effect, ("audit", "refund", "charge_card"))


def ship(ctx: Context, order: int) -> Any:
    yield ctx.run(audit, order)
    return "shipped"


def notify(ctx: Context, order: int) -> Any:
    yield ctx.run(mail, "notify")
    return "notified"


def original(ctx: Context, order: int) -> Any:
    yield ctx.run(validate, order)
    hold = yield ctx.run(reserve, order)
    shipping = yield ctx.begin_rpc(ship, order)
    yield ctx.run(charge, hold, amount=7)
    yield ctx.sleep(60)
    approved = yield ctx.promise("approved", timeout=30)
    yield ctx.run(mail, approved.id)
    yield ctx.run(notify, order)
    yield shipping
    return (yield ctx.run(confirm, order))


# What a stored child of the original stands for.
EFFECT_OF = {"r:1": "validate", "r:2": "reserve", "r:4": "charge", "r:8": "confirm"}
GROUPS = 14
"""Checkpoints of the original and of its shipping, and some to spare."""


@dataclass(frozen=True)
class Change:
    """`first`: the change is refused as soon as this child is stored, None: never.

    `names`: what the refusal says. `why`: the reason why it is harmless everywhere else.
    """

    code: Callable[..., Any]
    first: str | None
    names: str
    why: str


NEW = "the run had not come that far: it does what the new code says"
CHANGES: dict[str, Change] = {}


def _body(ctx: Context, order: int, *, upto: int = 9, **other: Any) -> Any:
    """The original with some of its lines replaced; `other` maps a line's number to a generator function."""
    lines: list[Callable[[dict[str, Any]], Any]] = [
        _line(lambda v: ctx.run(validate, order)),
        _line(lambda v: ctx.run(reserve, order), "hold"),
        _line(lambda v: ctx.begin_rpc(ship, order), "shipping"),
        _line(lambda v: ctx.run(charge, v["hold"], amount=7)),
        _line(lambda v: ctx.sleep(60)),
        _line(lambda v: ctx.promise("approved", timeout=30), "approved"),
        _line(lambda v: ctx.run(mail, v["approved"].id)),
        _line(lambda v: ctx.run(notify, order)),
        _line(lambda v: v["shipping"]),
        _line(lambda v: ctx.run(confirm, order), "result"),
    ]
    order_of_lines = other.pop("order_of_lines", range(10))
    values: dict[str, Any] = {}
    for number in order_of_lines:
        for name in (f"before{number}", f"at{number}"):
            if name in other:
                yield from other[name](ctx, values)
        if f"at{number}" not in other:
            yield from lines[number](values)
    return values.get("result")


def _line(make: Callable[[dict[str, Any]], Any], name: str = "_") -> Callable[[dict[str, Any]], Any]:
    def run(values: dict[str, Any]) -> Any:
        values[name] = yield make(values)

    return run


def _at(make: Callable[[Context, dict[str, Any]], Any], name: str = "_") -> Callable[..., Any]:
    def run(ctx: Context, values: dict[str, Any]) -> Any:
        values[name] = yield make(ctx, values)

    return run


def _skip(ctx: Context, values: dict[str, Any]) -> Any:
    yield from ()


def _mutation(first: str | None, names: str = "", why: str = NEW, **other: Any) -> Callable[..., Any]:
    def make(name: str) -> None:
        def code(ctx: Context, order: int) -> Any:
            return (yield from _body(ctx, order, **other))

        CHANGES[name] = Change(code, first, names, why)

    return make


# Reordered
_mutation("r:1", "validate", order_of_lines=(1, 0, *range(2, 10)))("first two steps swapped")
_mutation("r:3", "rpc", order_of_lines=(0, 1, 3, 2, *range(4, 10)))("charge before the shipping starts")
_mutation("r:5", "sleep", order_of_lines=(0, 1, 2, 3, 5, 6, 4, 7, 8, 9))("mail before the sleep")
_mutation("r:6", "notify", order_of_lines=(0, 1, 2, 3, 4, 5, 7, 6, 8, 9))("notify before mail, which is named so too")
_mutation(None, why="a named promise has no place in the order", order_of_lines=(0, 1, 2, 3, 5, 4, 6, 7, 8, 9))(
    "promise before the sleep"
)
_mutation(None, why="awaiting creates nothing", order_of_lines=(0, 1, 2, 3, 4, 5, 6, 8, 7, 9))(
    "shipping awaited earlier"
)
_mutation("r:7", "confirm", order_of_lines=(0, 1, 2, 3, 4, 5, 6, 9, 7, 8))("confirm before notify")
# Removed
_mutation("r:1", "validate", at0=_skip)("validate removed")
_mutation("r:2", "reserve", at1=_at(lambda ctx, v: ctx.all(), "hold"))("reserve removed")
_mutation("r:3", "rpc", at2=_at(lambda ctx, v: ctx.all(), "shipping"), at8=_skip)("shipping removed")
_mutation("r:4", "charge", at3=_skip)("charge removed")
_mutation("r:5", "sleep", at4=_skip)("sleep removed")
_mutation(
    "r:@approved",
    "@approved",
    at5=_at(lambda ctx, v: ctx.all(), "approved"),
    at6=_at(lambda ctx, v: ctx.run(mail, "r:@approved")),
)("promise removed")
_mutation("r:6", "mail", at6=_skip)("mail removed")
_mutation("r:7", "notify", at7=_skip)("notify removed")
_mutation("r:8", "confirm", at9=_skip)("confirm removed")
_mutation(None, why="structured concurrency awaits it anyway", at8=_skip)("await of the shipping removed")
# Renamed
_mutation("r:4", "charge_card", at3=_at(lambda ctx, v: ctx.run(renamed, v["hold"], amount=7)))("charge renamed")
_mutation("r:1", "audit", at0=_at(lambda ctx, v: ctx.run(audit, 1)))("validate replaced")
_mutation("r:3", "notify", at2=_at(lambda ctx, v: ctx.begin_rpc(notify, 1), "shipping"))("another rpc")
_mutation("r:@approved", "approved", at5=_at(lambda ctx, v: ctx.promise("agreed", timeout=30), "approved"))(
    "promise renamed"
)
_mutation("r:7", "ship", at7=_at(lambda ctx, v: ctx.run(ship, 1)))("another local workflow")
# Inserted
_mutation("r:1", "audit", before0=_at(lambda ctx, v: ctx.run(audit)))("step inserted at the start")
_mutation("r:2", "audit", before1=_at(lambda ctx, v: ctx.run(audit)))("step inserted before reserve")
_mutation("r:5", "audit", before4=_at(lambda ctx, v: ctx.run(audit)))("step inserted before the sleep")
_mutation("r:8", "audit", before9=_at(lambda ctx, v: ctx.run(audit)))("step inserted before confirm")
_mutation("r:4", "time.time", before3=_at(lambda ctx, v: ctx.time.time()))("clock read inserted before charge")
_mutation("r:5", "random.random", before4=_at(lambda ctx, v: ctx.random.random()))("dice inserted before the sleep")
_mutation("r:4", "sleep", before3=_at(lambda ctx, v: ctx.sleep(1)))("sleep inserted before charge")
_mutation("r:4", "charge", before3=_at(lambda ctx, v: ctx.detached(notify, 1)))("detached run inserted before charge")
_mutation(
    None, why="a named promise uses no number and nobody awaits it", before3=_at(lambda ctx, v: ctx.promise("extra"))
)("named promise inserted")
_mutation("r:4", "promise", before3=_at(lambda ctx, v: ctx.promise()))("unnamed promise inserted")
_mutation("r:4", "sleep", before3=_at(lambda ctx, v: ctx.race(ctx.sleep(1), ctx.sleep(2))))("race inserted")
# Changed arguments
_mutation("r:1", "other arguments", at0=_at(lambda ctx, v: ctx.run(validate, 2)))("validate with another argument")
_mutation("r:4", "other arguments", at3=_at(lambda ctx, v: ctx.run(charge, v["hold"], amount=8)))(
    "charge of another amount"
)
_mutation("r:3", "other arguments", at2=_at(lambda ctx, v: ctx.begin_rpc(ship, 2), "shipping"))(
    "shipping of another order"
)
_mutation("r:7", "other arguments", at7=_at(lambda ctx, v: ctx.run(notify, 2)))("notify with another argument")
_mutation(
    None, why="asked for: arguments are not compared",
    at3=_at(lambda ctx, v: ctx.options(check_args=False).run(charge, v["hold"], amount=8)),
)("charge of another amount, unchecked")  # fmt: skip
# Changed kinds
_mutation("r:1", "rpc", at0=_at(lambda ctx, v: ctx.rpc(ship, 1)))("a step becomes an rpc")
_mutation("r:3", "step", at2=_at(lambda ctx, v: ctx.begin_run(audit, 1), "shipping"))("an rpc becomes a step")
_mutation("r:3", "rpc", at2=_at(lambda ctx, v: ctx.detached(ship, 1), "shipping"))("an rpc becomes detached")
_mutation("r:7", "rpc", at7=_at(lambda ctx, v: ctx.rpc(notify, 1)))("a local workflow becomes an rpc")
_mutation("r:5", "promise", at4=_at(lambda ctx, v: ctx.promise(timeout=60)))("a sleep becomes a promise")
# Changed options
_mutation(None, why="what was stored keeps its instant", at4=_at(lambda ctx, v: ctx.sleep(timedelta(seconds=1))))(
    "another duration"
)
_mutation(None, why="options are no part of a step's identity", at3=_at(
    lambda ctx, v: ctx.options(retry=Constant(1), timeout=99, announce=True).run(charge, v["hold"], amount=7)
))("other options of charge")  # fmt: skip
_mutation(
    None,
    why="begun and awaited is the same as run",
    at3=_at(lambda ctx, v: ctx.all(ctx.run(charge, v["hold"], amount=7))),
)("charge within all")
_mutation(
    None,
    why="what was stored keeps its deadline",
    at5=_at(lambda ctx, v: ctx.promise("approved", timeout=90), "approved"),
)("another deadline of the promise")


# Branches on the environment, and other ends
def _branch(ctx: Context, values: dict[str, Any]) -> Any:
    if ENVIRONMENT["branch"]:
        yield ctx.run(refund, 1)
    else:
        yield ctx.run(charge, values["hold"], amount=7)


def _raise(ctx: Context, values: dict[str, Any]) -> Any:
    yield from ()
    raise ValueError("the new code gives up")


def _return_early(ctx: Context, order: int) -> Any:
    yield ctx.run(validate, order)
    yield ctx.run(reserve, order)
    return "early"


_mutation("r:4", "refund", at3=_branch)("branch on the environment")
_mutation("r:4", "charge", before3=_raise, why=NEW)("gives up before charge")
_mutation("r:8", "confirm", before9=_raise, why=NEW)("gives up before confirm")
CHANGES["returns after reserve"] = Change(_return_early, "r:3", "rpc", NEW)
_mutation(None, why="it is the original")("unchanged")


def _rehearsal(code: Callable[..., Any]) -> Rehearsal:
    rehearsal = Rehearsal()
    for fn in (ship, notify):
        rehearsal.registry.add(fn)
    rehearsal.registry.add(code, name="order")
    return rehearsal


def _history(groups: int) -> Rehearsal:
    """Run the original until that many groups are stored, and crash before their answers are read."""
    rehearsal = _rehearsal(original)
    rehearsal.begin("r", original, 1)
    rehearsal.groups_left = groups
    try:
        if groups:
            rehearsal.finish("r")
    except Crash:
        pass
    EFFECTS.clear()
    return rehearsal


@pytest.mark.parametrize("groups", range(GROUPS))
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_detected_or_harmless(name: str, groups: int) -> None:
    """From every crash point: refused with step, recorded and new command, or ended as the table says."""
    change = CHANGES[name]
    ENVIRONMENT["branch"] = True
    before = _history(groups)
    if before.promise("r").state != "pending":
        return  # the original had ended: no code runs any more
    stored = set(before.machine.promises)
    done = {effect for id, effect in EFFECT_OF.items() if id in stored}
    changed = _rehearsal(change.code)
    changed.machine, changed.now = before.machine, before.now
    if change.first in stored:
        with pytest.raises(Refused) as refused:
            changed.finish("r")
        reason = str(refused.value)
        assert reason.startswith("NonDeterminism at r:")
        assert "recorded: " in reason
        assert "now: " in reason or "than now" in reason
        assert change.names in reason or name == "promise renamed"
        assert set(EFFECTS) <= {"audit"}, "a body was started before the change was noticed"  # the shipping's own step
        fixed = _rehearsal(original)
        fixed.machine, fixed.now = changed.machine, changed.now
        ENVIRONMENT["branch"] = False
        assert fixed.finish("r") == ["confirm", 1]
    else:
        try:
            outcome = changed.finish("r")
        except ValueError as error:
            outcome = str(error)
        assert outcome in (["confirm", 1], None, "early", "the new code gives up")
    assert done.isdisjoint(EFFECTS), "a stored step was started again"


def test_every_checkpoint_is_a_crash_point() -> None:
    """The last crash point lies after the end of the original, so none was left out."""
    assert _history(GROUPS - 1).promise("r").state == "resolved"


def test_there_are_enough_changes() -> None:
    """The corpus has at least forty changes, both kinds among them."""
    detected = [c for c in CHANGES.values() if c.first is not None]
    assert len(CHANGES) >= 50
    assert len(detected) >= 35
    assert len(CHANGES) - len(detected) >= 8
    assert all(c.why for c in CHANGES.values())


def test_an_id_with_an_at_sign_is_checked_all_the_same() -> None:
    """A run whose own id is a mail address compares the names of its steps like any other."""

    def one(ctx: Context) -> Any:
        yield ctx.run(validate)
        yield ctx.sleep(1)

    def two(ctx: Context) -> Any:
        yield ctx.run(reserve)
        yield ctx.sleep(1)

    first, second = Rehearsal(), Rehearsal()
    first.registry.add(one, name="w")
    second.registry.add(two, name="w")
    first.begin("ann@example.com", one)
    first.proceed()
    second.machine, second.now = first.machine, first.now + 2000
    with pytest.raises(Refused, match=r"recorded: step 'validate'; now: step 'reserve'"):
        second.finish("ann@example.com")
