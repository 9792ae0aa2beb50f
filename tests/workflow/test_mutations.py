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

from resonate_web.testing.rehearsal import Crash, Rehearsal, Refused
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


# The effects of the original, in order; the first k of them belong to the first k checkpoints of the run itself.
STEPS = ["validate", "reserve", "charge", "mail", "mail", "confirm"]


@dataclass(frozen=True)
class Change:
    """`detected`: crash points (number of stored steps) from which the change is refused, None for none.

    `names`: what the refusal says. `why`: the reason why it is harmless everywhere else.
    """

    code: Callable[..., Any]
    first: int | None
    names: str
    why: str


def _change(first: int | None, names: str, why: str) -> Callable[[Callable[..., Any]], Change]:
    return lambda code: Change(code, first, names, why)


NEW = "the run had not come that far: it does what the new code says"
CHANGES: dict[str, Change] = {}


def change(first: int | None, names: str = "", why: str = NEW) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def note(code: Callable[..., Any]) -> Callable[..., Any]:
        CHANGES[code.__name__] = Change(code, first, names, why)
        return code

    return note


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


def _mutation(first: int | None, names: str = "", why: str = NEW, **other: Any) -> Callable[..., Any]:
    def make(name: str) -> None:
        def code(ctx: Context, order: int) -> Any:
            return (yield from _body(ctx, order, **other))

        CHANGES[name] = Change(code, first, names, why)

    return make


# Crash points are counted in stored steps of STEPS: 1 after validate, 2 after reserve, 3 after charge (the sleep and
# the promise follow), 4 after mail, 5 after notify, 6 after confirm. The rpc is stored before charge starts: with 2.

# Reordered
_mutation(1, "validate", order_of_lines=(1, 0, *range(2, 10)))("first two steps swapped")
_mutation(2, "rpc", order_of_lines=(0, 1, 3, 2, *range(4, 10)))("charge before the shipping starts")
_mutation(3, "sleep", order_of_lines=(0, 1, 2, 3, 5, 6, 4, 7, 8, 9))("mail before the sleep")
_mutation(5, "notify", order_of_lines=(0, 1, 2, 3, 4, 5, 7, 6, 8, 9))("notify before mail, which is named so too")
_mutation(None, why="a named promise has no place in the order", order_of_lines=(0, 1, 2, 3, 5, 4, 6, 7, 8, 9))(
    "promise before the sleep"
)
_mutation(None, why="awaiting creates nothing", order_of_lines=(0, 1, 2, 3, 4, 5, 6, 8, 7, 9))("shipping awaited earlier")
_mutation(6, "confirm", order_of_lines=(0, 1, 2, 3, 4, 5, 6, 9, 7, 8))("confirm before notify")
# Removed
_mutation(1, "validate", at0=_skip)("validate removed")
_mutation(2, "reserve", at1=_at(lambda ctx, v: ctx.all(), "hold"))("reserve removed")
_mutation(2, "rpc", at2=_at(lambda ctx, v: ctx.all(), "shipping"), at8=_skip)("shipping removed")
_mutation(3, "charge", at3=_skip)("charge removed")
_mutation(3, "sleep", at4=_skip)("sleep removed")
_mutation(3, "@approved", at5=_at(lambda ctx, v: ctx.all(), "approved"), at6=_at(lambda ctx, v: ctx.run(mail, "r:@approved")))(
    "promise removed"
)
_mutation(4, "mail", at6=_skip)("mail removed")
_mutation(5, "notify", at7=_skip)("notify removed")
_mutation(6, "confirm", at9=_skip)("confirm removed")
_mutation(None, why="structured concurrency awaits it anyway", at8=_skip)("await of the shipping removed")
# Renamed
_mutation(3, "charge_card", at3=_at(lambda ctx, v: ctx.run(renamed, v["hold"], amount=7)))("charge renamed")
_mutation(1, "audit", at0=_at(lambda ctx, v: ctx.run(audit, 1)))("validate replaced")
_mutation(2, "notify", at2=_at(lambda ctx, v: ctx.begin_rpc(notify, 1), "shipping"))("another rpc")
_mutation(3, "@approved", at5=_at(lambda ctx, v: ctx.promise("agreed", timeout=30), "approved"))("promise renamed")
_mutation(5, "ship", at7=_at(lambda ctx, v: ctx.run(ship, 1)))("another local workflow")
# Inserted
_mutation(1, "audit", before0=_at(lambda ctx, v: ctx.run(audit)))("step inserted at the start")
_mutation(2, "audit", before1=_at(lambda ctx, v: ctx.run(audit)))("step inserted before reserve")
_mutation(3, "audit", before4=_at(lambda ctx, v: ctx.run(audit)))("step inserted before the sleep")
_mutation(6, "audit", before9=_at(lambda ctx, v: ctx.run(audit)))("step inserted before confirm")
_mutation(3, "time.time", before3=_at(lambda ctx, v: ctx.time.time()))("clock read inserted before charge")
_mutation(3, "random.random", before4=_at(lambda ctx, v: ctx.random.random()))("dice inserted before the sleep")
_mutation(3, "sleep", before3=_at(lambda ctx, v: ctx.sleep(1)))("sleep inserted before charge")
_mutation(3, "detached", before3=_at(lambda ctx, v: ctx.detached(notify, 1)))("detached run inserted before charge")
_mutation(None, why="a named promise uses no number and nobody awaits it", before3=_at(lambda ctx, v: ctx.promise("extra")))(
    "named promise inserted"
)
_mutation(3, "promise", before3=_at(lambda ctx, v: ctx.promise()))("unnamed promise inserted")
_mutation(3, "race", before3=_at(lambda ctx, v: ctx.race(ctx.sleep(1), ctx.sleep(2))))("race inserted")
# Changed arguments
_mutation(1, "other arguments", at0=_at(lambda ctx, v: ctx.run(validate, 2)))("validate with another argument")
_mutation(3, "other arguments", at3=_at(lambda ctx, v: ctx.run(charge, v["hold"], amount=8)))("charge of another amount")
_mutation(2, "other arguments", at2=_at(lambda ctx, v: ctx.begin_rpc(ship, 2), "shipping"))("shipping of another order")
_mutation(5, "other arguments", at7=_at(lambda ctx, v: ctx.run(notify, 2)))("notify with another argument")
_mutation(
    None, why="asked for: arguments are not compared",
    at3=_at(lambda ctx, v: ctx.options(check_args=False).run(charge, v["hold"], amount=8)),
)("charge of another amount, unchecked")  # fmt: skip
# Changed kinds
_mutation(1, "rpc", at0=_at(lambda ctx, v: ctx.rpc(ship, 1)))("a step becomes an rpc")
_mutation(2, "step", at2=_at(lambda ctx, v: ctx.begin_run(audit, 1), "shipping"))("an rpc becomes a step")
_mutation(2, "detached", at2=_at(lambda ctx, v: ctx.detached(ship, 1), "shipping"))("an rpc becomes detached")
_mutation(5, "rpc", at7=_at(lambda ctx, v: ctx.rpc(notify, 1)))("a local workflow becomes an rpc")
_mutation(3, "promise", at4=_at(lambda ctx, v: ctx.promise(timeout=60)))("a sleep becomes a promise")
# Changed options
_mutation(None, why="what was stored keeps its instant", at4=_at(lambda ctx, v: ctx.sleep(timedelta(seconds=1))))(
    "another duration"
)
_mutation(None, why="options are no part of a step's identity", at3=_at(
    lambda ctx, v: ctx.options(retry=Constant(1), timeout=99, announce=True).run(charge, v["hold"], amount=7)
))("other options of charge")  # fmt: skip
_mutation(None, why="begun and awaited is the same as run", at3=_at(lambda ctx, v: ctx.all(ctx.run(charge, v["hold"], amount=7))))(
    "charge within all"
)
_mutation(None, why="what was stored keeps its deadline", at5=_at(lambda ctx, v: ctx.promise("approved", timeout=90), "approved"))(
    "another deadline of the promise"
)


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


_mutation(3, "refund", at3=_branch)("branch on the environment")
_mutation(3, "charge", before3=_raise, why=NEW)("gives up before charge")
_mutation(6, "confirm", before9=_raise, why=NEW)("gives up before confirm")
CHANGES["returns after reserve"] = Change(_return_early, 2, "rpc", NEW)
_mutation(None, why="it is the original")("unchanged")


def _rehearsal(code: Callable[..., Any]) -> Rehearsal:
    rehearsal = Rehearsal()
    for fn in (ship, notify):
        rehearsal.registry.add(fn)
    rehearsal.registry.add(code, name="order")
    return rehearsal


def _history(stored: int) -> Rehearsal:
    """Run the original until that many of its own steps are stored, and crash."""
    EFFECTS.clear()
    rehearsal = _rehearsal(original)
    rehearsal.begin("r", original, 1)
    if stored == 0:
        return rehearsal
    for groups in range(1, 99):
        attempt = Rehearsal(
            registry=rehearsal.registry, machine=rehearsal.machine.copy(), now=rehearsal.now, groups_left=groups
        )
        try:
            attempt.finish("r")
        except Crash:
            pass
        done = [id for id, row in attempt.machine.promises.items() if _is_step(id) and row.record.state != "pending"]
        if len(done) >= stored and (stored != 2 or "r:3" in attempt.machine.promises):
            EFFECTS.clear()
            return attempt
    raise AssertionError(f"{stored} steps are never stored")


def _is_step(id: str) -> bool:
    return id in ("r:1", "r:2", "r:4", "r:6", "r:7", "r:8")


@pytest.mark.parametrize("stored", range(7))
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_detected_or_harmless(name: str, stored: int) -> None:
    """From every crash point: refused with step, recorded and new command, or ended as the table says."""
    change = CHANGES[name]
    ENVIRONMENT["branch"] = True
    before = _history(stored)
    if before.promise("r").state != "pending":
        pytest.fail("the crash came too late")
    changed = _rehearsal(change.code)
    changed.machine, changed.now = before.machine, before.now
    stored_steps = set(STEPS[:stored])
    if change.first is not None and stored >= change.first:
        with pytest.raises(Refused) as refused:
            changed.finish("r")
        reason = str(refused.value)
        assert reason.startswith("NonDeterminism at r:")
        assert "recorded: " in reason
        assert "now: " in reason or "than now" in reason
        assert change.names in reason
        mine = [e for e in EFFECTS if e != "audit" or change.names == "audit"]
        assert set(mine) <= stored_steps | {"mail"}, "a body was started before the change was noticed"
        # The fixed code continues.
        fixed = _rehearsal(original)
        fixed.machine, fixed.now = changed.machine, changed.now
        assert fixed.finish("r") == ["confirm", 1]
        return
    try:
        outcome = changed.finish("r")
    except ValueError as error:
        outcome = str(error)
    assert outcome in (["confirm", 1], None, "early", "the new code gives up")
    again = [effect for effect in EFFECTS if effect in stored_steps - {"mail"}]
    assert again == [], "a stored step was started again"


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
