"""Starting a run from a request: one id, one run, one answer however often it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from resonate_web.errors import TooLarge
from resonate_web.gateway.access import Access, principal
from resonate_web.gateway.messages import Request, Response, answer, encoded
from resonate_web.gateway.status import document, retry_after
from resonate_web.resonate import Launch, Options, Resonate
from resonate_web.resonate.launch import PRINCIPAL
from resonate_web.resonate.view import RunView, view
from resonate_web.workflow.ids import root_id

REPLAYED = "Idempotency-Replayed"
"""Field of every answer that joined a run instead of starting one."""


def start(
    resonate: Resonate,
    access: Access,
    request: Request,
    id: str,
    fn: Callable[..., Any] | str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Options,
) -> Response:
    """Start a run or join it, durably before this returns: 202, or 200 once it has ended.

    Raises: InvalidId, TooLarge, IdInUse and StoreUnavailable for the client (`problems.ANSWERED`); NotRegistered
    and Unserializable for whoever wrote the view.
    """
    id = root_id(id)
    check_size(request, resonate.settings.max_body)
    who = principal(request)
    if who is not None:
        options = options.with_(tags={**options.tags, PRINCIPAL: who})
    launch = resonate.launch(id, fn, args, dict(kwargs), options)
    return _accepted(_recorded(resonate, launch), launch.created, id, access.status_url(id, request.root))


def check_size(request: Request, limit: int) -> None:
    """Raise TooLarge for a body of more than `limit` bytes; the length field is believed, else the body is read."""
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        size = int(length)
    else:
        size = len(request.read()) if "transfer-encoding" in request.headers else 0
    if size > limit:
        raise TooLarge(f"the request's body has {size} bytes; at most {limit} are taken")


def _recorded(resonate: Resonate, launch: Launch) -> RunView:
    found = None if launch.created else resonate.view(launch.id)
    return found or view(launch.id, launch.promise, None, ())  # a new run has nothing to read yet


def _accepted(run: RunView, created: bool, id: str, link: str) -> Response:
    headers = [("Location", link), ("Operation-Location", link), *retry_after(run)]
    if not created:
        headers.append((REPLAYED, "true"))
    return answer(200 if run.done else 202, encoded(document(run, id, link)), headers=headers)
