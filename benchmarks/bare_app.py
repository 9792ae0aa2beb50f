"""The orders app without durability: a thread pool and a dict. What the web server and the client alone allow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask, Response, jsonify, request

from benchmarks import work

app = Flask(__name__)
pool = ThreadPoolExecutor(16)
results: dict[str, Any] = {}


@app.post("/orders")
def create() -> tuple[Response, int]:
    """Start an order."""
    order = request.get_json()
    pool.submit(_process, {"id": order["id"], "qty": len(order["items"]), "amount": order["items"][0]["price"]})
    return jsonify(id=order["id"]), 202


@app.get("/status/<path:id>")
def status(id: str) -> Response:
    """Tell what is known; the other worker's orders are not."""
    return jsonify(id=id, done=id in results, result=results.get(id))


def _process(order: work.Order) -> None:
    work.validate(order)
    reservation, charge = work.reserve(order), work.charge(order)
    results[order["id"]] = work.confirm(order, reservation, charge)
