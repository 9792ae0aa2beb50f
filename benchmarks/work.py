"""The work that is measured: plain functions, the same for every system. Imports nothing, so that a peer can too."""

from __future__ import annotations

from typing import Any

Order = dict[str, Any]


def order(i: int) -> Order:
    """Return the `i`-th order."""
    return {"id": f"o{i}", "sku": "A-100", "qty": 2, "amount": 1999 + i % 7}


def validate(order: Order) -> Order:
    """First step."""
    return {"ok": True, "id": order["id"]}


def reserve(order: Order) -> Order:
    """Second step."""
    return {"reservation": f"r-{order['id']}", "qty": order["qty"]}


def charge(order: Order) -> Order:
    """Third step."""
    return {"charge": f"c-{order['id']}", "amount": order["amount"]}


def confirm(order: Order, reservation: Order, charge: Order) -> Order:
    """Last step."""
    return {
        "id": order["id"],
        "reservation": reservation["reservation"],
        "charge": charge["charge"],
        "status": "confirmed",
    }
