"""Who may decide: links per approver, logins, quorums, who started the run, and who sees what."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from resonate_web import InvalidAnswer, NotAllowed, NotFound, Resonate, WrongCall
from resonate_web.config import Settings
from resonate_web.gateway.routes import Gateway
from resonate_web.protocol import tags
from resonate_web.protocol.records import PromiseState
from resonate_web.protocol.requests import PromiseCreate, PromiseSettle
from resonate_web.resonate import ledger
from resonate_web.resonate.ledger import Event
from resonate_web.testing.office import KEYS, Office, asks
from resonate_web.testing.servers import until
from resonate_web.testing.visitor import Visitor

ROUNDS = 100


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.simulation.close()


def test_each_approver_has_a_link_and_one_vote(office: Office) -> None:
    """The quorum counts people, not clicks; every vote is in the decision."""
    approval = office.ask(approvers=["ann", "bob", "cem"], quorum=2)
    visitor = office.visitor()
    ann, bob = office.link(approval, "ann"), office.link(approval, "bob")
    first = visitor.post(ann, {"decision": "approve", "comment": "one"})
    assert (first.status, first.json["state"], first.json["your_vote"]["by"]) == (200, "pending", "ann")
    again = visitor.post(ann, {"decision": "approve", "comment": "two"})
    assert (again.status, again.json["state"], len(again.json["votes"])) == (200, "pending", 1)
    changed = visitor.post(ann, {"decision": "reject"})
    assert (changed.status, changed.json["by"], changed.json["comment"]) == (409, "ann", "one")
    assert visitor.get(bob).json["your_vote"] is None
    assert visitor.post(bob, {"decision": "approve"}).json["state"] == "approved"
    decision = office.decision()
    assert [(vote["by"], vote["decision"]) for vote in decision["votes"]] == [("ann", "approve"), ("bob", "approve")]
    assert decision["by"] == "bob"


@pytest.mark.parametrize("order", sorted(set(permutations(["approve", "approve", "reject", "reject"], 3))))
def test_a_quorum_decides_as_soon_as_it_can(order: tuple[str, ...]) -> None:
    """Two of three approve: approved. Two of three reject: it can't be reached any more, so rejected at once."""
    office = Office()
    approval = office.ask(approvers=["ann", "bob", "cem"], quorum=2)
    visitor = office.visitor()
    for said, approver in zip(order, ("ann", "bob", "cem"), strict=True):
        visitor.post(office.link(approval, approver), {"decision": said})
    wanted = max(("approve", "reject"), key=order.count)
    assert office.decision()["decision"] == wanted
    decisive = [place for place, said in enumerate(order) if said == wanted][1]
    assert len(office.decision()["votes"]) == decisive + 1
    office.simulation.close()


def test_a_dissenting_vote_stays_what_it_was(office: Office) -> None:
    """Who voted against the majority and says so again gets 200; the other way round 409."""
    approval = office.ask(approvers=["ann", "bob", "cem"], quorum=2)
    visitor = office.visitor()
    for approver, said in (("ann", "reject"), ("bob", "approve"), ("cem", "approve")):
        assert visitor.post(office.link(approval, approver), {"decision": said}).status == 200
    assert visitor.post(office.link(approval, "ann"), {"decision": "reject"}).status == 200
    changed = visitor.post(office.link(approval, "ann"), {"decision": "approve"})
    assert (changed.status, changed.json["by"], changed.json["decision"]) == (409, "ann", "reject")
    against = visitor.post(office.link(approval, "cem"), {"decision": "reject"})
    assert (against.status, against.json["by"], against.json["decision"]) == (409, "cem", "approve")


def test_a_login_is_needed_where_it_is_required(office: Office) -> None:
    """Nobody: 401. Somebody else: 403. Neither learns what is asked. An approver: the page, and a vote of theirs."""
    approval = office.ask(approvers=["7", "bob@shop.example"], require_login=True, summary="the secret plan")
    link = office.link(approval)
    for principal, status in ((None, 401), ("user:8", 403)):
        visitor = office.visitor(principal)
        answers = [visitor.get(link), visitor.page(link), visitor.post(link, {"decision": "approve"})]
        assert [answer.status for answer in answers] == [status] * 3
        assert not any("secret" in answer.text for answer in answers)
    assert "secret" in office.visitor("user:7").page(link).text
    assert office.visitor("bob@shop.example").get(link).status == 200
    assert office.visitor("user:7").submit(link, {"decision": "approve"}).status == 303
    assert office.decision()["by"] == "user:7"
    office.client.approvals.revoke(office.ask("order/43", require_login=True, summary="the secret plan"))
    gone = office.visitor().page(office.link("order/43:@manager"))
    assert (gone.status, "secret" in gone.text) == (401, False)


def test_a_form_of_one_user_is_nothing_in_the_hands_of_another(office: Office) -> None:
    """The nonce is bound to who was logged in."""
    link = office.link(office.ask(require_login=True))
    person = office.visitor("user:7")
    page = person.page(link).text
    person.principal = "user:8"
    nonce = page.partition('name="nonce" value="')[2].partition('"')[0]
    assert nonce
    assert person.send(link, {"nonce": nonce, "decision": "approve"}).status == 403


def test_who_started_the_run_may_look_but_not_decide(office: Office) -> None:
    """Four eyes: 403 for the starter, whose page can be read; another user decides."""
    approval = office.ask(starter="user:1", require_login=True, forbid_initiator=True)
    link = office.link(approval)
    starter = office.visitor("user:1")
    assert starter.get(link).status == 200
    assert starter.post(link, {"decision": "approve"}).status == 403
    with pytest.raises(NotAllowed, match="started"):
        office.client.approvals.decide(approval, True, by="user:1")
    assert office.visitor("user:2").post(link, {"decision": "approve"}).status == 200


def test_the_list_shows_what_waits_for_me(office: Office) -> None:
    """By name or login, not what I have voted on, not what others have to decide; nobody gets 401."""
    office.ask("a", approvers=["7", "8"], quorum=2, require_login=True, summary="for two")
    office.ask("b", approvers=["9"], require_login=True)
    office.ask("c", require_login=True)
    office.ask("d")
    office.ask("e", approvers=["user:7"])
    mine = office.visitor("user:7")
    listed = mine.get("/approvals").json
    assert ([row["run"] for row in listed["approvals"]], listed["next"]) == (["a", "c", "e"], None)
    assert mine.post(listed["approvals"][0]["url"], {"decision": "approve"}).status == 200
    assert [row["run"] for row in mine.get("/approvals").json["approvals"]] == ["c", "e"]
    assert "for two" in office.visitor("user:8").page("/approvals").text
    assert [office.visitor().get("/approvals").status, office.visitor().page("/approvals").status] == [401, 401]
    assert office.visitor().ask("HEAD", "/approvals").status == 401


def test_the_list_has_pages(office: Office) -> None:
    """51 approvals are two pages, and an odd cursor is no error."""
    for number in range(51):
        office.ask(f"run/{number:02}", require_login=True)
    person = office.visitor("user:7")
    first = person.get("/approvals").json
    second = person.get(first["next"]).json
    runs = [row["run"] for row in first["approvals"] + second["approvals"]]
    assert (runs, second["next"]) == ([f"run/{number:02}" for number in range(51)], None)
    assert person.get("/approvals?after=%00").status == person.get("/approvals?after=").status == 200


def test_the_verbs_do_what_the_page_does(office: Office) -> None:
    """`decide` keeps to the rules of the question; what is unknown or no approval is NotFound."""
    approvals = office.client.approvals
    approval = office.ask(approvers=["ann", "bob"], quorum=2, comment="required")
    with pytest.raises(InvalidAnswer, match="comment"):
        approvals.decide(approval, True, by="ann")
    for by in (None, "cem"):
        with pytest.raises(NotAllowed, match="ann"):
            approvals.decide(approval, True, by=by, comment="so")
    assert approvals.decide(approval, True, by="ann", comment="so").state == "pending"
    assert [view.id for view in approvals.pending()] == [view.id for view in approvals.pending("bob")] == [approval]
    assert approvals.pending("ann") == []
    assert approvals.decide(approval, False, by="bob", comment="no").state == "rejected"
    assert approvals.decide(approval, True, by="bob", comment="oh").state == "rejected"
    assert office.kinds(approval) == ["created", "voted", "voted", "rejected"]
    for id in ("order/42", "nothing"):
        with pytest.raises(NotFound):
            approvals.get(id)
    with pytest.raises(WrongCall, match="link of their own"):
        approvals.link(approval)
    with pytest.raises(NotAllowed):
        approvals.link(approval, "cem")


async def _awaited(client: Resonate, approval: str) -> list[Any]:
    approvals = client.approvals
    found = [(await approvals.apending())[0].id, (await approvals.aget(approval)).state]
    found.append((await approvals.arevoke_link(approval)).state)
    found.append(await approvals.alink(approval))
    found.append((await approvals.adecide(approval, True)).state)
    found.append((await approvals.arevoke(approval)).state)
    return [*found, [event.kind for event in await approvals.aaudit(approval)]]


def test_the_verbs_have_twins_that_are_awaited() -> None:
    """On an event loop every verb is awaited, and a blocking one says so."""
    import asyncio

    client = Resonate(Settings(store="memory://", base_url="https://shop.example", signing_keys=KEYS))
    client.register(asks)
    Gateway(client)
    client.begin_run("order/1", asks, {})
    until(client.approvals.pending)
    found = asyncio.run(_awaited(client, "order/1:@manager"))
    client.close()
    assert found[:3] == ["order/1:@manager", "pending", "pending"]
    assert found[4:] == ["approved", "approved", ["created", "link_revoked", "voted", "approved"]]


@pytest.mark.parametrize("applied", [1, 2, 3])
def test_a_vote_that_was_written_in_part_is_completed(office: Office, applied: int) -> None:
    """Another server may apply the first requests of a group only; whoever comes next brings about what follows."""
    approval = office.ask(approvers=["ann", "bob"], quorum=2)
    client = office.client
    client.approvals.decide(approval, True, by="ann")
    vote = Event(kind="voted", at=client.now(), by="bob", approver="bob", decision="approve")
    settle = PromiseSettle(id=approval, state=PromiseState.RESOLVED, value=client.codec.encode({"decision": "approve"}))
    group = ledger.appended(client.codec, approval, 2, vote, settle)
    client.wait(client.submit(group[:applied], lambda answers: answers, lead=True), None)
    after = client.approvals.decide(approval, False, by="bob")
    assert (after.state, [vote.by for vote in after.votes]) == ("approved", ["ann", "bob"])
    assert office.decision()["decision"] == "approve"


def _opened(folder: Path, **settings: Any) -> Visitor:
    """Return a visitor of a process of its own over the one file."""
    store = f"sqlite:///{folder / 'resonate.db'}"
    client = Resonate(
        Settings(store=store, signing_keys=KEYS, base_url="http://x", sqlite_synchronous="NORMAL", **settings)
    )
    return Visitor(Gateway(client))


def _question(client: Resonate, round: int, approvers: list[str], quorum: int) -> str:
    run, id = f"run/{round}", f"run/{round}:@manager"
    client.launch(run, asks, ({},))
    document = {
        "func": "approval", "name": "manager", "summary": "", "approvers": approvers, "quorum": quorum,
        "require_login": False, "forbid_initiator": False, "comment": "optional", "fields": [],
    }  # fmt: skip
    marks = {tags.EXTERNAL: "true", tags.APPROVAL: "true", tags.ORIGIN: run, tags.PARENT: run, tags.SCOPE: "global"}
    far = client.now() + 10**12
    create = PromiseCreate(id=id, timeout_at=far, param=client.codec.encode(document), tags=marks)
    client.wait(client.submit([create], lambda answers: answers, lead=True), None)
    return id


@pytest.mark.slow
@pytest.mark.parametrize("quorum", [1, 2])
def test_two_decisions_at_the_same_instant(tmp_path: Path, quorum: int) -> None:
    """Two clients on one file, opposite decisions or the last two votes at once: one outcome, named in the 409."""
    visitors = [_opened(tmp_path, worker=False) for _ in range(2)]
    clients = [visitor.gateway.resonate for visitor in visitors]
    for client in clients:
        client.register(asks)
    approvers = [] if quorum == 1 else ["ann", "bob"]
    sayings = ("approve", "reject") if quorum == 1 else ("approve", "approve")
    barrier = Barrier(2)

    def decide(place: int, link: str) -> Any:
        barrier.wait()
        return visitors[place].post(link, {"decision": sayings[place]})

    with ThreadPoolExecutor(2) as pool:
        for round in range(ROUNDS):
            id = _question(clients[0], round, approvers, quorum)
            links = [clients[0].approvals.link(id, one) for one in approvers or ["", ""]]
            answers = list(pool.map(decide, (0, 1), links))
            view = clients[1].approvals.get(id)
            statuses = [answer.status for answer in answers]
            if quorum == 1:
                assert sorted(statuses) == [200, 409]
                winner = sayings[statuses.index(200)]
                assert answers[statuses.index(409)].json["decision"] == winner
                assert (view.decision and view.decision.document()["decision"]) == winner
            else:
                assert (statuses, view.state, len(view.votes)) == ([200, 200], "approved", 2)
    for client in clients:
        client.close()


def test_names_of_an_own_rule_mean_what_they_say() -> None:
    """Where the application says who is asking, `user:ann` is not ann: people may choose such names."""
    office = Office(principal=lambda request: "whoever")
    approval = office.ask(approvers=["ann"], require_login=True)
    link = office.link(approval)
    assert office.visitor("user:ann").post(link, {"decision": "approve"}).status == 403
    assert "ann" not in office.visitor("user:ann").get("/approvals").text
    with pytest.raises(NotAllowed):
        office.client.approvals.decide(approval, True, by="user:ann")
    assert office.visitor("ann").post(link, {"decision": "approve"}).status == 200
    office.simulation.close()
