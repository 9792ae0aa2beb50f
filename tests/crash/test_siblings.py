"""A process dies and another one on the same host lives on: it takes the runs over, and only those of the dead."""

from __future__ import annotations

import http.client
import os
import signal
from typing import Any

import pytest

from resonate_web.testing.servers import until

STEPS = ["validate", "reserve", "charge", "confirm"]
MOST_COMMITS = 12
LONG_LEASE_MS = "600000"
"""A lease so long that whoever takes a run over within the test has found its owner dead."""
LEASE_MS = "2000"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_a_sibling_takes_over_long_before_the_lease(shop: Any, order: Any) -> None:
    """Of two servers on one store one is killed during `charge`; the other begins it again, with the same key."""
    first = shop.serve(workers=1, ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS=LONG_LEASE_MS)
    second = shop.serve(workers=1, ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS=LONG_LEASE_MS)
    assert second.ask("GET", "/").status == 200
    first.ask("POST", "/orders", order("42"))
    before = shop.ledger.wait_for("order/42", "charge")
    first.kill()
    after = shop.ledger.wait_for("order/42", "charge", count=2)
    assert (after["key"], after["pid"] != before["pid"]) == (before["key"], True)
    assert shop.finished("order/42").status == "succeeded"
    assert shop.ledger.steps("order/42") == ["validate", "reserve", "charge", "charge", "confirm"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_may_die_at_each_commit(shop: Any, order: Any, when: str) -> None:
    """With a sibling that lives on there is no run or a whole one, and at most the step in flight is repeated."""
    server = shop.serve()
    assert server.ask("GET", "/").status == 200
    for number in range(1, MOST_COMMITS):
        run = f"order/{number}"
        shop.plan.write_text(f"worker {when} {number}")
        try:
            answered = server.ask("POST", "/orders", order(str(number))).status == 202
        except (OSError, http.client.HTTPException):
            answered = False
        if (when, number) == ("before", 1):
            assert not answered
            assert shop.view(run) is None
            assert server.ask("POST", "/orders", order(str(number))).headers["Idempotency-Replayed"] is None
        assert shop.finished(run).status == "succeeded"
        lines = shop.ledger.lines(run)
        steps = [line["step"] for line in lines]
        assert list(dict.fromkeys(steps)) == STEPS
        assert len(steps) <= len(STEPS) + (when == "before")
        assert len({line["key"] for line in lines}) == len(STEPS)
        if shop.plan.exists():
            break  # the order made fewer commits than this
    assert 5 <= number - 1 <= 7


def test_a_stopped_process_is_alive(shop: Any, order: Any) -> None:
    """SIGSTOP frees no run before its lease ends; then another process goes on, and the first can't write any more."""
    first = shop.serve(workers=1, ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS=LEASE_MS)
    second = shop.serve(workers=1, RESONATE_LEASE_MS=LEASE_MS)
    assert second.ask("GET", "/").status == 200
    first.ask("POST", "/orders", order("42"))
    worker = shop.ledger.wait_for("order/42", "charge")["pid"]
    os.kill(worker, signal.SIGSTOP)
    lease_until = shop.view("order/42").task.expires_at
    again = shop.ledger.wait_for("order/42", "charge", count=2)
    assert again["at"] * 1000 >= lease_until
    result = shop.finished("order/42").promise
    os.kill(worker, signal.SIGCONT)
    until(lambda: first.ask("GET", "/").status == 200)
    assert first.ask("POST", "/orders", order("43")).status == 202
    assert shop.finished("order/43").status == "succeeded"
    assert shop.view("order/42").promise == result
    assert shop.ledger.steps("order/42") == ["validate", "reserve", "charge", "charge", "confirm"]
    assert [line["pid"] == worker for line in shop.ledger.lines("order/42")] == [True, True, True, False, False]


def test_without_its_file_an_owner_is_not_known_to_be_dead(shop: Any, order: Any) -> None:
    """The runs of a process whose file nobody can reach wait until their leases end."""
    first = shop.serve(workers=1, ORDERS_STEP_DELAY_MS="60000", RESONATE_LEASE_MS=LEASE_MS)
    first.ask("POST", "/orders", order("42"))
    shop.ledger.wait_for("order/42", "validate")
    for path in (shop.folder / "resonate.db.owners").iterdir():
        path.unlink()
    second = shop.serve(workers=1, RESONATE_LEASE_MS=LEASE_MS)
    assert second.ask("GET", "/").status == 200
    first.kill()
    lease_until = shop.view("order/42").task.expires_at
    again = shop.ledger.wait_for("order/42", "validate", count=2)
    assert again["at"] * 1000 >= lease_until
    assert shop.finished("order/42").status == "succeeded"
