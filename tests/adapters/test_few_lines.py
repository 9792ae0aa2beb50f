"""An order with a key, a status and an approval is at most 20 lines beyond the business functions, everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from resonate_web.testing.servers import Server, until

APPS = Path(__file__).parent / "few_lines"
MOST = 20
COMMANDS = {
    "flask": "flask --app flask_app run --port 0",
    "django": "gunicorn -b 127.0.0.1:0 --threads 4 --no-control-socket django_app:app",
    "starlette": "uvicorn --port 0 starlette_app:app",
}
ON_HOLD = {"total": 1500}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def lines(name: str) -> list[str]:
    """Return the lines of a file that say something: imports count, blank lines and comments do not."""
    text = (APPS / name).read_text()
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@pytest.fixture(scope="module", params=COMMANDS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """Return one of the apps as a server, and the file of what it mails; each test has orders of its own."""
    tmp_path = tmp_path_factory.mktemp("shop")
    outbox = tmp_path / "outbox"
    outbox.touch()
    environ = {
        "RESONATE_STORE": f"sqlite:///{tmp_path / 'resonate.db'}",
        "RESONATE_BASE_URL": "http://shop.example",
        "DJANGO_SETTINGS_MODULE": "django_settings",
        "OUTBOX": str(outbox),
    }
    server = Server(COMMANDS[request.param].split(), folder=APPS, log=tmp_path / "log", environ=environ)
    until(lambda: answers(server), what="an answer")
    yield server, outbox
    server.kill()


def answers(server: Server) -> bool:
    try:
        return server.ask("GET", "/none").status == 404
    except OSError:
        return False


@pytest.mark.parametrize("framework", COMMANDS)
def test_an_order_workflow_is_a_few_lines(framework: str) -> None:
    """Workflow, route, app and imports; in Django also the lines by which the project's settings name us."""
    settings = [line for line in lines("django_settings.py") if re.search("resonate_web", line)]
    count = len(lines(f"{framework}_app.py")) + (len(settings) if framework == "django" else 0)
    assert count <= MOST


def test_the_workflow_is_the_same() -> None:
    """Not one character of it depends on the framework."""
    workflows = {
        re.search(r"^@resonate\.register\n.*?\n\n", (APPS / f"{name}_app.py").read_text(), re.M | re.S)[0]  # type: ignore[index]
        for name in COMMANDS
    }
    assert len(workflows) == 1


@pytest.mark.parametrize(("decision", "result"), [("approve", "charged 1500"), ("reject", "released hold-1500")])
def test_it_is_all_there(shop: tuple[Server, Path], decision: str, result: str) -> None:
    """A request with a key runs once; its status tells that it waits; the mailed link decides; the result is told."""
    server, outbox = shop
    mailed = len(outbox.read_text().splitlines())
    first, again = [server.ask("POST", "/orders", ON_HOLD, Idempotency_Key=decision) for _ in range(2)]
    assert (first.status, again.status, again.headers["Idempotency-Replayed"]) == (202, 202, "true")
    assert again.headers["Location"] == first.headers["Location"]
    assert server.ask("POST", "/orders", {"total": 7}, Idempotency_Key=decision).status == 422
    status = first.headers["Location"].removeprefix("http://shop.example")
    until(lambda: server.ask("GET", status).json["status"] == "waiting")
    [link] = outbox.read_text().splitlines()[mailed:]
    assert server.ask("POST", urlsplit(link).path, {"decision": decision}).status == 200
    assert until(lambda: server.ask("GET", status).json.get("result")) == result


def test_an_order_may_name_itself(shop: tuple[Server, Path]) -> None:
    """With an id of its own, a small order is charged once without asking anybody; another one under it is refused."""
    server, outbox = shop
    mailed = outbox.read_text()
    order = {"id": "order/42", "total": 30}
    status = server.ask("POST", "/orders", order).headers["Location"].removeprefix("http://shop.example")
    assert status.startswith("/status/order/42")
    assert until(lambda: server.ask("GET", status).json.get("result")) == "charged 30"
    assert server.ask("POST", "/orders", order).json["result"] == "charged 30"
    assert server.ask("POST", "/orders", {**order, "total": 31}).status == 409
    assert outbox.read_text() == mailed
