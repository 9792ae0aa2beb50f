"""`@resonate.idempotent` around a view: it runs once per Idempotency-Key, and its answer is replayed."""

from __future__ import annotations

import functools
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.handlers.exception import response_for_exception
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase

from resonate_web.django import messages
from resonate_web.django.keyed import in_transactions, message, refuse_atomic, told
from resonate_web.django.site import Site
from resonate_web.errors import ResonateError
from resonate_web.gateway import idempotency, problems
from resonate_web.gateway.idempotency import Rules
from resonate_web.gateway.messages import Response

View = Callable[..., Any]


class _EveryAlias(set[str]):
    """All databases, whichever there will be."""

    def __contains__(self, alias: object) -> bool:
        return True


def decorated(site: Site, view: View, rules: Rules) -> View:
    """Return a view that runs at most once per key; an `async def` view becomes one.

    What Django makes of `Http404`, `BadRequest` and `SuspiciousOperation` is an answer; other errors free the key.
    """
    made = _async(site, view, rules) if iscoroutinefunction(view) else _sync(site, view, rules)
    # With ATOMIC_REQUESTS Django would commit after the answer is stored: the view within gets its own transaction.
    made._non_atomic_requests = _EveryAlias()  # type: ignore[attr-defined]
    return idempotency.marked(made, view)


def _sync(site: Site, view: View, rules: Rules) -> View:
    @functools.wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        core = site.core
        driver = core.on_thread
        try:
            refuse_atomic()
            found = driver.perform(idempotency.claim(core, message(site, request, rules), rules))
        except problems.ANSWERED as error:
            return _problem(site, error)
        if isinstance(found, Response):
            return messages.rendered(found, driver)
        run = in_transactions(view)
        if found is None:
            response: HttpResponseBase = run(request, *args, **kwargs)
            return response
        try:
            try:
                response = run(request, *args, **kwargs)
            except Exception as error:
                response = _answer_to(site, request, error)
            captured = _captured(response)
        except BaseException:
            driver.perform(idempotency.release(core, found))
            raise
        return _marked(response, driver.perform(idempotency.keep(core, found, captured, rules)))

    return answered


def _async(site: Site, view: View, rules: Rules) -> View:
    @functools.wraps(view)
    async def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        core = site.core
        driver = site.on_loop
        try:
            asked = await told(request, rules)
            found = await driver.perform(idempotency.claim(core, message(site, request, rules), asked))
        except problems.ANSWERED as error:
            return _problem(site, error)
        if isinstance(found, Response):
            return messages.rendered(found, driver)
        if found is None:
            response: HttpResponseBase = await view(request, *args, **kwargs)
            return response
        try:
            try:
                response = await view(request, *args, **kwargs)
            except Exception as error:
                response = _answer_to(site, request, error)
            captured = _captured(response)
        except CancelledError:
            idempotency.abandon(core, found)
            raise
        except BaseException:
            await driver.perform(idempotency.release(core, found))
            raise
        return _marked(response, await driver.perform(idempotency.keep(core, found, captured, rules)))

    return answered


def _answer_to(site: Site, request: HttpRequest, error: Exception) -> HttpResponseBase:
    """Return the answer to an error that is one, while it is handled; raise any other again."""
    if isinstance(error, problems.ANSWERED):
        return _problem(site, error)
    if isinstance(error, Http404 | BadRequest | SuspiciousOperation):
        return response_for_exception(request, error)
    raise error


def _problem(site: Site, error: ResonateError) -> HttpResponseBase:
    return messages.rendered(problems.problem_of(error), site.core.on_thread)


def _captured(response: HttpResponseBase) -> Response | None:
    if response.streaming or not isinstance(response, HttpResponse):
        return None
    render = getattr(response, "render", None)
    if callable(render):  # a template's response is made late; what fails in it frees the key
        render()
    return Response(status=response.status_code, headers=tuple(response.items()), body=response.content)


def _marked(response: HttpResponseBase, stored: bool) -> HttpResponseBase:
    if not stored:
        response.headers[idempotency.STORED] = "false"
    return response
