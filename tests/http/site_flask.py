"""The application of the HTTP cases in Flask."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, Response, request

from resonate_web.flask import Resonate
from resonate_web.testing import http_flows

app = Flask(__name__)
app.secret_key = "not used: the cases have signing keys"
resonate = Resonate(app, prefix=os.environ["CASES_PREFIX"], **http_flows.settings())
http_flows.register(resonate)


@app.post(f"/<any({','.join(http_flows.FLOWS)}):flow>")
def start(flow: str) -> Any:
    verbs, id, fn, document = http_flows.begin(resonate, flow, request.get_json())
    return verbs.start(id, fn, document)


@app.get("/plain")
def plain() -> Response:
    return Response(http_flows.plain(), content_type="text/plain; charset=utf-8")


@app.route("/payments/<name>", methods=["POST", "PATCH"])
@resonate.idempotent
def pay(name: str) -> Response:
    status, fields, body = http_flows.pay(request.get_json())
    return Response(body, status, fields)


@app.post("/tips")
@resonate.idempotent(**http_flows.TIPS)
def tip() -> Response:
    status, fields, body = http_flows.pay(request.get_json())
    return Response(body, status, fields)
