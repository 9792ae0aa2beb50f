"""What an order must look like: from a request's body to an order, or to what is wrong with it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

CATALOGUE = {
    "notebook": ("Notebook, dotted, A5", 1450),
    "pencils": ("Twelve cedar pencils", 2299),
    "sharpener": ("Brass sharpener", 980),
}
"""What the page sells: name and price in cents, by SKU. A JSON order may name anything."""

MOST_ITEMS, MOST_PIECES, HIGHEST_PRICE = 100, 1_000, 10_000_000
LONGEST_BODY = 64 * 1024
FORM = "application/x-www-form-urlencoded"
PROBLEM = "application/problem+json"
TOO_LARGE = {"type": "urn:orders:problem:too-large", "title": "The body is too large for an order.", "status": 413}


@dataclass
class Checked:
    """An order, if `errors` is empty; else a message for each field that is wrong. `form` is what a person typed."""

    order: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)

    def text(self, path: str, value: Any, longest: int) -> str:
        """Return a line of text; note an error if it is none."""
        if not isinstance(value, str):
            self.errors[path] = "must be text"
        elif not value.strip():
            self.errors[path] = "must not be empty"
        elif len(value) > longest:
            self.errors[path] = f"must have at most {longest} characters"
        elif not value.isprintable():
            self.errors[path] = "must be one line of printable characters"
        else:
            return unicodedata.normalize("NFC", value.strip())
        return ""

    def count(self, path: str, value: Any, least: int, most: int) -> int:
        """Return a whole number; note an error if it is none. True and 2.0 are none."""
        if type(value) is int and least <= value <= most:
            return value
        self.errors[path] = f"must be a whole number from {least} to {most}"
        return 0


def by_person(content_type: str, accept: str) -> bool:
    """Tell whether a browser sends the page's form; a person then gets a page, everything else JSON."""
    return is_form(content_type) and "text/html" in accept and "application/json" not in accept


def is_form(content_type: str) -> bool:
    """Tell whether a body is a form."""
    return content_type.partition(";")[0].strip().lower() == FORM


def from_body(content_type: str, body: bytes) -> Checked:
    """Check a body: the page's form, or else what should be JSON."""
    if is_form(content_type):
        return from_form(dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True)))
    try:
        return from_document(json.loads(body))
    except (ValueError, RecursionError):
        return Checked(errors={"body": "must be JSON"})


def invalid(errors: Mapping[str, str]) -> dict[str, Any]:
    """Return the problem document of an order that was not accepted."""
    return {
        "type": "urn:orders:problem:invalid-order",
        "title": "The order is not valid.",
        "status": 400,
        "detail": "; ".join(f"{field} {message}" for field, message in errors.items()),
        "errors": [{"field": field, "message": message} for field, message in errors.items()],
    }


def from_document(document: Any) -> Checked:
    """Check a JSON document; fields that an order does not have are left out."""
    checked = Checked()
    if not isinstance(document, dict):
        checked.errors["body"] = "must be a JSON object"
        return checked
    checked.order = {
        "id": checked.text("id", document.get("id"), 190),
        "items": _items(checked, document.get("items")),
        "customer": _customer(checked, document.get("customer")),
    }
    return checked


def from_form(form: Mapping[str, str]) -> Checked:
    """Check the page's form: how many of each product, to whom."""
    items: list[dict[str, Any]] = []
    for sku, (_, price) in CATALOGUE.items():
        pieces = form.get(f"qty-{sku}", "").strip() or "0"
        if pieces != "0":
            items.append({"sku": sku, "qty": _whole(pieces), "price": price})
    customer = {"id": form.get("customer-id", ""), "email": form.get("customer-email", "")}
    checked = from_document({"id": form.get("id", ""), "items": items, "customer": customer})
    checked.form = form
    return checked


def _whole(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _items(checked: Checked, items: Any) -> list[dict[str, Any]]:
    if not isinstance(items, list):
        checked.errors["items"] = "must be a list"
        return []
    if not 1 <= len(items) <= MOST_ITEMS:
        checked.errors["items"] = f"must hold from 1 to {MOST_ITEMS} items"
        return []
    found: list[dict[str, Any]] = []
    for n, item in enumerate(items):
        path = f"items[{n}]"
        if not isinstance(item, dict):
            checked.errors[path] = "must be an object with sku, qty and price"
            continue
        sku = checked.text(f"{path}.sku", item.get("sku"), 64)
        qty = checked.count(f"{path}.qty", item.get("qty"), 1, MOST_PIECES)
        price = checked.count(f"{path}.price", item.get("price"), 0, HIGHEST_PRICE)
        found.append({"sku": sku, "qty": qty, "price": price})
    return found


def _customer(checked: Checked, customer: Any) -> dict[str, str]:
    if not isinstance(customer, dict):
        checked.errors["customer"] = "must be an object with id and email"
        return {}
    id = checked.text("customer.id", customer.get("id"), 64)
    email = checked.text("customer.email", customer.get("email"), 254)
    name, _, host = email.partition("@")
    if email and not (name and "." in host and " " not in email):
        checked.errors["customer.email"] = "must be an e-mail address"
    return {"id": id, "email": email}
