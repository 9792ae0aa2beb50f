"""Many processes, one run: however often an order is sent, and whoever executes it."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from resonate_web.testing.servers import Server, until

ONCE = ["validate", "reserve", "charge", "confirm"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def test_fifty_identical_posts_start_one_run(shop: Any, order: Any) -> None:
    """Over two processes each answer is 202 or 200, with one id and one Location, and one is not replayed."""
    servers = [shop.serve(workers=1), shop.serve(workers=1)]
    server = servers[0]
    assert servers[1].ask("GET", "/").status == 200
    with ThreadPoolExecutor(50) as pool:
        for id in ("42", "43", "44"):
            answers = list(pool.map(lambda n, id=id: servers[n % 2].ask("POST", "/orders", order(id)), range(50)))
            assert {answer.status for answer in answers} <= {200, 202}
            assert {answer.json["id"] for answer in answers} == {f"order/{id}"}
            assert {answer.headers["Location"] for answer in answers} == {f"/status/order/{id}"}
            assert [answer.headers["Idempotency-Replayed"] for answer in answers].count(None) == 1
            assert shop.finished(f"order/{id}").status == "succeeded"
            assert shop.ledger.steps(f"order/{id}") == ONCE
    status = server.ask("GET", "/status/order/42").body
    other = server.ask("POST", "/orders", order("42", qty=3))
    assert (other.status, other.headers["Location"]) == (409, None)
    assert other.headers["Content-Type"] == "application/problem+json"
    assert b"result" not in other.body
    assert server.ask("GET", "/status/order/42").body == status
    assert shop.ledger.steps("order/42") == ONCE


def test_a_step_that_fails_is_retried_alone(shop: Any, order: Any) -> None:
    """After two failures the third attempt succeeds, and the steps before it have begun once."""
    server = shop.serve(ORDERS_FAIL="reserve:2", ORDERS_RETRY_DELAY_MS="20")
    assert server.ask("POST", "/orders", order("42")).status == 202
    assert shop.finished("order/42").status == "succeeded"
    assert shop.ledger.steps("order/42") == ["validate", "reserve", "reserve", "reserve", "charge", "confirm"]
    reserves = shop.ledger.lines("order/42", "reserve")
    assert [line["attempt"] for line in reserves] == [1, 2, 3]
    assert {line["key"] for line in reserves} == {"order/42/reserve/1"}


def test_a_preloading_master_executes_nothing(shop: Any, order: Any) -> None:
    """With --preload the app is imported before the fork, and still only workers open the store and run steps."""
    server = shop.serve("--preload", ORDERS_STEP_DELAY_MS="300")
    master = server.process.pid
    server.ask("POST", "/orders", order("42"))
    shop.ledger.wait_for("order/42", "charge")
    server.kill()
    server = shop.serve("--preload")
    shop.ledger.wait_for("order/42", "confirm")
    workers = {int(pid) for pid in children(server.process.pid)}
    last = {line["pid"] for line in shop.ledger.lines("order/42")[3:]}
    assert last <= workers
    assert master not in {line["pid"] for line in shop.ledger.lines()}
    assert [file for file in opened(server.process.pid) if "resonate.db" in file] == []
    assert shop.finished("order/42").status == "succeeded"


def test_a_step_that_kills_its_process_blocks_its_run(shop: Any, order: Any) -> None:
    """After five segfaults the run is `blocked` with the reason, and the site goes on."""
    server = shop.serve()
    start_fatal(server)

    def blocked() -> bool:
        found = shop.view("fatal/1")
        return found is not None and found.status == "blocked"

    until(blocked, 40)
    status = server.ask("GET", "/status/fatal/1").json
    assert (status["status"], status["done"]) == ("blocked", False)
    assert "crashes its process" in status["reason"]
    assert "5" in status["reason"]
    workers = until(lambda: len(found := children(server.process.pid)) == 2 and found)
    assert server.ask("POST", "/orders", order("42")).status == 202
    assert shop.finished("order/42").status == "succeeded"
    assert children(server.process.pid) == workers
    assert len(re.findall("SIGSEGV", server.output)) == 5


def start_fatal(server: Server) -> None:
    """Start the run that kills its process, which may die with the answer half sent: the start was durable before."""
    try:
        assert server.ask("POST", "/fatal/1").status == 202
    except (OSError, HTTPException):
        pass


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def opened(pid: int) -> list[str]:
    return [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists()]


def test_a_run_beside_a_fatal_one_is_not_blamed(shop: Any, order: Any) -> None:
    """An order that is in flight in a process whenever another run kills it is finished all the same."""
    server = shop.serve(workers=1, ORDERS_STEP_DELAY_MS="1000", RESONATE_RETRY_INTERVAL_MS="500")
    server.ask("POST", "/orders", order("42"))
    shop.ledger.wait_for("order/42", "validate")
    start_fatal(server)
    assert shop.finished("order/42", 60).status == "succeeded"
    until(lambda: shop.view("fatal/1").status == "blocked", 60)
    assert "crashes its process" in shop.view("fatal/1").reason
