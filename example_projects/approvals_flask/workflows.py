"""What happens when a decision is asked for: plain functions, the same under every web framework.

Environment: `APPROVAL_DEADLINE_S` is how long each person has; see also mail.py and ledger.py.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from datetime import timedelta
from typing import Any

from ledger import begin
from mail import send
from resonate_web import Context, Decision, StepContext

DEADLINE = timedelta(seconds=float(os.environ.get("APPROVAL_DEADLINE_S", 7 * 24 * 3600)))
NAMES = ("go-ahead", "second-go-ahead", "third-go-ahead")

Question = dict[str, Any]


def ask_for_approval(ctx: Context, question: Question) -> Generator[Any, Any, dict[str, Any]]:
    """Ask one person after the other, until somebody does not approve. Each `yield` is a checkpoint.

    While it waits it is a row in the store: no thread, no process, for seconds or for weeks.
    """
    answers = []
    for name, approver in zip(NAMES, question["approvers"], strict=False):
        approval = yield ctx.approval(name, summary=question["summary"], approvers=[approver], timeout=DEADLINE)
        yield ctx.run(send_email, approver, question, approval.url_for(approver))
        decision = yield approval
        answers.append(told(decision))
        if not decision.approved:
            break
    return {"workflow_id": question["workflow_id"], **answers[-1], "answers": answers}


def send_email(ctx: StepContext, approver: str, question: Question, url: str) -> None:
    """Send somebody the link behind which they decide."""
    begin(ctx, "send_email")
    text = f"You are asked for a decision:\n\n{question['summary']}\n\nOpen this page to approve or to reject:\n{url}\n"
    send(ctx.key, approver, f"Your decision on {question['workflow_id']}", text)


def told(decision: Decision) -> dict[str, Any]:
    """Return a decision as the status shows it."""
    return {
        "outcome": decision.outcome,
        "approved": decision.approved,
        "by": decision.by,
        "comment": decision.comment,
    }
