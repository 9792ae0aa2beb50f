"""A shop whose orders survive any crash: `flask run`, or `gunicorn -c gunicorn.conf.py -w 2 app:app`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestEntityTooLarge

from forms import LONGEST_BODY, PROBLEM, TOO_LARGE, by_person, from_body, invalid
from progress import HEADERS, context
from resonate_web import IdInUse, InvalidId
from resonate_web.flask import Resonate, get_resonate
from workflows import process_order

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = LONGEST_BODY
app.jinja_env.globals.update(url=url_for, static=lambda name: url_for("static", filename=name))

# A demo without accounts: anybody may read any order's status. `eager`: `flask run` takes up interrupted orders by
# itself; under gunicorn the hooks in gunicorn.conf.py do.
resonate = Resonate(app, status_access="public", autostart="eager")
resonate.register(process_order)


@app.get("/")
def page() -> Response:
    """Show the order form and, with `?order=<id>`, how that order stands."""
    return shown(order=request.args.get("order"))


@app.post("/orders")
def create_order() -> ResponseReturnValue:
    """Start an order from JSON or the page's form, once for each id; answered when it is on disk."""
    checked = from_body(request.content_type or "", request.get_data())
    person = by_person(request.content_type or "", request.headers.get("Accept", ""))
    status = 400
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
            checked.errors["id"], status = "belongs to an order with other contents", 409
    return shown(checked.errors, checked.form, status=status) if person else problem(invalid(checked.errors))


@app.errorhandler(RequestEntityTooLarge)
def too_large(error: RequestEntityTooLarge) -> Response:
    """Refuse a body that no order needs."""
    return problem(TOO_LARGE)


def shown(
    errors: Mapping[str, str] = {}, form: Mapping[str, str] = {}, *, order: str | None = None, status: int = 200
) -> Response:
    """Return the page."""
    found = context(get_resonate().core, resonate.status_url, order, errors, form)
    return Response(render_template("page.html", **found), status, HEADERS)


def problem(document: dict[str, Any]) -> Response:
    """Return a problem document."""
    return Response(json.dumps(document), document["status"], content_type=PROBLEM)
