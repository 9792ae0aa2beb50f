"""The application that the HTTP cases ask: what it must have, and all of it that needs no framework.

Every adapter's driver serves this contract, below the application's mount point:

| request | answer |
|---|---|
| `POST /<flow>` for each flow of `FLOWS` | `begin(resonate, flow, document).start(...)`, see there |
| `POST` and `PATCH /payments/<anything>` | `pay(document)`, under `@resonate.idempotent` |
| `POST /tips` | `pay(document)`, under `@resonate.idempotent(**TIPS)` |
| `GET /plain` | `plain` as text: nothing durable about it |

A document is the request's JSON. The settings are `settings()`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from resonate_web.protocol.records import Promise
from resonate_web.resonate.launch import PRINCIPAL
from resonate_web.workflow.context import Context, StepContext
from resonate_web.workflow.retry import Constant, Never

Json = dict[str, Any]

KEYS = ("a key that was used before", "the key that signs in the cases")
BASE_URL = "http://shop.example"
WEBHOOK_KEY = "whsec_bWFjaGluZXMgdGhhdCBzZXR0bGUgcHJvbWlzZXM="
MAX_BODY = 65_536
MAX_STORED = 8_192


def settings(environ: Mapping[str, str] = os.environ) -> Json:
    """Return the settings of the application, by field name."""
    found: Json = {"principal": who, "signing_keys": KEYS, "max_body": MAX_BODY}
    if environ["CASES_VARIANT"] == "plain":
        return found | {"base_url": BASE_URL, "webhook_keys": (WEBHOOK_KEY,), "max_stored_response": MAX_STORED}
    return found | {"status_access": owns, "cancel_access": owns, "cache_size": 0}


def who(request: Any) -> str | None:
    """Return who is asking: in the cases whoever says so."""
    name: str | None = request.headers.get("X-User")
    return name


def owns(request: Any, promise: Promise) -> bool:
    """Tell whether a run was started by who is asking."""
    return promise.tags.get(PRINCIPAL) == who(request)


def begin(resonate: Any, flow: str, document: Json) -> tuple[Any, str | None, Callable[..., Any], Json]:
    """Return what has a `start` or `astart`, and the id, the workflow and the argument for it.

    The document's `options` are those of the start; of `keyed` flows the request's key is the id.
    """
    options = document.pop("options", None)
    id = None if flow.startswith("keyed") else document["id"]
    return (resonate.options(**options) if options else resonate), id, FLOWS[flow], document


def orders(ctx: Context, order: Json) -> Generator[Any, Any, Json]:
    """Do two steps."""
    total = yield ctx.run(priced, order)
    yield ctx.run(charged, total)
    return {"order": order.get("id"), "total": total}


def priced(order: Json) -> int:
    """Return what an order costs."""
    return 100 * int(order.get("quantity", 1))


def charged(total: int) -> str:
    """Take the money."""
    return f"charged {total}"


def waits(ctx: Context, order: Json) -> Generator[Any, Any, Any]:
    """Wait for somebody outside, who may have to say what the order's `schema` wants."""
    gate = yield ctx.promise("gate", schema=order.get("schema"))
    return (yield gate)


def held(ctx: Context, order: Json) -> Generator[Any, Any, str]:
    """Run a step until its gate opens."""
    yield ctx.options(announce=True).run(at_gate, order["gate"])
    return "through"


def at_gate(name: str) -> None:
    """Wait at a gate: a file that the case makes."""
    path = Path(os.environ["CASES_FOLDER"]) / f"gate-{name}"
    pause = threading.Event()
    for _ in range(3000):
        if path.exists():
            return
        pause.wait(0.01)
    raise TimeoutError(f"the gate {name} stayed closed")


def fails(ctx: Context, order: Json) -> Generator[Any, Any, None]:
    """End with the error of a step."""
    yield ctx.options(retry=Never()).run(sold_out)


def sold_out() -> None:
    """Find nothing on the shelf."""
    secret_of_the_source = "pencils"
    raise LookupError(f"{secret_of_the_source} are sold out")


def retries(ctx: Context, order: Json) -> Generator[Any, Any, str]:
    """Succeed at the third attempt of a step."""
    said: str = yield ctx.options(retry=Constant(0.01)).run(flaky)
    return said


def flaky(ctx: StepContext) -> str:
    """Fail twice."""
    if ctx.attempt < 3:
        raise ConnectionError("the bank does not answer")
    return f"attempt {ctx.attempt}"


def later(ctx: Context, order: Json) -> Generator[Any, Any, None]:
    """Fail a first attempt whose next one is hours away."""
    yield ctx.options(retry=Constant(7200)).run(unreachable)


def unreachable() -> None:
    """Fail every time."""
    raise ConnectionError("the bank is closed")


def changing(ctx: Context, order: Json) -> Generator[Any, Any, None]:
    """Issue another command when it is replayed: a run that cannot go on."""
    yield ctx.run(priced, order) if _first_time(ctx.id) else ctx.run(charged, 1)
    yield ctx.sleep(0.01)


def _first_time(name: str) -> bool:
    path = Path(os.environ["CASES_FOLDER"]) / f"seen-{hashlib.sha256(name.encode()).hexdigest()}"
    if path.exists():
        return False
    path.touch()
    return True


def approve(ctx: Context, order: Json) -> Generator[Any, Any, Json]:
    """Ask as the order's `rules` say, mail the links, and return the decision."""
    rules = dict(order.get("rules", {}))
    approval = yield ctx.approval("manager", summary=f"Order {order['id']}", **rules)
    if rules.get("approvers") and not rules.get("require_login"):
        links = {approver: approval.url_for(approver) for approver in rules["approvers"]}
    else:
        links = {"": approval.url}
    yield ctx.run(mailed, order["id"], links)
    decision = yield approval
    return {
        "outcome": decision.outcome,
        "by": decision.by,
        "comment": decision.comment,
        "fields": dict(decision.fields),
    }


def mailed(id: str, links: dict[str, str]) -> None:
    """Put the links where the case looks for them."""
    path = _mail(Path(os.environ["CASES_FOLDER"]), id)
    part = path.with_suffix(f".{secrets.token_hex(4)}")
    part.write_text(json.dumps(links))
    part.rename(path)


def mail_of(folder: Path, id: str) -> dict[str, str]:
    """Return the links that were mailed for an order, by approver; nothing before that."""
    try:
        links: dict[str, str] = json.loads(_mail(folder, id).read_text())
    except FileNotFoundError:
        return {}
    return links


def _mail(folder: Path, id: str) -> Path:
    return folder / f"mail-{hashlib.sha256(id.encode()).hexdigest()}"


FLOWS: Mapping[str, Callable[..., Any]] = {
    "orders": orders,
    "keyed": orders,
    "keyed_too": orders,
    "waits": waits,
    "held": held,
    "fails": fails,
    "retries": retries,
    "later": later,
    "changing": changing,
    "approve": approve,
}
"""The workflow of each route that starts one."""


def register(resonate: Any) -> None:
    """Register every workflow."""
    for flow in dict.fromkeys(FLOWS.values()):
        resonate.register(flow)


TIPS: Json = {"required": True, "allow_anonymous": True, "headers": ("X-Receipt",)}
"""The rules of the handler that strangers may use."""


def pay(document: Json) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
    """Return what the payments' handler answers: status, fields and body, as the document wants them.

    `status`, `fields` and `size` shape the answer, `stream` makes it one in pieces, `gate` lets the handler wait, and
    the first call with a `breaks` fails. Each call makes another charge.
    """
    if "breaks" in document and _first_time(document["breaks"]):
        raise RuntimeError("the handler is broken")
    if "gate" in document:
        (Path(os.environ["CASES_FOLDER"]) / f"at-{document['gate']}").touch()
        at_gate(document["gate"])
    charge = json.dumps({"charge": f"ch_{secrets.token_hex(8)}", "amount": document.get("amount")})
    body = charge.ljust(document.get("size", 0)).encode()
    fields = {"Content-Type": "application/json", **document.get("fields", {})}
    return document.get("status", 201), fields, iter([body[:5], body[5:]]) if document.get("stream") else body


def plain() -> str:
    """Return the text of the route that has nothing to do with us."""
    return "plain\n"
