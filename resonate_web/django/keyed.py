"""A request with a key: its body, read before the view and still there for it, and the transactions of its view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import RequestDataTooBig
from django.db import connections, transaction
from django.http import HttpRequest
from django.http.request import RawPostDataException

from resonate_web.django import messages
from resonate_web.django.site import Site
from resonate_web.errors import TooLarge, WrongCall
from resonate_web.gateway import idempotency
from resonate_web.gateway.idempotency import Rules
from resonate_web.gateway.messages import Request


def message(site: Site, request: HttpRequest, rules: Rules) -> Request:
    """Return the request as the gateway's, its body read if it has a key. Raises: TooLarge, InvalidKey, KeyMissing."""
    found = messages.message(request, site.core.settings, site.core.secret)
    if idempotency.wanted(found, rules) is None:
        return found
    body = _body(request, site.core.settings.max_body)
    return replace(found, read=lambda: body)


def _body(request: HttpRequest, limit: int) -> bytes:
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = 0
    if length > limit:
        raise TooLarge(f"the request's body has {length} bytes; at most {limit} are taken")
    try:
        body = request.body
    except RequestDataTooBig as error:
        raise TooLarge(str(error)) from None
    except RawPostDataException:  # a form with files that was parsed already, as for its CSRF token
        files = [(name, file.name or "", file) for name, held in request.FILES.lists() for file in held]
        fields = [(name, str(value)) for name, held in request.POST.lists() for value in held]
        return idempotency.parsed(fields, files)
    if len(body) > limit:
        raise TooLarge(f"the request's body has {len(body)} bytes; at most {limit} are taken")
    return body


async def told(request: HttpRequest, rules: Rules) -> Rules:
    """Ask the application's own fingerprint if that is `async def`."""
    if rules.fingerprint is None or not iscoroutinefunction(rules.fingerprint):
        return rules
    text = await rules.fingerprint(request)
    return replace(rules, fingerprint=lambda _: text)


def in_transactions(view: Callable[..., Any]) -> Callable[..., Any]:
    """Do for a view what ATOMIC_REQUESTS asks for."""
    apart = getattr(view, "_non_atomic_requests", ())
    for alias in connections:
        if connections.settings[alias]["ATOMIC_REQUESTS"] and alias not in apart:
            view = transaction.atomic(using=alias)(view)
    return view


def refuse_atomic() -> None:
    """Raise WrongCall inside of a transaction that the application opened; the one around a `TestCase` is not."""
    for connection in connections.all(initialized_only=True):
        if any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
            raise WrongCall(
                f"an idempotent view inside of atomic() on {connection.alias!r} would store an answer that a rollback "
                "makes untrue: put @resonate.idempotent around the view itself (of a class: its dispatch)"
            )
