"""Expenses on real servers: handed in, mailed, killed, started again, and decided by managers who log in."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from resonate_web.testing.servers import Answer, Server, until

GUNICORN = ("gunicorn", "-c", "gunicorn.conf.py", "-w", "2", "-b", "127.0.0.1:{port}", "--no-control-socket", "app:app")
ONE_WORKER = tuple("1" if part == "2" else part for part in GUNICORN)
UVICORN = ("uvicorn", "--port", "{port}", "--no-access-log", "asgi:app")
RUNSERVER = ("django", "runserver", "--noreload", "127.0.0.1:{port}")
ADA, MANAGER, BOSS = "ada@example.com", "manager@example.com", "boss@example.com"
EXPENSE = {"id": "42", "employee": ADA, "amount": 250, "manager": MANAGER}
APPROVE, REJECT = {"decision": "approve"}, {"decision": "reject", "comment": "Take the train."}
FORM = "application/x-www-form-urlencoded"
BRANCH = ["send_email", "reimburse", "tell_employee"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database as the README makes it: migrated, with the people of the demo."""
    database = tmp_path_factory.mktemp("made") / "office.sqlite3"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RESONATE_")}
    for command in ("migrate", "demo_users"):
        done = subprocess.run(
            [sys.executable, "manage.py", command],
            cwd=Path(__file__).parent,
            env={**environ, "EXPENSES_DATABASE": str(database)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    return database


@pytest.fixture
def office(site: Any, made: Path) -> Any:
    """Return the site on a database of its own; runs are in that database too."""
    database = site.tmp / "office.sqlite3"
    with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(database)) as copy:
        source.backup(copy)
    site.environ |= {"EXPENSES_DATABASE": str(database), "DJANGO_SETTINGS_MODULE": "expenses.settings"}
    del site.environ["RESONATE_STORE"]
    return site


def hand_in(office: Any, server: Server, **changes: Any) -> str:
    """Hand in an expense and return where its status is."""
    return str(office.accepted(server.ask("POST", "/expenses", {**EXPENSE, **changes})))


def cookies(answer: Answer) -> dict[str, str]:
    found = SimpleCookie("; ".join(answer.headers.get_all("Set-Cookie") or []))
    return {name: morsel.value for name, morsel in found.items()}


def login(server: Server, name: str = MANAGER) -> str:
    """Log in and return what the Cookie field of further requests is."""
    token = cookies(server.ask("GET", "/login/"))["csrftoken"]
    form = {"username": name, "password": "demo", "csrfmiddlewaretoken": token}
    answer = server.ask("POST", "/login/", urlencode(form).encode(), Content_Type=FORM, Cookie=f"csrftoken={token}")
    assert (answer.status, answer.headers["Location"]) == (302, "/approvals")
    return f"sessionid={cookies(answer)['sessionid']}"


def log_in_page(page: Page, name: str) -> None:
    """Log in where the page is."""
    page.get_by_label("E-mail").fill(name)
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Log in").click()


def test_a_small_expense_is_paid_at_once(office: Any) -> None:
    """Up to 100 nobody is asked; handed in again it is the same one, and other contents are refused."""
    server = office.serve(*GUNICORN)
    first = server.ask("POST", "/expenses", {**EXPENSE, "amount": 100})
    done = office.ended(server, office.accepted(first))
    assert (done["id"], done["status"], done["result"]["state"]) == ("expense/42", "succeeded", "paid")
    again = server.ask("POST", "/expenses", {**EXPENSE, "amount": "100.00", "employee": "Ada@Example.com"})
    assert (again.status, again.json["result"]) == (200, done["result"])
    assert server.ask("POST", "/expenses", EXPENSE).status == 409
    assert office.ledger.steps("expense/42") == BRANCH[1:]
    assert [(mail.to, mail.subject) for mail in office.outbox.mails()] == [(ADA, "Expense 42: paid")]
    assert office.ledger.lines()[0].keys() >= {"run", "step", "attempt", "pid", "at"}


@pytest.mark.parametrize(
    ("command", "script"),
    [(GUNICORN, True), (UVICORN, False), (RUNSERVER, True)],
    ids=["gunicorn", "uvicorn, no script", "runserver"],
)
def test_the_manager_decides_after_a_crash(office: Any, pages: Any, command: tuple[str, ...], script: bool) -> None:
    """Every process is killed while the manager is asked; after a restart the link, a login and a click do."""
    server = office.serve(*command)
    status = hand_in(office, server)
    mail = office.outbox.mail(MANAGER)
    office.waits(server, status)
    server.kill()
    server = office.serve(*command)
    page: Page = pages(script=script)
    page.goto(mail.link)
    page.get_by_role("link", name="Log in", exact=True).click()
    log_in_page(page, MANAGER)
    assert page.url == mail.link
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This was approved")
    result = office.ended(server, status)["result"]
    assert (result["state"], result["outcome"], result["by"]) == ("paid", "approved", MANAGER)
    assert office.ledger.steps("expense/42") == BRANCH
    assert [mail.to for mail in office.outbox.mails()] == [MANAGER, ADA]


def test_the_link_in_a_real_mail_works(office: Any, smtp: Any, pages: Any) -> None:
    """A mail server that is away is a step that is repeated; who clicks in the mail gives a reason, and it arrives."""
    server = office.serve(*GUNICORN, SMTP_HOST="127.0.0.1", SMTP_PORT=str(smtp.port))
    status = hand_in(office, server)
    until(lambda: [step for step in server.ask("GET", status).json["steps"] if step["error"]])
    smtp.start()
    page: Page = pages()
    page.goto(smtp.mail(MANAGER).link)
    page.get_by_role("link", name="Log in", exact=True).click()
    log_in_page(page, MANAGER)
    page.get_by_label("Comment").fill("Take the train.")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This was rejected")
    result = office.ended(server, status)["result"]
    assert (result["state"], result["payment"], result["reason"]) == ("rejected", None, "Take the train.")
    told = smtp.mail(ADA)
    assert (told.subject, "Take the train." in told.text) == ("Expense 42: rejected", True)
    assert len(smtp.mails()) == 2


def test_only_the_manager_may_look_and_decide(office: Any) -> None:
    """Looking decides nothing, however often; strangers are sent to log in, others refused; forged links unknown."""
    server = office.serve(*GUNICORN)
    status = hand_in(office, server)
    path = office.outbox.mail(MANAGER).path
    manager, boss = login(server), login(server, BOSS)
    for _ in range(20):
        assert server.ask("GET", path, Cookie=manager).json["state"] == "pending"
        assert server.ask("HEAD", path, Cookie=manager).status == 200
        assert server.ask("OPTIONS", path, Cookie=manager).status == 204
        assert server.ask("GET", path, Cookie=manager, Accept="text/html", Sec_Purpose="prefetch").status == 200
    for method, body in (("GET", None), ("POST", APPROVE)):
        assert server.ask(method, path, body).status == 401
        assert server.ask(method, path, body, Cookie=boss).status == 403
        forged = path[:-4] + ("AAAA" if path[-4:] != "AAAA" else "BBBB")
        for wrong in (forged, path[:-1], f"{path}x", "/approvals/x"):
            assert server.ask(method, wrong, body, Cookie=manager).status == 404, wrong
    assert server.ask("POST", path, APPROVE, Cookie=manager, Sec_Fetch_Site="cross-site").status == 403
    form = urlencode(APPROVE).encode()
    assert server.ask("POST", path, form, Content_Type=FORM, Cookie=manager).status == 403
    assert office.waits(server, status)["approvals"][0]["state"] == "pending"
    assert office.ledger.steps("expense/42") == ["send_email"]


def test_the_list_shows_what_waits_for_whom(office: Any) -> None:
    """A manager finds what is to be decided, with the link; others do not, and strangers are sent to log in."""
    server = office.serve(*GUNICORN)
    hand_in(office, server)
    office.outbox.mail(MANAGER)
    assert server.ask("GET", "/approvals").status == 401
    assert server.ask("GET", "/approvals", Cookie=login(server, BOSS)).json["approvals"] == []
    manager = login(server)
    [found] = server.ask("GET", "/approvals", Cookie=manager).json["approvals"]
    assert (found["run"], "250.00" in found["summary"]) == ("expense/42", True)
    assert server.ask("POST", found["url"].removeprefix(office.url), APPROVE, Cookie=manager).status == 200
    assert server.ask("GET", "/approvals", Cookie=manager).json["approvals"] == []


def test_of_two_answers_at_once_one_wins(office: Any) -> None:
    """Approved and rejected at the same instant on two processes: one 200, one 409 that names the winner."""
    here, there = office.serve(*ONE_WORKER), office.serve(*ONE_WORKER, beside=True)
    manager = login(here)
    for n in range(1, 4):
        status = hand_in(office, here, id=str(n))
        path = office.outbox.mail(MANAGER, n).path
        answers = office.at_once(
            lambda: here.ask("POST", path, APPROVE, Cookie=manager),  # noqa: B023
            lambda: there.ask("POST", path, REJECT, Cookie=manager),  # noqa: B023
        )
        won, lost = sorted(answers, key=lambda answer: answer.status)
        assert (won.status, lost.status) == (200, 409)
        assert (lost.json["decision"], lost.json["by"]) == (won.json["your_vote"]["decision"], MANAGER)
        result = office.ended(here, status)["result"]
        assert result["state"] == ("paid" if lost.json["decision"] == "approve" else "rejected")
        assert len(office.ledger.lines(f"expense/{n}", "reimburse")) == (result["state"] == "paid")


def test_who_comes_second_is_told(office: Any, pages: Any) -> None:
    """The manager has the page open twice, on two processes; the second click meets the first, which stays."""
    here, there = office.serve(*ONE_WORKER), office.serve(*ONE_WORKER, beside=True)
    status = hand_in(office, here)
    path = office.outbox.mail(MANAGER).path
    opened = []
    for server, script in ((here, True), (there, False)):
        page: Page = pages(script=script)
        page.goto(f"{server.url}/login/?next={path}")
        log_in_page(page, MANAGER)
        opened.append(page)
    opened[0].get_by_role("button", name="Approve").click()
    expect(opened[0].get_by_role("heading", level=1)).to_have_text("This was approved")
    opened[1].get_by_role("button", name="Reject").click()
    expect(opened[1].get_by_role("status")).to_contain_text("Your decision came too late")
    expect(opened[1].get_by_role("heading", level=1)).to_have_text("This was approved")
    assert office.ended(there, status)["result"]["state"] == "paid"


def test_an_answer_before_the_wait_is_kept(office: Any, smtp: Any) -> None:
    """The link is used while the step that mails it still runs; the workflow finds the answer when it comes there."""
    smtp.start()
    smtp.hold()
    server = office.serve(*GUNICORN, SMTP_HOST="127.0.0.1", SMTP_PORT=str(smtp.port))
    status = hand_in(office, server)
    assert server.ask("POST", smtp.mail(MANAGER).path, APPROVE, Cookie=login(server)).status == 200
    assert server.ask("GET", status).json["status"] == "running"
    assert office.ledger.steps("expense/42") == ["send_email"]
    smtp.release()
    assert office.ended(server, status)["result"]["state"] == "paid"


def test_silence_is_an_answer_too(office: Any) -> None:
    """When the deadline passes the employee is told, once; a later click is 410 and says how it ended."""
    server = office.serve(*GUNICORN, EXPENSES_DEADLINE_S="1.5")
    status = hand_in(office, server)
    done = office.ended(server, status)
    assert (done["status"], done["result"]["state"], done["result"]["outcome"]) == ("succeeded", "expired", "timedout")
    manager = login(server)
    late = server.ask("POST", office.outbox.mail(MANAGER).path, APPROVE, Cookie=manager)
    assert (late.status, late.json["decision"]) == (410, "timedout")
    assert server.ask("GET", status).json == done
    assert office.ledger.steps("expense/42") == ["send_email", "tell_employee"]
    assert office.outbox.mail(ADA).subject == "Expense 42: expired"


def test_handed_in_twice_it_is_asked_once(office: Any) -> None:
    """While it waits, a second start gets the same link; a double click in another process pays once."""
    owner = office.serve(*ONE_WORKER)
    status = hand_in(office, owner)
    path = office.outbox.mail(MANAGER).path
    office.waits(owner, status)
    other = office.serve(*ONE_WORKER, beside=True)
    assert hand_in(office, other) == status
    manager = login(other)
    click = lambda: other.ask("POST", path, APPROVE, Cookie=manager)  # noqa: E731
    assert [answer.status for answer in office.at_once(click, click)] == [200, 200]
    result = office.ended(other, status)["result"]
    assert result == office.ended(owner, status)["result"]
    assert click().status == 200
    assert office.ledger.steps("expense/42") == BRANCH


def test_what_is_not_there_is_not_found(office: Any) -> None:
    """Unknown runs are 404; wrong bodies are 400 problems that name the fields; other sites' forms are refused."""
    server = office.serve(*GUNICORN)
    for path in ("/status/expense/none", "/status/expense/none?sig=x", "/status/", "/approvals/none", "/none"):
        assert server.ask("GET", path).status == 404, path
    wrong: list[tuple[Any, list[str]]] = [(b"", ["body"]), (b"{", ["body"]), (b"[" * 60_000, ["body"])]
    wrong += [(body, ["employee", "amount", "manager", "id"]) for body in ({}, [], "42", dict.fromkeys(EXPENSE, None))]
    wrong += [({**EXPENSE, "id": id}, ["id"]) for id in ("", 42, "a:b", "a~2", "../x", "a\nb", "\ud800", "x" * 300)]
    amounts = (0, -1, True, "many", 1.234, 10**9, 10**400, float("nan"), float("inf"), [1])
    wrong += [({**EXPENSE, "amount": amount}, ["amount"]) for amount in amounts]
    wrong += [({**EXPENSE, "manager": who}, ["manager"]) for who in ("nobody", "a@b@c.de", "x" * 250 + "@a.de", ADA)]
    for body, fields in wrong:
        answer = server.ask("POST", "/expenses", body)
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json"), body
        assert list(answer.json["errors"]) == fields, body
    for kind in (FORM, "text/plain"):
        assert server.ask("POST", "/expenses", urlencode(EXPENSE).encode(), Content_Type=kind).status == 403
    assert server.ask("GET", "/expenses").status == 405
    assert office.ledger.lines() == []


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_people_use_it(office: Any, pages: Any, shoot: Any, script: bool) -> None:
    """Handed in with the form, found in the manager's list, decided, and followed on its page to the end."""
    office.serve(*GUNICORN)
    page: Page = pages(script=script)
    page.goto(office.url)
    shoot(page, "hand-in")
    page.get_by_label("Your e-mail").fill("manager@example.com")
    page.get_by_label("Amount").fill("250.50")
    page.get_by_label("Number").fill("a:b")
    page.get_by_role("button", name="Hand in").click()
    expect(page.get_by_role("alert")).to_contain_text("was not handed in")
    expect(page.locator(".rz-error")).to_contain_text(["Somebody else"])
    shoot(page, "hand-in-wrong")
    page.get_by_label("Your e-mail").fill(ADA)
    page.get_by_role("button", name="Hand in").click()
    expect(page.locator(".rz-error")).to_contain_text(["reserved"])
    page.get_by_label("Number").fill("7")
    page.get_by_role("button", name="Hand in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("expense/7")
    expect(page.locator(".rz-status")).to_have_text("Waiting", timeout=10_000)
    shoot(page, "waiting")
    decide(office, pages(script=script), shoot)
    expect(page.locator(".rz-status")).to_have_text("Succeeded", timeout=15_000)
    expect(page.locator("#result")).to_contain_text(re.compile('"state": "paid"'))
    shoot(page, "done")


def decide(office: Any, page: Page, shoot: Any) -> None:
    """Log in as the manager, find the expense in the list, and approve it."""
    page.goto(office.outbox.mail(MANAGER).link)
    shoot(page, "login-needed")
    page.get_by_role("link", name="To decide").click()
    page.get_by_role("link", name="Log in", exact=True).click()
    page.get_by_label("E-mail").fill(MANAGER)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("correct")
    shoot(page, "login")
    log_in_page(page, MANAGER)
    expect(page.get_by_role("heading", level=1)).to_have_text("Waiting for your decision")
    shoot(page, "list")
    page.get_by_role("link", name="Review").click()
    shoot(page, "question")
    page.get_by_label("Comment").fill("Have a good journey.")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This was approved")
    shoot(page, "approved")
    page.get_by_role("link", name="To decide").click()
    expect(page.get_by_text("Nothing waits for you")).to_be_visible()
    shoot(page, "nothing")
    page.get_by_role("link", name="Account").click()
    shoot(page, "account")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    page.goto(f"{office.url}/nowhere")
    shoot(page, "not-found")
