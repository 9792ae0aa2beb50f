"""The shop: what a process does when it starts, and the views."""

from __future__ import annotations

from collections.abc import Mapping
from mimetypes import guess_type
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.apps import AppConfig
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe
from jinja2 import Environment

from forms import PROBLEM, TOO_LARGE, by_person, from_body, invalid
from progress import HEADERS, context
from resonate_web import IdInUse, InvalidId
from resonate_web.django import resonate, site
from workflows import process_order

ASSETS = {path.name: path for path in (Path(__file__).parent / "static").iterdir()}


class Shop(AppConfig):
    """The one app of this project. An app that is a package needs no `ready`: its `workflows.py` is discovered."""

    name = "shop"

    def ready(self) -> None:
        """Register the workflow in every process, before any interrupted order is taken up."""
        resonate.register(process_order)


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the order form and, with `?order=<id>`, how that order stands."""
    return shown(order=request.GET.get("order"))


@require_POST
def create_order(request: HttpRequest) -> HttpResponseBase:
    """Start an order from JSON or the page's form, once for each id; answered when it is on disk."""
    sent = request.headers.get("Content-Type", "")
    try:
        checked = from_body(sent, request.body)
    except RequestDataTooBig:
        return problem(TOO_LARGE)
    person = by_person(sent, request.headers.get("Accept", ""))
    status = 400
    if not checked.errors:
        order = checked.order
        try:
            accepted = resonate.start(f"order/{order['id']}", process_order, order)
            return HttpResponseRedirect(place(order["id"]), status=303) if person else accepted
        except InvalidId as error:
            checked.errors["id"] = f"cannot be used: {error}"
        except IdInUse:
            if not person:
                raise  # answered as a problem document
            checked.errors["id"], status = "belongs to an order with other contents", 409
    return shown(checked.errors, checked.form, status=status) if person else problem(invalid(checked.errors))


@require_safe
def asset(request: HttpRequest, name: str) -> HttpResponse:
    """Send one of the page's files; a larger shop leaves this to its web server."""
    if name not in ASSETS:
        raise Http404
    return HttpResponse(ASSETS[name].read_bytes(), content_type=guess_type(name)[0])


def shown(
    errors: Mapping[str, str] = {},
    form: Mapping[str, str] = {},
    *,
    order: str | None = None,
    status: int = 200,
) -> HttpResponse:
    """Return the page."""
    text = render_to_string("page.html", context(site.core, resonate.status_url, order, errors, form))
    return HttpResponse(text, status=status, headers=HEADERS)


def place(id: str) -> str:
    """Return where the page shows an order."""
    return f"{reverse('page')}?{urlencode({'order': id})}"


def problem(document: dict[str, Any]) -> HttpResponse:
    """Return a problem document."""
    return JsonResponse(document, status=document["status"], content_type=PROBLEM)


def environment(**options: Any) -> Environment:
    """Return the templates' world: what the page calls for links."""
    found = Environment(**options)
    found.globals.update(url=reverse, static=lambda name: reverse("asset", args=[name]))
    return found
