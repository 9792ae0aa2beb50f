"""The pure half of the searches: what they refuse, and how rows become a page (protocol 3.1).

The store lists candidates in id order; it is asked for one more than the limit, which tells whether
there is a next page.
"""

from __future__ import annotations

from collections.abc import Sequence

from resonate_web.machine.checks import Refused, is_id
from resonate_web.machine.rows import seen, task_record
from resonate_web.machine.state import PromiseRow, ScheduleRow, TaskRow
from resonate_web.protocol.requests import PromiseSearch, Response, ScheduleSearch, TaskSearch

Search = PromiseSearch | TaskSearch | ScheduleSearch


def refusal(request: Search) -> Response | None:
    """Return the 400 for a malformed search, None when it may be asked."""
    if not 1 <= request.limit <= 1000:
        return Refused(400, "limit must be between 1 and 1000").response()
    if request.cursor is not None and not is_id(request.cursor):
        return Refused(400, "cursor must be the one of an earlier page").response()
    return None


def promises(request: PromiseSearch, rows: Sequence[PromiseRow], now: int) -> Response:
    """Make a page of promises as seen at `now` (ms) from at most `limit + 1` rows in id order."""
    records = [seen(row.record, now) for row in rows[: request.limit]]
    kept = tuple(record for record in records if request.state is None or record.state is request.state)
    ids = [record.id for record in records]
    return Response(status=200, promises=kept, cursor=_cursor(ids, len(rows), request.limit))


def tasks(request: TaskSearch, rows: Sequence[tuple[TaskRow, PromiseRow]], now: int) -> Response:
    """Make a page of tasks as seen at `now` (ms) from at most `limit + 1` rows in id order."""
    records = [task_record(task, seen(promise.record, now)) for task, promise in rows[: request.limit]]
    kept = tuple(record for record in records if request.state is None or record.state is request.state)
    ids = [record.id for record in records]
    return Response(status=200, tasks=kept, cursor=_cursor(ids, len(rows), request.limit))


def schedules(request: ScheduleSearch, rows: Sequence[ScheduleRow]) -> Response:
    """Make a page of schedules from at most `limit + 1` rows in id order."""
    records = tuple(row.record for row in rows[: request.limit])
    ids = [record.id for record in records]
    return Response(status=200, schedules=records, cursor=_cursor(ids, len(rows), request.limit))


def _cursor(ids: Sequence[str], found: int, limit: int) -> str | None:
    return ids[-1] if found > limit else None
