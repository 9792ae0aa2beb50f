"""Questions that people answer, on real servers: asked by mail, killed, started again, and clicked in a browser."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from resonate_web.testing.servers import Server, until

GUNICORN = ("gunicorn", "-c", "gunicorn.conf.py", "-w", "2", "-b", "127.0.0.1:{port}", "--no-control-socket", "app:app")
ONE_WORKER = tuple("1" if part == "2" else part for part in GUNICORN)
FLASK = ("flask", "run", "--port", "{port}")
ADA, GRACE, DEFAULT = "ada@example.com", "grace@example.com", "approver@example.com"
APPROVE, REJECT = {"decision": "approve"}, {"decision": "reject"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def ask(site: Any, server: Server, id: str = "42", **more: Any) -> str:
    """Ask for a decision and return where its status is."""
    return str(site.accepted(server.ask("POST", "/start-workflow", {"workflow_id": id, **more})))


def test_a_question_is_asked_once(site: Any) -> None:
    """Asked again while it waits, it is the same run with the same link, and one mail; the status tells no link."""
    server = site.serve(*GUNICORN)
    first = server.ask("POST", "/start-workflow", {"workflow_id": "42"})
    assert (first.status, first.json["id"]) == (202, "workflow/42")
    mail = site.outbox.mail(DEFAULT)
    waiting = site.waits(server, site.accepted(first))
    assert [(found["name"], found["state"]) for found in waiting["approvals"]] == [("go-ahead", "pending")]
    assert mail.path not in str(waiting)
    again = server.ask("POST", "/start-workflow", {"workflow_id": "42"})
    assert (again.status, again.headers["Location"]) == (202, first.headers["Location"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert server.ask("POST", "/start-workflow", {"workflow_id": "42", "summary": "Another?"}).status == 409
    assert server.ask("POST", mail.path, APPROVE).status == 200
    done = site.ended(server, site.accepted(first))
    assert (done["status"], done["result"]["outcome"], done["result"]["by"]) == ("succeeded", "approved", DEFAULT)
    last = server.ask("POST", "/start-workflow", {"workflow_id": "42"})
    assert (last.status, last.json["result"]) == (200, done["result"])
    assert site.ledger.steps("workflow/42") == ["send_email"]
    assert len(site.outbox.mails()) == 1
    assert site.ledger.lines()[0].keys() >= {"run", "step", "attempt", "pid", "at"}


@pytest.mark.parametrize(
    ("command", "script"), [(GUNICORN, True), (FLASK, False)], ids=["gunicorn", "flask, no script"]
)
def test_the_answer_comes_after_a_crash(site: Any, pages: Any, command: tuple[str, ...], script: bool) -> None:
    """Every process is killed while the question waits; after a restart the mailed link is clicked, and it goes on."""
    server = site.serve(*command)
    status = ask(site, server)
    mail = site.outbox.mail(DEFAULT)
    site.waits(server, status)
    server.kill()
    server = site.serve(*command)
    page: Page = pages(script=script)
    page.goto(mail.link)
    page.get_by_label("Comment").fill("Not before Monday.")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This was rejected")
    result = site.ended(server, status)["result"]
    assert (result["outcome"], result["by"], result["comment"]) == ("rejected", DEFAULT, "Not before Monday.")
    assert site.ledger.steps("workflow/42") == ["send_email"]
    assert len(site.outbox.mails()) == 1


def test_the_link_in_a_real_mail_works(site: Any, smtp: Any, pages: Any) -> None:
    """A mail server that is away is a step that is repeated; the mail that it takes at last is answered by a click."""
    server = site.serve(*GUNICORN, SMTP_HOST="127.0.0.1", SMTP_PORT=str(smtp.port))
    status = ask(site, server, approvers=[ADA])
    failed = until(lambda: [step for step in server.ask("GET", status).json["steps"] if step["error"]])[0]
    assert (failed["name"], failed["error"]["type"]) == ("send_email", "ConnectionRefusedError")
    assert site.outbox.mails() == []
    smtp.start()
    page: Page = pages()
    page.goto(smtp.mail(ADA).link)
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This was approved")
    assert site.ended(server, status)["result"]["approved"] is True
    assert len(smtp.mails()) == 1


def test_looking_decides_nothing(site: Any, pages: Any) -> None:
    """GET, HEAD, OPTIONS and previews leave the question open, however often; forged links are not found."""
    server = site.serve(*GUNICORN)
    status = ask(site, server)
    path = site.outbox.mail(DEFAULT).path
    site.waits(server, status)
    for _ in range(20):
        assert server.ask("GET", path).json["state"] == "pending"
        assert server.ask("HEAD", path).status == 200
        assert server.ask("OPTIONS", path).status == 204
        assert server.ask("GET", path, Accept="text/html", Sec_Purpose="prefetch").status == 200
        assert server.ask("GET", f"{path}?decision=approve").json["state"] == "pending"
    page: Page = pages()
    page.goto(server.url + path)
    page.reload()
    assert server.ask("PUT", path, APPROVE).status == 405
    forged = path[:-4] + ("AAAA" if path[-4:] != "AAAA" else "BBBB")
    for wrong in (forged, path[:-1], f"{path}x", "/approvals/x", "/approvals/" + "%ff" * 20, path.replace(".", ".1")):
        for method in ("GET", "POST"):
            assert server.ask(method, wrong, APPROVE if method == "POST" else None).status == 404, wrong
    assert site.waits(server, status)["approvals"][0]["state"] == "pending"
    assert site.ledger.steps("workflow/42") == ["send_email"]


def test_of_two_answers_at_once_one_wins(site: Any) -> None:
    """Approved and rejected at the same instant on two processes: one 200, one 409 that names the winner."""
    here, there = site.serve(*ONE_WORKER), site.serve(*ONE_WORKER, beside=True)
    for n in range(5):
        status = ask(site, here, str(n), approvers=[f"a{n}@example.com"])
        path = site.outbox.mail(f"a{n}@example.com").path
        answers = site.at_once(lambda: here.ask("POST", path, APPROVE), lambda: there.ask("POST", path, REJECT))  # noqa: B023
        won, lost = sorted(answers, key=lambda answer: answer.status)
        assert (won.status, lost.status) == (200, 409)
        assert lost.json["decision"] == won.json["your_vote"]["decision"]
        result = site.ended(here, status)["result"]
        assert result["approved"] is (lost.json["decision"] == "approve")
        assert result["answers"] == [{key: result[key] for key in ("outcome", "approved", "by", "comment")}]


def test_who_comes_second_is_told(site: Any, pages: Any) -> None:
    """Two people have the page open; the second click meets the first, which stays."""
    here, there = site.serve(*ONE_WORKER), site.serve(*ONE_WORKER, beside=True)
    status = ask(site, here)
    path = site.outbox.mail(DEFAULT).path
    first: Page = pages()
    second: Page = pages(script=False)
    first.goto(here.url + path)
    second.goto(there.url + path)
    first.get_by_role("button", name="Approve").click()
    expect(first.get_by_role("heading", level=1)).to_have_text("This was approved")
    second.get_by_role("button", name="Reject").click()
    expect(second.get_by_role("status")).to_contain_text("Your decision came too late")
    expect(second.get_by_role("heading", level=1)).to_have_text("This was approved")
    assert site.ended(there, status)["result"]["outcome"] == "approved"


def test_an_answer_before_the_wait_is_kept(site: Any, smtp: Any) -> None:
    """The link is used while the step that mails it still runs; the workflow finds the answer when it comes there."""
    smtp.start()
    smtp.hold()
    server = site.serve(*GUNICORN, SMTP_HOST="127.0.0.1", SMTP_PORT=str(smtp.port))
    status = ask(site, server)
    assert server.ask("POST", smtp.mail(DEFAULT).path, {**APPROVE, "comment": "quick"}).status == 200
    assert server.ask("GET", status).json["status"] == "running"
    smtp.release()
    result = site.ended(server, status)["result"]
    assert (result["outcome"], result["comment"]) == ("approved", "quick")


def test_silence_is_an_answer_too(site: Any) -> None:
    """When the deadline passes the workflow goes on once; a later click is 410 and says how it ended."""
    server = site.serve(*GUNICORN, APPROVAL_DEADLINE_S="1.5")
    status = ask(site, server, approvers=[ADA, GRACE])
    done = site.ended(server, status)
    assert (done["status"], done["result"]["outcome"], done["result"]["by"]) == ("succeeded", "timedout", None)
    late = server.ask("POST", site.outbox.mail(ADA).path, APPROVE)
    assert (late.status, late.json["decision"]) == (410, "timedout")
    assert server.ask("GET", status).json == done
    assert site.ledger.steps("workflow/42") == ["send_email"]


def test_two_people_are_asked_in_order(site: Any) -> None:
    """Each has a link of their own; the first link, clicked twice, does not answer the second question."""
    server = site.serve(*GUNICORN)
    status = ask(site, server, approvers=[ADA, GRACE])
    first = site.outbox.mail(ADA)
    answers = site.at_once(*[lambda: server.ask("POST", first.path, APPROVE)] * 2)
    assert [answer.status for answer in answers] == [200, 200]
    second = site.outbox.mail(GRACE)
    assert second.path != first.path
    assert server.ask("POST", first.path, APPROVE).status == 200
    waiting = site.waits(server, status)
    assert [found["state"] for found in waiting["approvals"]] == ["approved", "pending"]
    assert server.ask("POST", second.path, REJECT).status == 200
    result = site.ended(server, status)["result"]
    assert [(answer["by"], answer["outcome"]) for answer in result["answers"]] == [
        (ADA, "approved"),
        (GRACE, "rejected"),
    ]
    assert result["outcome"] == "rejected"
    assert [mail.to for mail in site.outbox.mails()] == [ADA, GRACE]
    assert site.ledger.steps("workflow/42") == ["send_email"] * 2


def test_any_process_takes_the_answer(site: Any) -> None:
    """A process that does not execute the run gets the click; it goes on all the same, once."""
    owner = site.serve(*ONE_WORKER)
    status = ask(site, owner, approvers=[ADA, GRACE])
    path = site.outbox.mail(ADA).path
    site.waits(owner, status)
    other = site.serve(*ONE_WORKER, beside=True)
    assert other.ask("POST", path, APPROVE).status == 200
    assert site.outbox.mail(GRACE).to == GRACE
    assert owner.ask("POST", path, REJECT).status == 409
    assert site.ledger.steps("workflow/42") == ["send_email"] * 2


def test_what_is_not_there_is_not_found(site: Any) -> None:
    """Unknown runs are 404; wrong bodies are 400 problems that name the field; nothing is a 500."""
    server = site.serve(*GUNICORN)
    for path in ("/status/workflow/none", "/status/workflow/none?sig=x", "/status/", "/approvals/none"):
        answer = server.ask("GET", path)
        assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json"), path
    wrong = [(b"", "body"), (b"{", "body"), ([], "body"), ({}, "workflow_id"), ({"workflow_id": 42}, "workflow_id")]
    wrong += [
        ({"workflow_id": id}, "workflow_id") for id in ("", " ", "a:b", "a~2", "../x", "a\nb", "\ud800", "x" * 300)
    ]
    wrong += [({"workflow_id": "1", "approvers": who}, "approvers") for who in ([], [""], "a@b.c", [ADA] * 4, [1])]
    for body, field in wrong:
        answer = server.ask("POST", "/start-workflow", body)
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json"), body
        assert list(answer.json["errors"]) == [field], body
    assert site.ledger.lines() == []


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_person_asks_and_another_answers(site: Any, pages: Any, shoot: Any, script: bool) -> None:
    """The form asks; the page of the run follows it to the end, with JavaScript or without."""
    server = site.serve(*GUNICORN)
    page: Page = pages(script=script)
    page.goto(site.url)
    shoot(page, "ask")
    page.get_by_label("Question").fill("May we move the warehouse to Potsdam in March?")
    page.get_by_label("Who decides", exact=True).fill(ADA)
    page.get_by_label("Who decides after that").fill(GRACE)
    page.get_by_label("Reference").fill("potsdam")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("workflow/potsdam")
    expect(page.locator(".rz-status")).to_have_text("Waiting", timeout=10_000)
    shoot(page, "waiting")
    for person, answer in ((ADA, "Approve"), (GRACE, "Reject")):
        other: Page = pages(script=script)
        other.goto(site.outbox.mail(person).link)
        shoot(other, f"question-{answer}")
        other.get_by_label("Comment").fill("Only if the cat comes along.")
        other.get_by_role("button", name=answer).click()
        expect(other.get_by_role("status")).to_contain_text("Thank you")
        shoot(other, f"answered-{answer}")
    expect(page.locator(".rz-status")).to_have_text("Succeeded", timeout=15_000)
    shoot(page, "done")
    assert site.ended(server, page.url.removeprefix(site.url))["result"]["outcome"] == "rejected"


def test_a_person_is_told_what_is_wrong(site: Any, pages: Any, shoot: Any) -> None:
    """The form comes back as it was filled in; sent twice, it is one question; another question needs another name."""
    server = site.serve(*GUNICORN)
    page: Page = pages(script=False)
    page.goto(site.url)
    page.get_by_label("Question").fill("May we?")
    page.get_by_label("Reference").fill("a:b")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("alert")).to_contain_text(re.compile("Reference cannot be used.*reserved"))
    expect(page.get_by_label("Question")).to_have_value("May we?")
    shoot(page, "wrong")
    form = {"workflow_id": "ü 7", "summary": "May we?", "approver-1": ADA, "approver-2": ""}
    fields = {"Content_Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    places = [server.ask("POST", "/start-workflow", urlencode(form).encode(), **fields) for _ in range(2)]
    assert [place.status for place in places] == [303, 303]
    assert places[0].headers["Location"] == places[1].headers["Location"]
    form["summary"] = "May we not?"
    other = server.ask("POST", "/start-workflow", urlencode(form).encode(), **fields)
    assert (other.status, b"belongs to another question" in other.body) == (409, True)
    assert site.outbox.mail(ADA).subject == "Your decision on ü 7"
