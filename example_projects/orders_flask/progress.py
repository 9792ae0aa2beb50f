"""How an order stands, in the words of the page."""

from __future__ import annotations

from typing import Any

from resonate_web.resonate.view import RunView

STEPS = {
    "validate": "Check the order",
    "reserve": "Put the goods aside",
    "charge": "Charge the customer",
    "confirm": "Send the confirmation",
}

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
        "running": "Being processed",
        "waiting": "Waiting",
        "blocked": "Stopped: it needs a person",
        "succeeded": "Complete",
        "failed": "Failed",
        "canceled": "Canceled",
        "timedout": "Took too long",
    },
}
"""What states are called; the script reads the same words from the page."""


def progress(run: RunView) -> dict[str, Any]:
    """Return what the page shows of a run."""
    recorded = {step.name: step for step in run.steps}
    steps = []
    for name, title in STEPS.items():
        step = recorded.get(name)
        if step is None:
            state, note = "todo", ""
        elif not step.settled_at and step.failures:
            state, note = "retrying", step.failures[-1].error_message
        else:
            state, note = ("succeeded" if step.settled_at else "running"), ""
        steps.append({"name": name, "title": title, "state": state, "note": note})
    return {"status": run.status, "reason": run.reason, "done": run.done, "steps": steps}
