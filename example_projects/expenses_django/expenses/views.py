"""The views: hand in an expense, log in. The library answers for the status of runs and for approvals."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from django.contrib.auth.views import LoginView
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST, require_safe

from expenses.forms import ExpenseForm, LoginForm, from_document
from expenses.people import address
from expenses.workflows import handle_expense
from resonate_web import IdInUse, InvalidId
from resonate_web.django import resonate

STATIC = {"site.css": "text/css", "colours.css": "text/css", "icon.svg": "image/svg+xml"}


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the form."""
    # Sent twice, the form still hands in one expense: the number is made with the page.
    start = {"employee": address(request) or "ada@example.com", "manager": "manager@example.com"}
    return render(request, "hand_in.html", {"form": ExpenseForm(initial={**start, "id": secrets.token_hex(4)})})


@csrf_exempt  # JSON is sent by no page of another site; the form is protected below
@require_POST
def hand_in(request: HttpRequest) -> HttpResponseBase:
    """Start the expense's workflow, once for each id; answered when it is on disk."""
    return from_json(request) if request.content_type == "application/json" else from_page(request)


def from_json(request: HttpRequest) -> HttpResponseBase:
    """Answer a machine: with the status document, or with what is wrong."""
    try:
        form = from_document(json.loads(request.body))
    except (ValueError, RecursionError):
        return invalid({"body": ["must be JSON"]})
    if form.is_valid():
        try:
            return started(form)
        except InvalidId as error:
            form.add_error("id", str(error))
    return invalid({name: list(found) for name, found in form.errors.items()})


@csrf_protect
def from_page(request: HttpRequest) -> HttpResponseBase:
    """Answer a person: with the page of the run, or with the form and what is wrong with it."""
    form = ExpenseForm(request.POST)
    status = 400
    if form.is_valid():
        try:
            return started(form)
        except InvalidId as error:
            form.add_error("id", f"It cannot be used: {error}.")
        except IdInUse:
            form.add_error("id", "It belongs to another expense.")
            status = 409
    return render(request, "hand_in.html", {"form": form}, status=status)


def started(form: ExpenseForm) -> HttpResponseBase:
    """Start the workflow, or join it."""
    return resonate.start(f"expense/{form.expense['id']}", handle_expense, form.expense)


def invalid(errors: dict[str, list[str]]) -> HttpResponse:
    """Return the problem document of an expense that was not accepted."""
    problem = {
        "type": "urn:expenses:problem:invalid-expense",
        "title": "The expense is not valid.",
        "status": 400,
        "detail": "; ".join(f"{name}: {' '.join(found)}" for name, found in errors.items()),
        "errors": errors,
    }
    return JsonResponse(problem, status=400, content_type="application/problem+json")


class Login(LoginView):
    """The page to log in; whoever is logged in sees as whom, and can log out."""

    form_class = LoginForm
    template_name = "login.html"


@require_safe
def static(request: HttpRequest, name: str) -> HttpResponse:
    """Return a style sheet or the icon: so small a site needs no other server for them."""
    if name not in STATIC:
        raise Http404
    content = (Path(__file__).parent / "static" / name).read_bytes()
    return HttpResponse(content, content_type=STATIC[name], headers={"Cache-Control": "no-cache"})
