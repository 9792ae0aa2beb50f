"""What the page shows: the form, or how an order stands, in the words of the page."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from forms import CATALOGUE
from resonate_web import RunError

STEPS = {
    "validate": "Check the order",
    "reserve": "Put the goods aside",
    "charge": "Charge the customer",
    "confirm": "Send the confirmation",
}

FIELDS = {"id": "Order number", "items": "Goods", "customer.id": "Customer number", "customer.email": "E-mail"}
"""What the page calls the fields of an order."""

WORDS = {
    "steps": {
        "todo": "To do",
        "running": "In progress",
        "retrying": "Trying again",
        "succeeded": "Done",
        "failed": "Failed",
        "canceled": "Canceled",
        "timedout": "Took too long",
    },
    "runs": {
        "running": "In progress",
        "waiting": "Waiting",
        "blocked": "Stopped, needs a person",
        "succeeded": "Complete",
        "failed": "Failed",
        "canceled": "Canceled",
        "timedout": "Took too long",
    },
    "lost": "The shop does not answer. The order is safe and continues when it is back.",
}
"""What states are called; the page's script reads the same words."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; "
    "style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""The page loads only what the shop serves, and runs nothing inline."""

_ENDED = {
    "resolved": "succeeded",
    "rejected": "failed",
    "rejected_canceled": "canceled",
    "rejected_timedout": "timedout",
}


def context(
    client: Any, status_url: Callable[[str], str], order: str | None, errors: Mapping[str, str], form: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the page's template shows: an order, or a form with what was typed and what is wrong with it."""
    run = client.view(f"order/{order}") if order else None
    result, failure = outcome(client, run.id) if run and run.done else (None, "")
    return {
        "catalogue": CATALOGUE,
        "errors": {FIELDS.get(field, field): message for field, message in errors.items()},
        "fresh": secrets.token_hex(4),  # sent twice, the form still places one order
        "order": order,
        "progress": run and progress(run),
        "reason": (run and run.reason) or failure,
        "result": result,
        "status_url": run and status_url(run.id),
        "values": form,
        "words": WORDS,
    }


def outcome(client: Any, id: str) -> tuple[dict[str, Any] | None, str]:
    """Return what came of a run that has ended: its result, or why there is none."""
    try:
        return client.get(id).result(), ""
    except RunError as error:
        return None, str(error)


def progress(run: Any) -> dict[str, Any]:
    """Return what the page shows of a run."""
    recorded = {step.name: step for step in run.steps}
    steps = []
    for name, title in STEPS.items():
        step, state, note = recorded.get(name), "todo", ""
        if step is not None:
            state = _ENDED.get(step.state.value, "running")
            if step.failures and state == "running":
                state, note = "retrying", step.failures[-1].error_message
        steps.append({"name": name, "title": title, "state": state, "note": note})
    return {"status": run.status, "done": run.done, "steps": steps}
