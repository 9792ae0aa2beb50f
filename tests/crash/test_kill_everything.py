"""Every process is killed at once and started again; nothing is sent, and every order is completed."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from resonate_web.testing.servers import until

STEPS = ["validate", "reserve", "charge", "confirm"]
MOST_COMMITS = 12
"""More than any order makes."""

LEASE_MS = "600000"
"""A lease so long that whoever takes a run over within the test has found its owner dead."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_an_order_killed_during_charge_completes_by_itself(shop: Any, order: Any) -> None:
    """Long before its lease, without a request; finished steps once, the one in flight again with its key."""
    server = shop.serve(ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS=LEASE_MS)
    assert server.ask("POST", "/orders", order("42")).status == 202
    shop.ledger.wait_for("order/42", "charge")
    server.kill()
    assert shop.ledger.steps("order/42") == ["validate", "reserve", "charge"]
    shop.serve(ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS=LEASE_MS)
    shop.ledger.wait_for("order/42", "confirm")
    assert shop.finished("order/42").status == "succeeded"
    assert shop.ledger.steps("order/42") == ["validate", "reserve", "charge", "charge", "confirm"]
    charges = shop.ledger.lines("order/42", "charge")
    assert len({line["pid"] for line in charges}) == 2
    assert {line["key"] for line in charges} == {"order/42/charge/1"}


def test_a_server_that_ran_for_long_is_replaced_as_fast(shop: Any, order: Any, aged: Any) -> None:
    """The file by which a dead owner is known is not tidied up before its runs are taken over."""
    server = shop.serve(ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS=LEASE_MS)
    server.ask("POST", "/orders", order("42"))
    shop.ledger.wait_for("order/42", "charge")
    server.kill()
    aged(shop.folder / "resonate.db.owners")
    shop.serve(ORDERS_STEP_DELAY_MS="300", RESONATE_LEASE_MS=LEASE_MS)
    assert shop.ledger.wait_for("order/42", "confirm")["attempt"] == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_order_survives_a_crash_at_each_of_its_commits(shop: Any, order: Any, when: str) -> None:
    """There is no run or a whole one; a crash before a commit repeats at most one step, one after it repeats none."""
    server = shop.serve(workers=1)
    for number in range(1, MOST_COMMITS):
        run = f"order/{number}"
        shop.plan.write_text(f"all {when} {number}")
        answer = asked(server, order(str(number)))
        if answer == 202:
            until(lambda: server.process.poll() is not None or shop.ended(run))  # noqa: B023  (called at once)
        if shop.plan.exists():
            break  # the order made fewer commits than this
        server.kill()
        server = shop.serve(workers=1)
        if (when, number) == ("before", 1):
            assert answer is None
            assert server.ask("GET", f"/status/{run}").status == 404
            assert shop.ledger.steps(run) == []
            assert server.ask("POST", "/orders", order(str(number))).headers["Idempotency-Replayed"] is None
        assert shop.finished(run).status == "succeeded"
        holds(shop.ledger.lines(run), repeats=when == "before")
        again = server.ask("POST", "/orders", order(str(number)))
        assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")

    assert 5 <= number - 1 <= 7


def asked(server: Any, document: Any) -> int | None:
    """Return the status of an order's answer, None when the server died before it."""
    try:
        return int(server.ask("POST", "/orders", document).status)
    except (OSError, http.client.HTTPException):
        return None


def holds(lines: list[dict[str, Any]], *, repeats: bool) -> None:
    """All steps began in order, each once, but for at most one that began twice with one key."""
    steps = [line["step"] for line in lines]
    assert list(dict.fromkeys(steps)) == STEPS
    assert len(steps) <= len(STEPS) + repeats
    assert steps == sorted(steps, key=STEPS.index)
    assert len({line["key"] for line in lines}) == len(STEPS)
