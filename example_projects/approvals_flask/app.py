"""Ask a person, by mail, and go on when they have answered: `flask run`, or gunicorn with gunicorn.conf.py."""

from __future__ import annotations

import json
import logging
import os
import secrets

from flask import Flask, Response, render_template, request
from flask.logging import default_handler
from flask.typing import ResponseReturnValue

from forms import APPROVER, LABELS, Checked, from_document, from_form
from resonate_web import IdInUse, InvalidId
from resonate_web.flask import Resonate
from workflows import ask_for_approval

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

# The links in mails begin with this; the default is where `flask run` serves.
os.environ.setdefault("RESONATE_BASE_URL", "http://127.0.0.1:5000")

# `eager`: `flask run` takes up interrupted runs by itself; under gunicorn the hooks in gunicorn.conf.py do.
resonate = Resonate(app, autostart="eager")
resonate.register(ask_for_approval)

logging.getLogger("mail").setLevel(logging.INFO)  # mail that is not sent is shown where the server runs
logging.getLogger("mail").addHandler(default_handler)


@app.get("/")
def page() -> str:
    """Show the form."""
    return shown({})


@app.post("/start-workflow")
def start_workflow() -> ResponseReturnValue:
    """Ask for a decision, once for each `workflow_id`; answered when the question is on disk.

    A browser is sent to the page of the run, a machine gets the status document.
    """
    form = request.mimetype == "application/x-www-form-urlencoded"
    checked = from_form(request.form) if form else from_json(request.get_data())
    if not checked.errors:
        try:
            return resonate.start(f"workflow/{checked.question['workflow_id']}", ask_for_approval, checked.question)
        except InvalidId as error:
            checked.errors["workflow_id"] = f"cannot be used: {error}"
        except IdInUse:
            if not form:
                raise  # answered as a problem document
            return shown({"workflow_id": "belongs to another question"}), 409
    return (shown(checked.errors), 400) if form else invalid(checked.errors)


def from_json(body: bytes) -> Checked:
    """Check a body that should be JSON."""
    try:
        return from_document(json.loads(body))
    except (ValueError, RecursionError):
        return Checked(errors={"body": "must be JSON"})


def invalid(errors: dict[str, str]) -> Response:
    """Return the problem document of a question that was not asked."""
    problem = {
        "type": "urn:approvals:problem:invalid-question",
        "title": "The question is not valid.",
        "status": 400,
        "detail": "; ".join(f"{name} {message}" for name, message in errors.items()),
        "errors": errors,
    }
    return Response(json.dumps(problem), 400, content_type="application/problem+json")


def shown(errors: dict[str, str]) -> str:
    """Return the page with the form, and with what is wrong with it."""
    # Sent twice, the form still asks once: the reference is made with the page.
    start = {"workflow_id": secrets.token_hex(4), "approver-1": APPROVER}
    return render_template("start.html", errors=errors, labels=LABELS, values=request.form or start)


@app.after_request
def strict(response: Response) -> Response:
    """Let pages load only what this app serves, and run nothing inline."""
    policy = "default-src 'none'; img-src 'self'; style-src 'self'; base-uri 'none'; form-action 'self'"
    response.headers.setdefault("Content-Security-Policy", f"{policy}; frame-ancestors 'none'")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
