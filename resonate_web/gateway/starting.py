"""Starting a run from a request: one id, one run, one answer however often it is asked."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from resonate_web.errors import IdInUse, KeyReused, TooLarge
from resonate_web.flow import Call, Flow, Read
from resonate_web.gateway.access import Access, principal
from resonate_web.gateway.messages import Request, Response, answer, encoded
from resonate_web.gateway.negotiation import preference, preferred
from resonate_web.gateway.request_keys import concrete_path, key_of, scoped
from resonate_web.gateway.status import document, retry_after
from resonate_web.gateway.waiting import ended
from resonate_web.resonate import Launch, Options, Resonate
from resonate_web.resonate.launch import PRINCIPAL
from resonate_web.resonate.view import RunView, view
from resonate_web.workflow.ids import root_id

REPLAYED = "Idempotency-Replayed"
"""Field of every answer that joined a run instead of starting one."""

REQUESTED = "request/"
"""How the ids of runs begin that were started without one: a digest of the request's key follows, or random letters."""


def start(
    resonate: Resonate,
    access: Access,
    request: Request,
    id: str | None,
    fn: Callable[..., Any] | str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Options,
) -> Flow[Response]:
    """Start a run or join it, durably before this returns: 202, or 200 once it has ended; 303 for a browser.

    Without an id, the request's `Idempotency-Key` names the run, within its principal, method and path. A client
    that prefers to wait is kept until the run has ended, as long as the server allows.

    Raises: InvalidId, InvalidKey, TooLarge, IdInUse, KeyReused and StoreUnavailable for the client
    (`problems.ANSWERED`); NotRegistered and Unserializable for whoever wrote the view.
    """
    if id is not None:
        id = root_id(id)
    check_size(request, resonate.settings.max_body)
    who = yield Call(lambda: principal(request))
    if who is not None:
        options = options.with_(tags={**options.tags, PRINCIPAL: who})
    keyed = id is None
    id = id or named(request, who)
    try:
        launch = yield from resonate.launching(id, fn, args, dict(kwargs), options)
    except IdInUse:
        if keyed:
            raise KeyReused("the Idempotency-Key was used before, for a request with other contents") from None
        raise
    return (yield from _answered(resonate, request, launch, id, access.status_url(id, request.root)))


def named(request: Request, who: str | None) -> str:
    """Return the id of a run that the view does not name. Raises: InvalidKey."""
    key = key_of(request)
    if key is None:
        return f"{REQUESTED}{secrets.token_hex(16)}"
    return f"{REQUESTED}{scoped(who, request.method, concrete_path(request), key)}"


def check_size(request: Request, limit: int) -> None:
    """Raise TooLarge for a body of more than `limit` bytes; the length field is believed, else the body is read."""
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        size = int(length)
    else:
        size = len(request.read()) if "transfer-encoding" in request.headers else 0
    if size > limit:
        raise TooLarge(f"the request's body has {size} bytes; at most {limit} are taken")


def accepted(run: RunView, id: str, link: str, *, created: bool) -> Response:
    """Return the answer to a start: 202 with the document, or 200 once the run has ended."""
    headers = [("Location", link), ("Operation-Location", link), *retry_after(run)]
    if not created:
        headers.append((REPLAYED, "true"))
    return answer(200 if run.done else 202, encoded(document(run, id, link)), headers=headers)


def _answered(resonate: Resonate, request: Request, launch: Launch, id: str, link: str) -> Flow[Response]:
    if preferred(request.headers.get("accept")) == "html":
        return Response(status=303, headers=(("Location", link), ("Content-Length", "0")))
    wishes = preference(request.headers)
    applied = "respond-async" if wishes.respond_async else None
    run: RunView | None = None
    if wishes.wait_ms is not None and (yield from ended(resonate, request, launch.id, wishes.wait_ms)):
        applied = "wait"
    if not launch.created or applied == "wait":
        run = yield Read(lambda: resonate.view(launch.id))
    response = accepted(
        run or view(launch.id, launch.promise, None, ()),  # a new run has nothing to read yet
        id,
        link,
        created=launch.created,
    )
    if applied is None:
        return response
    return response.with_headers(("Preference-Applied", applied))
