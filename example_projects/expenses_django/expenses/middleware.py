"""What every answer of this site says to browsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@sync_and_async_middleware
def strict(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Let pages load only what this site serves, and run nothing inline; the library's pages say so themselves."""

    def marked(response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    async def on_loop(request: HttpRequest) -> HttpResponseBase:
        return marked(await get_response(request))

    return on_loop if iscoroutinefunction(get_response) else lambda request: marked(get_response(request))
