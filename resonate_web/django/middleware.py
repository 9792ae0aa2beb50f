"""`resonate_web.django.middleware.Middleware`, for WSGI and ASGI; as near to the top of MIDDLEWARE as may be.

It knows which request is being answered, so that `resonate.start` needs no request argument; it starts the engine
with the first request of any path; and it answers our errors as problem documents. Under ASGI it also answers our
routes, on the event loop: their view alone would take one of Django's threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from resonate_web.django import commands, messages, mount, views
from resonate_web.django.site import site
from resonate_web.gateway import problems

Next = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class Middleware:
    """Made by Django once per handler."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Next) -> None:
        self._next: Callable[[HttpRequest], Any] = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)
            self.process_view = self._answer_on_loop
        commands.start_eagerly()

    def __call__(self, request: HttpRequest) -> Any:
        """Answer a request, or return what is awaited for its answer."""
        if self._async:
            return self._answered(request)
        if not site.started:
            site.start()
        token = mount.CURRENT.set(request)
        try:
            return self._next(request)
        finally:
            mount.CURRENT.reset(token)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Answer an error that a client may meet."""
        if isinstance(error, problems.ANSWERED):
            return messages.rendered(problems.problem_of(error), site.core.on_thread)
        return None

    async def _answered(self, request: HttpRequest) -> Any:
        if not site.started:
            await site.on_loop.read(site.start)
        token = mount.CURRENT.set(request)
        try:
            return await self._next(request)
        finally:
            mount.CURRENT.reset(token)

    async def _answer_on_loop(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        return await views.aanswer(request) if view is views.answer else None
