"""The application of the HTTP cases in Django: the whole project in one module, for WSGI and for ASGI."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from resonate_web.testing import http_flows

ROOT, PREFIX = os.environ["CASES_ROOT"], os.environ["CASES_PREFIX"]

settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["resonate_web.django"],
    MIDDLEWARE=[
        "resonate_web.django.middleware.Middleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    RESONATE={name.upper(): value for name, value in http_flows.settings().items()},
    ROOT_URLCONF=__name__,
    SECRET_KEY="not used: the cases have signing keys",
)
django.setup()

from resonate_web.django import resonate  # noqa: E402

http_flows.register(resonate)


@csrf_exempt
def start(request: HttpRequest, flow: str) -> Any:
    verbs, id, fn, document = http_flows.begin(resonate, flow, json.loads(request.body))
    return verbs.start(id, fn, document)


@csrf_exempt
async def astart(request: HttpRequest, flow: str) -> Any:
    verbs, id, fn, document = http_flows.begin(resonate, flow, json.loads(request.body))
    return await verbs.astart(id, fn, document)


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse(http_flows.plain(), content_type="text/plain; charset=utf-8")


@csrf_exempt
@resonate.idempotent
def pay(request: HttpRequest, name: str) -> HttpResponseBase:
    return paid(request)


@csrf_exempt
@resonate.idempotent
async def apay(request: HttpRequest, name: str) -> HttpResponseBase:
    return await sync_to_async(paid, thread_sensitive=False)(request)


@csrf_exempt
@resonate.idempotent(**http_flows.TIPS)
def tip(request: HttpRequest) -> HttpResponseBase:
    return paid(request)


def paid(request: HttpRequest) -> HttpResponseBase:
    status, fields, body = http_flows.pay(json.loads(request.body))
    if isinstance(body, bytes):
        return HttpResponse(body, status=status, headers=fields)
    return StreamingHttpResponse(body, status=status, headers=fields)


def under(root: str, application: ASGIHandler) -> Any:
    """Mount an ASGI application: its paths begin with `root`, which is told to it."""

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "root_path": root}, receive, send)

    return mounted


wsgi = get_wsgi_application()
asgi = under(ROOT, get_asgi_application())
is_async = "uvicorn" in sys.modules
urlpatterns = [
    *(path(flow, astart if is_async else start, {"flow": flow}) for flow in http_flows.FLOWS),
    path("payments/<name>", apay if is_async else pay),
    path("tips", tip),
    path("plain", plain),
    path(f"{PREFIX.removeprefix('/')}/" if PREFIX else "", include("resonate_web.django.urls")),
]
