"""How the shop handles an order: plain functions, the same under every web framework.

Environment: `EFFECT_LEDGER` names a file that gets one line whenever a step begins; `ORDERS_STEP_DELAY_MS` makes each
step take that long; `ORDERS_FAIL`, such as `reserve:2,charge:1`, lets the first attempts of steps raise;
`ORDERS_RETRY_DELAY_MS` is the wait before the first retry, which doubles with each further one.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Generator
from typing import Any

from resonate_web import Context, Exponential, StepContext

Order = dict[str, Any]


class Unavailable(Exception):
    """A system that this shop depends on did not answer."""


def process_order(ctx: Context, order: Order) -> Generator[Any, Any, dict[str, Any]]:
    """Take an order from the cart to the confirmation. Each `yield` is a checkpoint: what it returned stays done."""
    ctx = ctx.options(retry=Exponential(delay=int(os.environ.get("ORDERS_RETRY_DELAY_MS", "200")) / 1000))
    total = yield ctx.run(validate, order)
    reservation = yield ctx.run(reserve, order)
    # Announced: that money is about to move is on record before it moves.
    charge_id = yield ctx.options(announce=True).run(charge, order, total)
    confirmation = yield ctx.run(confirm, order, charge_id)
    return {
        "order_id": order["id"],
        "total": total,
        "reservation": reservation,
        "charge_id": charge_id,
        "confirmation": confirmation,
    }


def validate(ctx: StepContext, order: Order) -> int:
    """Return what the order costs, in cents."""
    begin(ctx, "validate")
    return sum(item["qty"] * item["price"] for item in order["items"])


def reserve(ctx: StepContext, order: Order) -> str:
    """Put the goods aside; return the reservation's number."""
    begin(ctx, "reserve")
    return number("rs", ctx.key)


def charge(ctx: StepContext, order: Order, total: int) -> str:
    """Charge the customer; return the charge's number.

    A crash may start this twice, with the same key: a payment provider that is given it charges once.
    """
    begin(ctx, "charge")
    return number("ch", ctx.key)


def confirm(ctx: StepContext, order: Order, charge_id: str) -> str:
    """Tell the customer; return the message's number."""
    begin(ctx, "confirm")
    return number("msg", ctx.key)


def begin(ctx: StepContext, step: str) -> None:
    """Write the ledger's line before anything else happens, then be as slow and as unreliable as was asked for."""
    ledger = os.environ.get("EFFECT_LEDGER")
    if ledger:
        run = ctx.id.partition(":")[0]
        line = {"run": run, "step": step, "attempt": ctx.attempt, "pid": os.getpid(), "at": time.time(), "key": ctx.key}
        append(ledger, json.dumps(line))
    time.sleep(int(os.environ.get("ORDERS_STEP_DELAY_MS", "0")) / 1000)
    if ctx.attempt <= failures(step):
        raise Unavailable(f"{step} did not answer (attempt {ctx.attempt})")


def append(path: str, line: str) -> None:
    """Add a line to a file; it is on the disk when this returns."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{line}\n".encode())
        os.fsync(fd)
    finally:
        os.close(fd)


def failures(step: str) -> int:
    """Return how many first attempts of a step are to fail."""
    for plan in os.environ.get("ORDERS_FAIL", "").split(","):
        name, _, count = plan.partition(":")
        if name.strip() == step:
            return int(count)
    return 0


def number(kind: str, key: str) -> str:
    """Return the number that another system gives to what was asked for under a key: the same key, the same number."""
    return f"{kind}_{hashlib.sha256(key.encode()).hexdigest()[:12]}"
