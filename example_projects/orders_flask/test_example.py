"""The shop as a real server: ordered from, killed, started again, and looked at with a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from resonate_web.testing.servers import Ledger, Server, until

HERE = Path(__file__).parent
STEPS = ["validate", "reserve", "charge", "confirm"]
ORDER = {
    "id": "42",
    "items": [{"sku": "pencils", "qty": 3, "price": 2299}, {"sku": "ruler", "qty": 1, "price": 100}],
    "customer": {"id": "c-1", "email": "ada@example.com"},
}
GUNICORN = ("gunicorn", "-c", "gunicorn.conf.py", "-w", "2", "-b", "127.0.0.1:0", "--no-control-socket", "app:app")
FLASK = ("flask", "run", "--port", "0")
FLASK_FROM_THE_ROOT = ("flask", "--app", "example_projects/orders_flask/app", "run", "--port", "0")
FORM = "application/x-www-form-urlencoded"

Serve = Callable[..., Server]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def serve(tmp_path: Path, ledger: Ledger) -> Iterator[Serve]:
    """Return a starter of servers on one store; all are gone when the test ends."""
    servers: list[Server] = []

    def start(*command: str, **environ: str) -> Server:
        here = HERE.parents[1] if command == FLASK_FROM_THE_ROOT else HERE
        store = f"sqlite:///{tmp_path / 'resonate.db'}"
        environ = {"RESONATE_STORE": store, "EFFECT_LEDGER": str(ledger.path), **environ}
        log = tmp_path / f"server-{len(servers)}.log"
        servers.append(Server(command or GUNICORN, folder=here, log=log, environ=environ))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def finished(server: Server, id: str) -> dict[str, Any]:
    """Return the status of an order once it is done."""
    return until(lambda: (found := server.ask("GET", f"/status/order/{id}").json)["done"] and found)


def test_an_order_is_accepted_and_finished(serve: Serve, ledger: Ledger) -> None:
    """202 with a Location, four steps in order, and a result with all its parts."""
    server = serve()
    accepted = server.ask("POST", "/orders", ORDER)
    assert accepted.status == 202
    assert accepted.headers["Location"] == "/status/order/42"
    done = finished(server, "42")
    assert (done["status"], done["id"]) == ("succeeded", "order/42")
    assert [(step["name"], step["status"]) for step in done["steps"]] == [(name, "succeeded") for name in STEPS]
    assert done["result"].keys() == {"order_id", "total", "reservation", "charge_id", "confirmation"}
    assert (done["result"]["order_id"], done["result"]["total"]) == ("42", 6997)
    again = server.ask("POST", "/orders", ORDER)
    assert (again.status, again.headers["Idempotency-Replayed"], again.json["result"]) == (200, "true", done["result"])
    assert ledger.steps("order/42") == STEPS
    assert ledger.lines()[0].keys() >= {"run", "step", "attempt", "pid", "at"}


@pytest.mark.parametrize("command", [GUNICORN, FLASK, FLASK_FROM_THE_ROOT], ids=["gunicorn", "flask", "from the root"])
def test_a_killed_shop_finishes_its_orders(serve: Serve, ledger: Ledger, command: tuple[str, ...]) -> None:
    """Every process is killed while a customer is charged; the next start completes the order without a request."""
    server = serve(*command, ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS="600000")
    assert server.ask("POST", "/orders", ORDER).status == 202
    ledger.wait_for("order/42", "charge")
    server.kill()
    server = serve(*command, ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS="600000")
    ledger.wait_for("order/42", "confirm")  # long before the lease: the dead owner was noticed
    assert finished(server, "42")["status"] == "succeeded"
    assert ledger.steps("order/42") == ["validate", "reserve", "charge", "charge", "confirm"]
    assert len({line["key"] for line in ledger.lines(step="charge")}) == 1


def test_a_failing_step_is_tried_again(serve: Serve, ledger: Ledger) -> None:
    """ORDERS_FAIL lets the first attempts of a step fail; the status tells why, and what is done stays done."""
    server = serve(ORDERS_FAIL="reserve:2", ORDERS_RETRY_DELAY_MS="250")
    server.ask("POST", "/orders", ORDER)
    ledger.wait_for("order/42", "reserve", count=2)
    reserve = server.ask("GET", "/status/order/42").json["steps"][1]
    assert (reserve["status"], reserve["error"]["type"]) == ("running", "Unavailable")
    assert finished(server, "42")["status"] == "succeeded"
    assert ledger.steps("order/42") == ["validate", "reserve", "reserve", "reserve", "charge", "confirm"]


def changed(**changes: Any) -> dict[str, Any]:
    return {**ORDER, **changes}


def item(**changes: Any) -> dict[str, Any]:
    return changed(items=[{"sku": "pencils", "qty": 1, "price": 1, **changes}])


BAD = [
    (b"", ["body"]),
    (b"{", ["body"]),
    (b"\xff\xfe", ["body"]),
    (b"[" * 60_000, ["body"]),
    ([ORDER], ["body"]),
    ("42", ["body"]),
    ({}, ["id", "items", "customer"]),
    (changed(id=""), ["id"]),
    (changed(id=42), ["id"]),
    (changed(id="x" * 201), ["id"]),
    (changed(id="a:b"), ["id"]),
    (changed(id="a~2"), ["id"]),
    (changed(id="a/../b"), ["id"]),
    (changed(id="/"), ["id"]),
    (changed(id="a\nb"), ["id"]),
    (changed(id="\ud800"), ["id"]),
    (changed(items=[]), ["items"]),
    (changed(items={}), ["items"]),
    (changed(items=["pencils"]), ["items[0]"]),
    (changed(items=[ORDER["items"]] * 101), ["items"]),
    (item(qty=0), ["items[0].qty"]),
    (item(qty=-1, price=-1), ["items[0].qty", "items[0].price"]),
    (item(qty=True, price=False), ["items[0].qty", "items[0].price"]),
    (item(qty=1.0, price="1"), ["items[0].qty", "items[0].price"]),
    (item(price=10**30), ["items[0].price"]),
    (item(price=float("nan")), ["items[0].price"]),
    (item(sku=" "), ["items[0].sku"]),
    (changed(customer="c-1"), ["customer"]),
    (changed(customer={}), ["customer.id", "customer.email"]),
    (changed(customer={"id": None, "email": "nobody"}), ["customer.id", "customer.email"]),
]


def test_a_wrong_order_is_one_kind_of_problem(serve: Serve, ledger: Ledger) -> None:
    """Whatever is wrong with a body, the answer is a 400 problem document that names the fields; nothing starts."""
    server = serve()
    for body, fields in BAD:
        answer = server.ask("POST", "/orders", body)
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json"), body
        assert (answer.json["type"], answer.json["status"]) == ("urn:orders:problem:invalid-order", 400)
        assert [error["field"] for error in answer.json["errors"]] == fields, body
    assert server.ask("POST", "/orders", b" " * 100_000).status == 413
    form = urlencode({"id": "7", "qty-pencils": "many", "customer-id": "c-1"}).encode()
    answer = server.ask("POST", "/orders", form, Content_Type=FORM)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert [error["field"] for error in answer.json["errors"]] == ["items[0].qty", "customer.email"]
    assert ledger.lines() == []
    assert server.ask("GET", "/status/order/42").status == 404


def test_another_order_of_the_same_number_is_refused(serve: Serve, ledger: Ledger) -> None:
    """409 without the first order's result or place, and the first is as it was."""
    server = serve()
    server.ask("POST", "/orders", ORDER)
    done = finished(server, "42")
    other = server.ask("POST", "/orders", item(qty=7))
    assert (other.status, other.headers["Location"]) == (409, None)
    assert "result" not in other.json
    assert server.ask("GET", "/status/order/42").json == done
    assert ledger.steps("order/42") == STEPS


def test_the_form_places_an_order_once(serve: Serve, ledger: Ledger) -> None:
    """A browser is sent to the order's page; sent again, the form leads to the same order."""
    server = serve()
    fields = {"id": "ü 7", "qty-pencils": "2", "customer-id": "c-1", "customer-email": "ada@example.com"}
    for _ in range(2):
        answer = server.ask("POST", "/orders", urlencode(fields).encode(), Content_Type=FORM, Accept="text/html")
        assert answer.status == 303
        assert answer.headers["Location"] == "/?" + urlencode({"order": "ü 7"})
    assert finished(server, "%C3%BC%207")["result"]["total"] == 4598
    assert b"Complete" in server.ask("GET", answer.headers["Location"]).body
    fields["qty-pencils"] = "3"
    answer = server.ask("POST", "/orders", urlencode(fields).encode(), Content_Type=FORM, Accept="text/html")
    assert answer.status == 409
    assert b"belongs to an order" in answer.body
    assert ledger.steps("order/ü 7") == STEPS


@pytest.fixture(params=[True, False], ids=["script", "no script"])
def browser(request: pytest.FixtureRequest, chromium: str) -> Iterator[tuple[Page, list[str]]]:
    """Return a page of a browser with or without JavaScript, and what it complains about."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        process = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = process.new_context(java_script_enabled=request.param, viewport={"width": 900, "height": 900}).new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page, complaints
        process.close()


def test_a_person_orders_and_watches(serve: Serve, browser: tuple[Page, list[str]], tmp_path: Path) -> None:
    """The page places an order and shows its steps as they happen, with JavaScript or without."""
    page, complaints = browser
    server = serve(ORDERS_STEP_DELAY_MS="700", ORDERS_FAIL="reserve:1", ORDERS_RETRY_DELAY_MS="1500")
    page.goto(server.url)
    page.screenshot(path=tmp_path / "form.png")
    page.get_by_label("Brass sharpener").fill("2")
    page.get_by_label("E-mail").fill("grace@example.com")
    page.get_by_label("Order number").fill("7")
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_role("heading")).to_have_text("Order 7")
    steps = page.get_by_role("listitem")
    expect(steps).to_contain_text(["Check the order", "goods aside", "Charge the customer", "confirmation"])
    expect(steps.nth(0)).to_contain_text("Done", timeout=10_000)
    expect(steps.nth(1)).to_contain_text("Trying again", timeout=10_000)
    expect(steps.nth(1)).to_contain_text("reserve did not answer (attempt 1)")
    expect(steps.nth(3)).to_contain_text("To do")
    page.screenshot(path=tmp_path / "running.png")
    expect(page.get_by_role("status")).to_have_text("Complete", timeout=15_000)
    expect(steps).to_contain_text(["Done"] * 4)
    expect(page.get_by_role("definition")).to_contain_text([re.compile(r"^€ 34\.10$"), "rs_", "ch_", "msg_"])
    page.screenshot(path=tmp_path / "done.png")
    result = json.loads(server.ask("GET", "/status/order/7").body)["result"]
    expect(page.get_by_role("definition").nth(2)).to_have_text(result["charge_id"])
    assert complaints == []


def test_a_person_is_told_what_is_wrong(serve: Serve, browser: tuple[Page, list[str]], tmp_path: Path) -> None:
    """The form comes back as it was filled in, with what the shop did not understand."""
    page, _ = browser
    page.goto(serve().url)
    page.get_by_label("Notebook").fill("0")
    page.get_by_label("Order number").fill("a:b")
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_role("alert")).to_contain_text("Goods must hold from 1 to 100 items")
    page.get_by_label("Notebook").fill("1")
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_role("alert")).to_contain_text("which is reserved")
    expect(page.get_by_label("Order number")).to_have_value("a:b")
    page.screenshot(path=tmp_path / "wrong.png")
