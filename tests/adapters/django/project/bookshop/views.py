"""Views that start runs in every way."""

from __future__ import annotations

import json
import os
from typing import Any

from bookshop import workflows
from bookshop.models import Order
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from resonate_web.django import resonate
from resonate_web.errors import NotFound, StoreUnavailable


@csrf_exempt
def start(request: HttpRequest, workflow: str) -> Any:
    order = json.loads(request.body)
    return resonate.start(order.get("id"), getattr(workflows, workflow), order)


@csrf_exempt
async def astart(request: HttpRequest, workflow: str) -> Any:
    order = json.loads(request.body)
    return await resonate.astart(order.get("id"), getattr(workflows, workflow), order)


@csrf_exempt
async def start_on_loop(request: HttpRequest) -> Any:
    return resonate.start("a", workflows.quick)


@csrf_exempt
def start_in_atomic(request: HttpRequest) -> Any:
    with transaction.atomic():
        verbs = resonate.options(allow_in_atomic=True) if "allow" in request.GET else resonate
        return verbs.start("atomic", workflows.quick)


@csrf_exempt
def start_on_commit(request: HttpRequest) -> Any:
    order = json.loads(request.body)
    with transaction.atomic():
        Order.objects.create(name=order["id"])
        resonate.start_on_commit(order["id"], workflows.quick, order)
        if order.get("fail"):
            raise StoreUnavailable("as the test asked for")
    return resonate.accepted(order["id"])


def unknown(request: HttpRequest) -> Any:
    raise NotFound("the shop's own")


async def aunknown(request: HttpRequest) -> Any:
    raise NotFound("the shop's own")


def pid(request: HttpRequest) -> Any:
    return JsonResponse(os.getpid(), safe=False)
