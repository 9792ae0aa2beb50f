"""A shop whose orders survive any crash: `flask run`, or `gunicorn -c gunicorn.conf.py -w 2 app:app`."""

from __future__ import annotations

import json
import secrets
from typing import Any

from flask import Flask, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestEntityTooLarge

from forms import CATALOGUE, Checked, from_document, from_form
from progress import FIELDS, WORDS, progress
from resonate_web import IdInUse, InvalidId, RunError
from resonate_web.flask import Resonate, get_resonate
from workflows import process_order

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

# A demo without accounts: anybody may read any order's status. `eager`: `flask run` takes up interrupted orders by
# itself; under gunicorn the hooks in gunicorn.conf.py do.
resonate = Resonate(app, status_access="public", autostart="eager")
resonate.register(process_order)

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


@app.get("/")
def page() -> str:
    """Show the order form and, with `?order=<id>`, how that order stands."""
    return shown(order=request.args.get("order"))


@app.post("/orders")
def create_order() -> ResponseReturnValue:
    """Start an order from JSON or the page's form, once for each id; answered when it is on disk."""
    form = request.mimetype in FORMS
    checked = from_form(request.form) if form else from_json(request.get_data())
    person = form and request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
    if not checked.errors:
        order = checked.order
        try:
            accepted = resonate.start(f"order/{order['id']}", process_order, order)
            return redirect(url_for("page", order=order["id"]), 303) if person else accepted
        except InvalidId as error:
            checked.errors["id"] = f"cannot be used: {error}"
        except IdInUse:
            if not person:
                raise  # answered as a problem document
            return shown(errors={"id": "belongs to an order with other contents"}), 409
    return (shown(errors=checked.errors), 400) if person else invalid(checked.errors)


def from_json(body: bytes) -> Checked:
    """Check a body that should be JSON."""
    try:
        return from_document(json.loads(body))
    except (ValueError, RecursionError):
        return Checked(errors={"body": "must be JSON"})


def invalid(errors: dict[str, str]) -> Response:
    """Return the problem document of an order that was not accepted."""
    problem = {
        "type": "urn:orders:problem:invalid-order",
        "title": "The order is not valid.",
        "status": 400,
        "detail": "; ".join(f"{field} {message}" for field, message in errors.items()),
        "errors": [{"field": field, "message": message} for field, message in errors.items()],
    }
    return Response(json.dumps(problem), 400, content_type="application/problem+json")


@app.errorhandler(RequestEntityTooLarge)
def too_large(error: RequestEntityTooLarge) -> Response:
    """Refuse a body that no order needs."""
    problem = {"type": "urn:orders:problem:too-large", "title": "The body is too large for an order.", "status": 413}
    return Response(json.dumps(problem), 413, content_type="application/problem+json")


def shown(order: str | None = None, errors: dict[str, str] | None = None) -> str:
    """Return the page."""
    run = get_resonate().core.view(f"order/{order}") if order else None
    result, failure = outcome(run.id) if run and run.done else (None, "")
    return render_template(
        "page.html",
        catalogue=CATALOGUE,
        errors={FIELDS.get(field, field): message for field, message in (errors or {}).items()},
        fresh=secrets.token_hex(4),  # sent twice, the form still places one order
        order=order,
        progress=run and progress(run),
        reason=(run and run.reason) or failure,
        result=result,
        status_url=run and resonate.status_url(run.id),
        values=request.form,
        words=WORDS,
    )


def outcome(id: str) -> tuple[dict[str, Any] | None, str]:
    """Return what came of a run that has ended: its result, or why there is none."""
    try:
        return resonate.get(id).result(), ""
    except RunError as error:
        return None, str(error)


@app.after_request
def strict(response: Response) -> Response:
    """Let pages load only what this app serves, and run nothing inline."""
    policy = "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'"
    response.headers.setdefault(
        "Content-Security-Policy", f"{policy}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    return response
