"""What a shop has anyway, with or without workflows."""

from __future__ import annotations

import json
import os
from typing import Any

Order = dict[str, Any]


def read_order(body: bytes) -> Order:
    """Return the order that a client sent."""
    order: Order = json.loads(body)
    return {"id": order.get("id"), "total": int(order["total"])}


def reserve(order: Order) -> str:
    """Put the goods aside."""
    return f"hold-{order['total']}"


def mail_manager(link: str) -> None:
    """Send the link to who may decide."""
    with open(os.environ["OUTBOX"], "a") as outbox:
        outbox.write(f"{link}\n")


def release(hold: str) -> str:
    """Put the goods back."""
    return f"released {hold}"


def charge_card(order: Order) -> str:
    """Take the money."""
    return f"charged {order['total']}"
