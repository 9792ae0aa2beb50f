"""Pages as applications may have them: long ids, many steps, every state, and text that wants to be more than text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resonate_web.gateway.shown import (
    ApprovalPage,
    ApprovalsPage,
    Cancel,
    Field,
    Pending,
    ProblemPage,
    Shown,
    StatusPage,
    Vote,
)

BEGIN = datetime(2026, 11, 22, 18, 59, 58, 120_000, tzinfo=UTC)

XSS = "</p></title></textarea></script>\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}&amp;"
"""A text that breaks out wherever it is not escaped."""

LONG_ID = "tenant/Zürich-Altstetten/орден/注文/2026-11-22/" + "a1b2c3d4e5f6" * 10

REFUSED = (
    "HTTPSConnectionPool(host='payments.example.com', port=443): Max retries exceeded with url: /v1/charges?"
    "idempotency_key=order/42:charge_card:1 (Caused by ConnectTimeoutError('Connection to payments.example.com "
    "timed out. (connect timeout=10)'))\nThe provider says on its status page that some requests in eu-central-1 "
    "fail. Attempts go on with growing pauses until the deadline of the run; nothing has to be done now."
)

RESULT = {
    "order": "42",
    "total": {"amount": "1240.00", "currency": "EUR", "vat": {"rate": 0.19, "amount": "197.98"}},
    "lines": [
        {"sku": "sharpener-brass", "title": "Brass sharpener “Grün”", "qty": 2, "price": "12.50"},
        {"sku": "notebook-a5", "title": "Notebook A5, dotted, 192 pages", "qty": 30, "price": "18.90"},
    ],
    "charge": "ch_" + "9f8e7d6c" * 8,
    "notes": None,
}

SUMMARY = """Order 42 by Grace Hopper, Grün & Söhne GmbH

2 x Brass sharpener          25.00 EUR
30 x Notebook A5, dotted    567.00 EUR
1 x Standing desk           648.00 EUR
Total                     1,240.00 EUR

The customer has a limit of 1,000 EUR without a decision."""

FIELDS = (
    Field(name="cost_centre", label="Cost centre", required=True, hint="Four digits, as in the yearly plan."),
    Field(name="amount", label="Approved amount in EUR", kind="number", required=True),
    Field(name="until", label="Valid until", kind="date"),
    Field(name="carrier", label="Carrier", kind="choice", choices=("DHL", "DPD", "Pick-up"), required=True),
    Field(name="delivery", label="Notes on the delivery", kind="textarea"),
)

ASKED = ("manager@example.com", "Наталья Иванова", "head.of.purchasing@a-subsidiary-with-a-long-name.example.com")


def at(seconds: float) -> str:
    """Return an instant so long after the run's begin."""
    return (BEGIN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def step(name: str, begin: float, took: float | None = 0.4, **changes: Any) -> dict[str, Any]:
    """Return a step of a status document, finished unless `took` is None."""
    return {
        "name": name,
        "kind": "step",
        "status": "running" if took is None else "succeeded",
        "attempt": 1,
        "started_at": at(begin),
        "finished_at": None if took is None else at(begin + took),
        "error": None,
        "next_attempt_at": None,
        **changes,
    }


def run(status: str = "running", **changes: Any) -> dict[str, Any]:
    """Return a status document."""
    done = status not in ("running", "waiting", "blocked")
    found = {
        "id": "order/42",
        "status": status,
        "reason": None,
        "done": done,
        "created_at": at(0),
        "updated_at": at(93_784),
        "steps": [
            step("validate", 0.1, 0.012),
            step("reserve", 0.2, 3.4),
            step("charge_card", 3.7, 41.2 if done else None),
        ],
        "approvals": [],
        "links": {"self": "/status/order/42?sig=x"},
    }
    return {**found, **changes}


APPROVAL = {
    "name": "manager",
    "state": "pending",
    "summary": SUMMARY,
    "approvers": ASKED[:2],
    "deadline_at": at(259_200),
}

RETRYING = step(
    "charge_card",
    3.7,
    None,
    attempt=4,
    error={"type": "requests.exceptions.ConnectTimeout", "message": REFUSED},
    next_attempt_at=at(86_500),
)

WAITS = [
    step("validate", 0.1, 0.012),
    step("reserve", 0.2, 3.4, attempt=3),
    step("send_mail", 3.7, 0.9),
    step("manager", 4.7, None, kind="promise", status="waiting"),
    step("sleep", 4.8, None, kind="sleep", status="waiting", until=at(604_800)),
    step("shipped", 4.9, None, kind="promise", status="waiting"),
    step("newsletter", 5.0, None, kind="detached", status="waiting"),
    step("enrich", 5.1, None, kind="rpc", status="waiting"),
    step("reminder", 86_402, 41.5, kind="workflow"),
]

ENDED = [
    step("validate", 0.1, 0.012),
    step(
        "charge_card", 3.7, 120.0, status="failed", attempt=11, error={"type": "CardDeclined", "message": "No funds."}
    ),
]

MANY = [step(f"import_page_{n}", n * 61.0, 7.25) for n in range(57)] + [
    step("import_page_57", 3600, None, attempt=2, error={"type": "Timeout", "message": "read timed out"}),
    step("import_page_58", 3600, None),
    step("import_page_59", 3600, 0.004, status="canceled", error={"type": "Canceled", "message": "it was canceled"}),
]

STILL = "/status/order/42?sig=x&still=1"

CANCEL = Cancel(action="/status/order/42/cancel?sig=y", nonce="n0nce")


def status(document: dict[str, Any], **changes: Any) -> StatusPage:
    """Return a status page as the gateway would make it."""
    return StatusPage(run=document, events="/events", refresh=2, **{"still": STILL, **changes})


def question(state: Any = "open", **changes: Any) -> ApprovalPage:
    """Return an approval page as the gateway would make it."""
    common: dict[str, Any] = {
        "name": "manager",
        "summary": SUMMARY,
        "run": "order/42",
        "run_url": "/status/order/42?sig=x",
        "asked": ASKED[:1],
        "you": ASKED[0],
        "requested_at": at(4.7),
        "deadline_at": at(259_200),
        "nonce": "n0nce",
    }
    return ApprovalPage(state=state, **{**common, **changes})


YES = Vote(by=ASKED[0], decision="approve", at=at(3600), comment="Fine with me.\nPlease order the oak one.")
YES_WITH_ANSWERS = Vote(
    by="link",
    decision="approve",
    at=at(7200),
    answers={"Cost centre": "4711", "Carrier": "DHL", "Notes": "Ring\ntwice"},
)
NO = Vote(by=ASKED[2], decision="reject", at=at(9000), comment="Over the budget of this quarter.")

PAGES: dict[str, Shown] = {
    "status running": status(run(), cancel=CANCEL),
    "status retrying": status(run(steps=[*WAITS[:2], RETRYING]), cancel=CANCEL),
    "status waiting": status(run("waiting", steps=WAITS, approvals=[APPROVAL]), cancel=CANCEL),
    "status blocked": status(
        run(
            "blocked", reason="NonDeterminism: step 3 is recorded as charge_card, and the code now calls charge_invoice"
        )
    ),
    "status fresh": status(run(steps=[])),
    "status still": StatusPage(run=run("running"), cancel=CANCEL),
    "status many steps": status(run(id=LONG_ID, steps=MANY)),
    "status succeeded": status(run("succeeded", result=RESULT, approvals=[{**APPROVAL, "state": "approved"}])),
    "status succeeded in short": status(run("succeeded", result={"order": "42", "state": "declined"})),
    "status large result": status(run("succeeded", result=[RESULT] * 5)),
    "status failed": status(run("failed", steps=ENDED, error={"type": "CardDeclined", "message": REFUSED})),
    "status canceled": status(run("canceled", error={"type": "Canceled", "message": "it was canceled"})),
    "status timed out": status(run("timedout", error={"type": "TimedOut", "message": "not in time"})),
    "approval open": question(),
    "approval with fields": question(
        fields=FIELDS, comment="required", asked=ASKED, needed=2, votes=(YES,), you=ASKED[1]
    ),
    "approval with errors": question(
        fields=FIELDS,
        comment="required",
        values={
            "cost_centre": "47",
            "amount": "a lot",
            "carrier": "DPD",
            "delivery": "\nBehind the\nhouse",
            "comment": "",
        },
        errors={
            "": "The form was open for too long. Please send it again.",
            "cost_centre": "Cost centre must have four digits.",
            "amount": "Approved amount in EUR must be a number.",
            "comment": "Please say why.",
            "decision": "Choose whether to approve or to reject.",
        },
    ),
    "approval voted": question("voted", asked=ASKED, needed=2, votes=(YES,), notice="thanks"),
    "approval approved": question(
        "approved", asked=ASKED, needed=2, votes=(YES, YES_WITH_ANSWERS), settled_at=at(7200), notice="thanks"
    ),
    "approval rejected": question("rejected", votes=(NO,), settled_at=at(9000), notice="late"),
    "approval timed out": question("timedout", settled_at=at(259_200)),
    "approval revoked": question("revoked", run=LONG_ID, run_url=None, settled_at=at(100)),
    "approval login": ApprovalPage(state="login", login_url="/login?next=/approvals/x"),
    "approvals": ApprovalsPage(
        you=ASKED[0],
        rows=(
            Pending(
                summary=SUMMARY, name="manager", run="order/42", url="/a/1", requested_at=at(5), deadline_at=at(259_200)
            ),
            Pending(summary="Pay 99 EUR to Ada?", name="expense", run=LONG_ID, url="/a/2", requested_at=at(86_400)),
        ),
        more="/approvals?after=2",
    ),
    "approvals none": ApprovalsPage(you=ASKED[1]),
    "problem 404": ProblemPage(status=404, title="There is nothing here, or it is not yours to see."),
    "problem 415": ProblemPage(
        status=415, title="The content type is not taken.", detail="Send application/json or a form, not text/plain."
    ),
}
"""One page of each kind that a person may meet."""

HOSTILE: dict[str, Shown] = {
    "status": status(
        run(
            "blocked",
            id=XSS,
            reason=XSS,
            steps=[step(XSS, 1, None, kind=XSS, status=XSS, started_at=XSS, error={"type": XSS, "message": XSS * 5})],
            approvals=[{**APPROVAL, "name": XSS, "summary": XSS, "approvers": [XSS], "deadline_at": XSS}],
        ),
        cancel=Cancel(action=XSS, nonce=XSS),
        still=XSS,
    ),
    "status ended": status(
        run(
            "succeeded",
            result={XSS: [XSS]},
            approvals=[
                {"name": XSS, "state": XSS, "summary": XSS, "decided_by": XSS, "decided_at": XSS, "comment": XSS}
            ],
        )
    ),
    "status failed": status(run("failed", error={"type": XSS, "message": XSS})),
    "approval": question(
        name=XSS,
        summary=XSS,
        run=XSS,
        run_url=XSS,
        asked=(XSS,),
        you=XSS,
        deadline_at=XSS,
        nonce=XSS,
        fields=(
            Field(name=XSS, label=XSS, hint=XSS),
            Field(name="c", label=XSS, kind="choice", choices=(XSS,)),
            Field(name="t", label=XSS, kind="textarea"),
        ),
        values={XSS: XSS, "c": XSS, "t": XSS, "comment": XSS},
        errors={XSS: XSS, "": XSS, "comment": XSS, "decision": XSS},
        votes=(Vote(by=XSS, decision="approve", at=XSS, comment=XSS, answers={XSS: XSS}),),
    ),
    "approvals": ApprovalsPage(
        you=XSS, rows=(Pending(summary=XSS, name=XSS, run=XSS, url=XSS, requested_at=XSS),), more=XSS
    ),
    "problem": ProblemPage(status=400, title=XSS, detail=XSS),
}
"""Pages whose every text is an attack."""


@pytest.fixture(params=PAGES)
def shown(request: pytest.FixtureRequest) -> Shown:
    """Return each page."""
    return PAGES[request.param]


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest) -> Shown:
    """Return each page with hostile texts."""
    return HOSTILE[request.param]


@pytest.fixture
def specimens() -> dict[str, Shown]:
    """Return all pages by name."""
    return PAGES


@pytest.fixture
def hostile_text() -> str:
    """Return the text with which the hostile pages are filled."""
    return XSS
