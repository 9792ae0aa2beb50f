"""The answer for a run that starts when the application's own transaction is committed."""

from __future__ import annotations

from resonate_web.clock import FOREVER
from resonate_web.gateway.access import Access
from resonate_web.gateway.messages import Request, Response
from resonate_web.gateway.negotiation import preferred
from resonate_web.gateway.starting import accepted
from resonate_web.protocol.records import EMPTY, Promise, PromiseState
from resonate_web.resonate.view import view
from resonate_web.workflow.ids import root_id


def pledged(access: Access, request: Request, id: str, *, now: int) -> Response:
    """Return what a start of this id would be answered with, without looking at the store; `now` in ms.

    Raises: InvalidId.
    """
    id = root_id(id)
    link = access.status_url(id, request.root)
    if preferred(request.headers.get("accept")) == "html":
        return Response(status=303, headers=(("Location", link), ("Content-Length", "0")))
    promise = Promise(
        id=id, state=PromiseState.PENDING, param=EMPTY, value=EMPTY, tags={}, created_at=now, timeout_at=now + FOREVER
    )
    return accepted(view(id, promise, None, ()), id, link, created=True)
