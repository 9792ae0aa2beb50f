"""The shop as a real server: ordered from, killed, started again, and looked at with a browser.

One file for all frameworks: beside each project's app lies a link to it, and the folder says which servers it starts.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from resonate_web.testing.servers import Ledger, Server, free_port, until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STEPS = ["validate", "reserve", "charge", "confirm"]
ORDER = {
    "id": "42",
    "items": [{"sku": "pencils", "qty": 3, "price": 2299}, {"sku": "ruler", "qty": 1, "price": 100}],
    "customer": {"id": "c-1", "email": "ada@example.com"},
}
GUNICORN = "gunicorn -c gunicorn.conf.py -w 2 -b 127.0.0.1:0 --no-control-socket app:app"
UVICORN = "uvicorn --workers 2 --port 0 app:app"
SERVERS = {
    "orders_flask": [GUNICORN],
    "orders_django": [GUNICORN, "uvicorn --port 0 asgi:app"],
    "orders_starlette": [UVICORN],
}[HERE.name]
"""What answers like every other shop."""
SMALL_SERVERS = {
    "orders_flask": ["flask run --port 0", "flask --app example_projects/orders_flask/app run --port 0"],
    "orders_django": ["manage runserver 127.0.0.1:{port}"],
    "orders_starlette": [],
}[HERE.name]
"""What the README starts; it must recover too."""
FORM = "application/x-www-form-urlencoded"

Serve = Callable[..., Server]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def started(command: str, scratch: Path, **environ: str) -> Server:
    """Start a server whose store and ledger are in a folder."""
    environ = {
        "RESONATE_STORE": f"sqlite:///{scratch / 'resonate.db'}",
        "EFFECT_LEDGER": str(scratch / "ledger"),
        **environ,
    }
    log = scratch / f"server-{len(list(scratch.glob('server-*')))}.log"
    folder = ROOT if "example_projects" in command else HERE
    server = Server(command.format(port=free_port()).split(), folder=folder, log=log, environ=environ)
    until(lambda: listens(server), what="listening")
    return server


def listens(server: Server) -> bool:
    """Tell whether a server takes connections; uvicorn tells its port before its workers do. This is no request."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) == 0


@pytest.fixture(scope="module", params=SERVERS, ids=lambda command: command.split()[0])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Ledger]]:
    """Return a server that several tests share, and its ledger; each test has orders of its own."""
    scratch = tmp_path_factory.mktemp("shop")
    server = started(request.param, scratch)
    yield server, Ledger(scratch / "ledger")
    server.kill()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a starter of servers on one store; all are gone when the test ends."""
    servers: list[Server] = []

    def start(command: str = SERVERS[0], **environ: str) -> Server:
        servers.append(started(command, tmp_path, **environ))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def finished(server: Server, id: str) -> dict[str, Any]:
    """Return the status of an order once it is done."""
    return until(lambda: (found := server.ask("GET", f"/status/order/{id}").json)["done"] and found)


def test_an_order_is_accepted_and_finished(shop: tuple[Server, Ledger]) -> None:
    """202 with a Location, four steps in order, and a result with all its parts."""
    server, ledger = shop
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


@pytest.mark.parametrize("command", SERVERS + SMALL_SERVERS, ids=lambda command: " ".join(command.split()[:2]))
def test_a_killed_shop_finishes_its_orders(serve: Serve, ledger: Ledger, command: str) -> None:
    """Every process is killed while a customer is charged; the next start completes the order without a request."""
    server = serve(command, ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS="600000")
    assert server.ask("POST", "/orders", ORDER).status == 202
    ledger.wait_for("order/42", "charge")
    server.kill()
    server = serve(command, ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS="600000")
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


def test_a_wrong_order_is_one_kind_of_problem(shop: tuple[Server, Ledger]) -> None:
    """Whatever is wrong with a body, the answer is a 400 problem document that names the fields; nothing starts."""
    server, ledger = shop
    before = ledger.lines()
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
    assert ledger.lines() == before
    assert server.ask("GET", "/status/order/7").status == 404


def test_another_order_of_the_same_number_is_refused(shop: tuple[Server, Ledger]) -> None:
    """409 without the first order's result or place, and the first is as it was."""
    server, ledger = shop
    server.ask("POST", "/orders", changed(id="first"))
    done = finished(server, "first")
    other = server.ask("POST", "/orders", {**item(qty=7), "id": "first"})
    assert (other.status, other.headers["Location"]) == (409, None)
    assert "result" not in other.json
    assert server.ask("GET", "/status/order/first").json == done
    assert ledger.steps("order/first") == STEPS


def test_the_form_places_an_order_once(shop: tuple[Server, Ledger]) -> None:
    """A browser is sent to the order's page; sent again, the form leads to the same order."""
    server, ledger = shop
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


def test_the_page_places_an_order(serve: Serve, ledger: Ledger, pages: Any) -> None:
    """A person orders on the page and reads the result on it; test_page.py of orders_flask looks closer."""
    server, page = serve(ORDERS_STEP_DELAY_MS="50"), pages()
    page.goto(server.url)
    page.get_by_label("Order number").fill("7")
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_role("status")).to_have_text("Complete", timeout=15_000)
    expect(page.get_by_role("listitem")).to_contain_text(["Done"] * 4)
    charge = server.ask("GET", "/status/order/7").json["result"]["charge_id"]
    expect(page.get_by_role("definition").nth(2)).to_have_text(charge)
    assert ledger.steps("order/7") == STEPS
