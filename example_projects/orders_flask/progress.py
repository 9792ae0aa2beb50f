"""How an order stands, in the words of the page."""

from __future__ import annotations

from typing import Any

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

_ENDED = {
    "resolved": "succeeded",
    "rejected": "failed",
    "rejected_canceled": "canceled",
    "rejected_timedout": "timedout",
}


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
