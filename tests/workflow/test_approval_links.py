"""Links to approvals: whose they are, how long they are good, and that new keys do not disturb a replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonate_web import Decision, Never, WrongCall
from resonate_web.clock import FOREVER
from resonate_web.gateway.signing import Signer
from resonate_web.testing.rehearsal import Refused, Rehearsal
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.context import Context
from resonate_web.workflow.links import expires_at, steady

DAY = 24 * 3600 * 1000
START = Rehearsal().now


def link(id: str, approver: str, until: int) -> str:
    return f"{id} {approver or '-'} {until}"


def signed(key: str, base: str = "https://shop.example") -> Callable[[str, str, int], str]:
    """Return links as a gateway signs them."""
    signer = Signer(lambda: [key.encode() * 32])
    return lambda id, approver, until: f"{base}/approvals/{signer.token('approval', f'{id} {approver}', until)}"


def step(*args: Any, **more: Any) -> Any:
    return [*args, more]


def child(ctx: Context, *args: Any, **more: Any) -> Any:
    yield ctx.sleep(1)
    return [*args, more]


def _run(fn: Callable[..., Any], **options: Any) -> Any:
    rehearsal = Rehearsal(links=link)
    rehearsal.registry.add(fn)
    return rehearsal.run("r", fn, **options)


def _ask(**rules: Any) -> dict[str, str]:
    """Return what each way of asking for a link gives: the link, or the error."""

    def asks(ctx: Context) -> Any:
        approval = yield ctx.approval("manager", timeout=1, **rules)
        found = {"name": approval.name}
        for who in ("", "ann", "eve"):
            try:
                found[who] = approval.url_for(who) if who else approval.url
            except WrongCall as error:
                found[who] = str(error)
        return found

    return dict(_run(asks))


def test_who_has_which_link() -> None:
    """One link for whoever gets it, one for each approver, or one link where the login tells who it is."""
    until = START + 1000 + 90 * DAY
    assert _ask() == {
        "name": "manager",
        "": f"r:@manager - {until}",
        "ann": "'ann' is no approver of r:@manager: it was made without approvers=",
        "eve": "'eve' is no approver of r:@manager: it was made without approvers=",
    }
    assert _ask(approvers=["ann", "bob"]) == {
        "name": "manager",
        "": "each approver of r:@manager has a link of their own: use approval.url_for(approver)",
        "ann": f"r:@manager ann {until}",
        "eve": "'eve' is no approver of r:@manager: 'ann', 'bob'",
    }
    known = _ask(approvers=["ann"], require_login=True)
    assert (known[""], known["ann"]) == (f"r:@manager - {until}", f"r:@manager ann {until}")


def test_a_link_outlives_its_deadline() -> None:
    """90 days after a deadline, 400 days where there is none: derived from the deadline alone."""
    assert expires_at(START + 3 * DAY) == START + 93 * DAY
    assert expires_at(START + FOREVER) == START + 400 * DAY
    assert expires_at(START + 30 * 365 * DAY) == START + (30 * 365 + 90) * DAY


def test_a_link_made_in_the_third_year_of_a_run_works() -> None:
    """Without a deadline of its own an approval counts from when it was asked; a deadline of the run bounds it."""

    def asks(ctx: Context) -> Any:
        yield ctx.sleep(2 * 365 * 24 * 3600)
        approval = yield ctx.approval("manager")
        return int(approval.url.split()[-1])

    assert _run(asks) == START + (2 * 365 + 400) * DAY
    assert _run(asks, timeout_ms=3 * 365 * DAY) == START + (3 * 365 + 90) * DAY


# Other keys, another base URL


def mailing(ctx: Context) -> Any:
    one = yield ctx.approval("one")
    two = yield ctx.approval("two")
    first, second = (two, one) if ctx.get_dependency("swapped") == "run" else (one, two)
    yield ctx.run(step, first.url)
    yield ctx.run(step, f"Dear A,\nplease look at {one.url}, or at <a href='{two.url}'>this</a>.", kind=[two.url])
    first, second = (two, one) if ctx.get_dependency("swapped") == "rpc" else (one, two)
    yield ctx.rpc(child, f'say "{first.url}"', to=second.url)
    return (yield one)


def _mailed() -> Rehearsal:
    """Run until all mails went out and the run waits for the answer."""
    rehearsal = Rehearsal(links=signed("a"), dependencies={"swapped": ""})
    for fn in (mailing, child):
        rehearsal.registry.add(fn)
    rehearsal.begin("r", mailing)
    while rehearsal.proceed():
        pass
    rehearsal.settle("r:@one", True)
    return rehearsal


@pytest.mark.parametrize("links", [signed("b"), signed("a", "http://localhost:8000/app"), signed("c", "https://ü.de")])
def test_other_keys_and_another_base_are_no_other_arguments(links: Callable[..., str]) -> None:
    """Steps and runs that were given a link before the keys were rotated are met again."""
    rehearsal = _mailed()
    rehearsal.links = links
    rehearsal.bodies.clear()
    assert rehearsal.finish("r").approved
    assert rehearsal.bodies == []


def test_another_expiry_is_no_other_argument() -> None:
    """The deadline is a part of the link, and not of what it is for."""
    rehearsal = _mailed()
    again = signed("a")
    rehearsal.links = lambda id, approver, until: again(id, approver, until + 5)
    assert rehearsal.finish("r").approved


@pytest.mark.parametrize(("swapped", "where"), [("run", "r:1: recorded: step"), ("rpc", "r:3: recorded: rpc")])
def test_the_link_of_another_approval_is_another_argument(swapped: str, where: str) -> None:
    """What a link is for is compared as every argument is."""
    rehearsal = _mailed()
    rehearsal.links = signed("b")
    rehearsal.dependencies["swapped"] = swapped
    with pytest.raises(Refused, match=f"NonDeterminism at {where} .* with other arguments than now"):
        rehearsal.finish("r")


@pytest.mark.parametrize("approver", ["bob", ""])
def test_the_link_of_another_approver_is_another_argument(approver: str) -> None:
    """A mail to somebody else is not the mail that was sent."""
    one, other = signed("a")("r:@m", "ann", 5), signed("a")("r:@m", approver, 5)
    assert steady(one) != steady(other)


def test_the_next_try_of_a_run_keeps_the_mails() -> None:
    """`retry` copies steps whose arguments name the approval of the first try."""
    works: list[bool] = []

    def part() -> None:
        if not works:
            raise RuntimeError("not yet")

    def asks(ctx: Context) -> Any:
        approval = yield ctx.approval("manager", approvers=["ann"])
        yield ctx.run(step, f"see {approval.url_for('ann')}")
        decision = yield approval
        yield ctx.options(retry=Never()).run(part)
        return decision

    simulation = Simulation(seed=1)
    client = simulation.client()
    client.register(asks)
    client.ensure_started()
    client.options(timeout=5).links = signed("a")  # a web app comes late, and binds a copy of the client
    handle = client.begin_run("r", asks)
    simulation.run_until_idle()
    said = Decision(outcome="approved", by="ann", at=5)
    client.promises.resolve("r:@manager", said)
    simulation.run_until_idle()
    with pytest.raises(RuntimeError):
        handle.result()
    works.append(True)
    again = client.retry("r")
    simulation.run_until_idle()
    assert (again.id, again.result()) == ("r~2", said)
    simulation.close()


@pytest.mark.parametrize("before", ["", "see ", "\\n", '"', "<", "a/b "])
@pytest.mark.parametrize("after", ["", ".", '"', " ", "-x", "\\n"])
def test_what_stands_around_a_link_stays(before: str, after: str) -> None:
    """Only the link itself is read as what it is for, also where texts follow closely."""
    texts = [f"{before}{make('r:@m', 'ann', 5)}{after}" for make in (signed("a"), signed("b", "http://x/y"))]
    assert texts[0] != texts[1]
    assert [steady(text) for text in texts] == [f"{before}approval:r:@m ann{after}"] * 2


def test_several_links_close_together() -> None:
    """Each is read by itself, and one without a scheme is taken up to the space before it."""
    make = signed("a")
    text = f"{make('r:@a', '', 5)},{make('r:@b', '', 6)} shop.example{make('r:@c', '', 7).partition('example')[2]}"
    assert steady(text) == "approval:r:@a ,approval:r:@b  approval:r:@c "


@pytest.mark.parametrize(
    "text",
    [
        "https://shop.example/approvals/",
        "https://shop.example/approvals/list",
        f"https://shop.example/approvals/abc.5.{'x' * 42}",
        f"https://shop.example/approvals/abc.{'x' * 43}",
        f"https://shop.example/approval/abc.5.{'x' * 43}",
    ],
)
def test_what_is_no_link_stays(text: str) -> None:
    """Other pages below the same path are arguments like any."""
    assert steady(text) == text


def test_a_payload_that_is_no_text_stands_for_itself() -> None:
    """Somebody else's token is compared as it is written."""
    assert steady(f"https://x/approvals/_w.5.{'x' * 43}") == "approval:_w"


@given(st.text(st.sampled_from('/approvals.x5 "<:~https'), max_size=60))
def test_texts_without_a_link_are_untouched(text: str) -> None:
    """Whatever looks a little like a link is left alone: a signature has 43 characters."""
    assert steady(text) == text
