"""Two server processes on one store, asked in the same instant; what they do to each other is no framework's matter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from resonate_web.testing.http_driver import environment
from resonate_web.testing.http_flows import mail_of
from resonate_web.testing.servers import Answer, Server, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROUNDS = 100
SITES = Path(__file__).parent
UVICORN = ("uvicorn", "--port", "0", "--no-access-log", "site_starlette:app")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    environ = {**environment(tmp_path, "plain"), "CASES_PREFIX": "", "CASES_ROOT": ""}
    environ["PYTHONPATH"] = str(SITES.parents[1])
    made = [Server(UVICORN, folder=SITES, log=tmp_path / f"server-{n}.log", environ=environ) for n in range(2)]
    yield made
    for server in made:
        server.kill()


def test_of_two_opposite_decisions_one_wins(servers: list[Server], tmp_path: Path) -> None:
    """In each of a hundred rounds one is 200 and the other 409, naming the winner; the run goes on with what won."""
    start = threading.Barrier(2, timeout=30)

    def decide(server: Server, link: str, decision: str) -> Answer:
        start.wait()
        return server.ask("POST", link, {"decision": decision, "comment": decision})

    won = []
    with ThreadPoolExecutor(2) as pool:
        for number in range(ROUNDS):
            id = f"race/{number}"
            status = servers[number % 2].ask("POST", "/approve", {"id": id}).headers["Location"]
            link = urlsplit(until(lambda id=id: mail_of(tmp_path, id).get(""))).path  # type: ignore[misc]
            decisions = ("approve", "reject") if number % 2 else ("reject", "approve")
            answers = list(pool.map(decide, servers, (link, link), decisions))
            assert sorted(answer.status for answer in answers) == [200, 409]
            first, late = sorted(answers, key=lambda answer: answer.status)
            outcome = first.json["outcome"]
            assert {name: late.json[name] for name in ("decision", "by", "at")} == {
                name: outcome[name] for name in ("decision", "by", "at")
            }
            path = urlsplit(status).path + "?" + urlsplit(status).query
            ended = until(lambda path=path: (a := servers[0].ask("GET", path)).json["done"] and a)  # type: ignore[misc]
            assert ended.json["result"]["comment"] == outcome["comment"] == outcome["decision"]
            won.append(outcome["decision"])
    assert set(won) == {"approve", "reject"}
