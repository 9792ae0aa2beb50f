"""What happens to an expense: plain functions. Django's app finds this module and registers the workflow.

Environment: `EXPENSES_DEADLINE_S` is how long a manager has; see also mail.py and ledger.py.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from datetime import timedelta
from decimal import Decimal
from typing import Any

from expenses.ledger import begin
from expenses.mail import send
from resonate_web import Context, Decision, StepContext

DEADLINE = timedelta(seconds=float(os.environ.get("EXPENSES_DEADLINE_S", 3 * 24 * 3600)))
LIMIT = Decimal(100)
"""What is above this needs a manager's approval."""

STATES = {"approved": "paid", "rejected": "rejected", "timedout": "expired", "revoked": "withdrawn"}
"""What becomes of an expense, by how its approval ended."""

Expense = dict[str, str]


def handle_expense(ctx: Context, expense: Expense) -> Generator[Any, Any, dict[str, Any]]:
    """Take an expense from the hand-in to its end. Each `yield` is a checkpoint: what it returned stays done."""
    decision = None
    if Decimal(expense["amount"]) > LIMIT:
        approval = yield ctx.approval(
            "manager",
            summary=f"{expense['employee']} asks for {expense['amount']}\u00a0€.",
            approvers=[expense["manager"]],
            require_login=True,
            timeout=DEADLINE,
        )
        yield ctx.run(send_email, expense, approval.url)
        decision = yield approval  # no thread, no poll: it waits in the database, for days
    state = "paid" if decision is None else STATES[decision.outcome]
    payment = (yield ctx.options(announce=True).run(reimburse, expense)) if state == "paid" else None
    yield ctx.run(tell_employee, expense, state, decision)
    return {
        "id": expense["id"],
        "state": state,
        "payment": payment,
        "outcome": decision and decision.outcome,
        "by": decision and decision.by,
        "reason": decision and decision.comment,
    }


def send_email(ctx: StepContext, expense: Expense, url: str) -> None:
    """Send the manager the link behind which they decide."""
    begin(ctx, "send_email")
    text = f"{expense['employee']} asks for {expense['amount']} €.\n\nLog in to approve or to reject it:\n{url}\n"
    send(ctx.key, expense["manager"], f"Expense {expense['id']} needs your decision", text)


def reimburse(ctx: StepContext, expense: Expense) -> str:
    """Pay; return the payment's number. The same key is the same payment, should a crash start this twice."""
    begin(ctx, "reimburse")
    return f"pay-{ctx.key}"


def tell_employee(ctx: StepContext, expense: Expense, state: str, decision: Decision | None) -> None:
    """Send the employee how it ended."""
    begin(ctx, "tell_employee")
    by = f"{decision.by} has" if decision and decision.by else "The manager has"
    sentence = {
        "paid": f"{expense['amount']} € are on their way to you.",
        "rejected": f"{by} rejected it.",
        "expired": f"{expense['manager']} did not decide in time. You can hand it in again under another number.",
        "withdrawn": "The question was withdrawn.",
    }[state]
    reason = f"\n\n{decision.comment}" if decision and decision.comment else ""
    send(ctx.key, expense["employee"], f"Expense {expense['id']}: {state}", f"{sentence}{reason}\n")
