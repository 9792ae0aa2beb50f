"""The application of the HTTP cases in Starlette."""

from __future__ import annotations

import os
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from resonate_web.starlette import Resonate
from resonate_web.testing import http_flows


async def start(request: Request) -> Any:
    verbs, id, fn, document = http_flows.begin(resonate, request.url.path.rpartition("/")[2], await request.json())
    return await verbs.astart(id, fn, document)


def plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse(http_flows.plain())


def paid(document: http_flows.Json) -> Response:
    status, fields, body = http_flows.pay(document)
    if isinstance(body, bytes):
        return Response(body, status, fields)
    return StreamingResponse(body, status, fields)


shop = Starlette(routes=[Route(f"/{flow}", start, methods=["POST"], name=flow) for flow in http_flows.FLOWS])
resonate = Resonate(shop, prefix=os.environ["CASES_PREFIX"], **http_flows.settings())
http_flows.register(resonate)


@resonate.idempotent
async def pay(request: Request) -> Response:
    return await run_in_threadpool(paid, await request.json())


@resonate.idempotent(**http_flows.TIPS)
async def tip(request: Request) -> Response:
    return paid(await request.json())


shop.router.routes += [
    Route("/payments/{name}", pay, methods=["POST", "PATCH"]),
    Route("/tips", tip, methods=["POST"]),
    Route("/plain", plain),
]

root = os.environ["CASES_ROOT"]
app = Starlette(routes=[Mount(root, shop)]) if root else shop
