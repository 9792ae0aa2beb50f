"""The searches: the store lists, the machine judges."""

from __future__ import annotations

from resonate_web.machine import search as pages
from resonate_web.protocol.requests import PromiseSearch, Request, Response, ScheduleSearch, TaskSearch
from resonate_web.store.base import Store


def search(request: Request, store: Store, now: int) -> Response:
    """Answer a search as of `now` (ms). Raises: TypeError for any other request."""
    if not isinstance(request, PromiseSearch | TaskSearch | ScheduleSearch):
        raise TypeError(f"{type(request).__name__} is not a read: submit it")
    refused = pages.refusal(request)
    if refused is not None:
        return refused
    after, limit = request.cursor, request.limit + 1
    if isinstance(request, PromiseSearch):
        rows = store.search_promises(now=now, state=request.state, tags=request.tags, after=after, limit=limit)
        return pages.promises(request, rows, now)
    if isinstance(request, TaskSearch):
        return pages.tasks(request, store.search_tasks(now=now, state=request.state, after=after, limit=limit), now)
    return pages.schedules(request, store.search_schedules(tags=request.tags, after=after, limit=limit))
