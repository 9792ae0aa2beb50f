"""Plain functions, found by autodiscovery."""

from __future__ import annotations

import os
from typing import Any

from bookshop.models import Order
from django.db import connection

AWAY: list[bool] = []


def told(name: str) -> None:
    path = os.environ.get("TOLD")
    if path:
        with open(path, "a") as ear:
            ear.write(f"{name} {os.getpid()}\n")


def first(order: Any) -> int:
    told("first")
    return 1


def second(order: Any) -> str:
    told("second")
    with open(os.environ["GATE"]) as gate:
        return gate.read()


def process(ctx: Any, order: Any) -> Any:
    yield ctx.run(first, order)
    return (yield ctx.run(second, order))


def quick(ctx: Any, order: Any = None) -> Any:
    yield from ()
    return {"order": order}


def count_orders() -> int:
    return Order.objects.count()


async def acount_orders() -> int:
    return await Order.objects.acount()


def counting(ctx: Any, order: Any = None) -> Any:
    return [(yield ctx.run(count_orders)), (yield ctx.run(acount_orders))]


def in_transaction() -> bool:
    return bool(connection.in_atomic_block)


def asking(ctx: Any, order: Any = None) -> Any:
    answer = yield ctx.promise("answer")
    return (yield answer)


def approving(ctx: Any, order: Any = None) -> Any:
    approval = yield ctx.approval("manager", summary="Is it right?")
    decision = yield approval
    return [decision.outcome, decision.by, decision.comment]


def charge() -> str:
    if AWAY:
        raise ConnectionError("the bank does not answer")
    return "charged"


def paying(ctx: Any) -> Any:
    return (yield ctx.run(charge))


def failing(ctx: Any) -> Any:
    yield ctx.run(refuse)


def refuse() -> None:
    raise TypeError("no such card")


def _private(ctx: Any) -> Any:
    yield ctx.run(first, None)


def another() -> None:
    pass


def shifting(ctx: Any) -> Any:
    yield ctx.run(another if AWAY else charge)
    answer = yield ctx.promise("answer")
    return (yield answer)
