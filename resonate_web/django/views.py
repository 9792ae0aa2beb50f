"""The one view of our routes. The gateway checks methods and origins itself, so nothing else may do it before."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.http import Http404, HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from resonate_web.django import messages
from resonate_web.django.site import site
from resonate_web.flow import Flow
from resonate_web.gateway.messages import Response


@csrf_exempt
def answer(request: HttpRequest, rest: str = "") -> HttpResponseBase:
    """Answer a request of our routes on this thread."""
    driver = site.core.on_thread
    return messages.rendered(driver.perform(_flow(request)), driver)


async def aanswer(request: HttpRequest) -> HttpResponseBase:
    """Answer a request of our routes on the event loop."""
    driver = site.on_loop
    return messages.rendered(await driver.perform(_flow(request)), driver)


def _flow(request: HttpRequest) -> Flow[Response]:
    gateway = site.gateway
    flow = gateway.handle(messages.message(request, gateway.resonate.settings, site.core.secret))
    if flow is None:
        raise Http404
    return flow


def _marked(view: Any) -> None:
    """Keep the project's defaults away: no login, no transaction around it, no slash at its end."""
    view.login_required = False
    view.should_append_slash = False
    view._non_atomic_requests = set(connections.settings)


_marked(answer)
