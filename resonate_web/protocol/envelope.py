"""The JSON envelope: requests and responses as they travel (protocol 2.1 and 3.7).

A server uses `read_envelope`, `read_request` and `write_response`, in this order and with its checks of
tokens in between; a client uses `write_request` and `read_response`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resonate_web.protocol import requests as rq
from resonate_web.protocol.bodies import read_request, write_data
from resonate_web.protocol.fields import (
    Fields,
    Json,
    Malformed,
    as_fields,
    present,
    read_promise,
    read_schedule,
    read_task,
    write_promise,
    write_schedule,
    write_task,
)

__all__ = [
    "VERSION",
    "BadEnvelope",
    "Envelope",
    "Malformed",
    "read_envelope",
    "read_request",
    "read_response",
    "write_error",
    "write_request",
    "write_response",
]

VERSION = "2026-04-01"
"""The only version of the protocol that is spoken."""
KEEP_RUNNING = 300
"""The status of a suspension that found an awaited promise settled."""
FIRST_ERROR = 400
"""From this status on, data is an error text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A request whose outer shape was checked and whose data was not; `head` keeps the optional keys."""

    kind: str
    corr_id: str
    data: Json
    head: Mapping[str, Any]


class BadEnvelope(Malformed):
    """An envelope that gets 400, with what is echoed of it."""

    def __init__(self, text: str, kind: str, corr_id: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.corr_id = corr_id


def read_envelope(value: object) -> Envelope:
    """Return the envelope of a parsed JSON value.

    Raises: BadEnvelope.
    """
    raw = value if isinstance(value, dict) else {}
    head = raw["head"] if isinstance(raw.get("head"), dict) else {}
    kind, corr_id, version, data = raw.get("kind"), head.get("corrId"), head.get("version"), raw.get("data")
    if not (isinstance(kind, str) and isinstance(corr_id, str) and isinstance(version, str)):
        problem = "kind, head.corrId and head.version must be strings"
    elif not kind:
        problem = "kind must not be empty"
    elif not isinstance(data, dict):
        problem = "data must be an object"
    elif version != VERSION:
        problem = f"unsupported version: this server speaks {VERSION}"
    else:
        return Envelope(kind=kind, corr_id=corr_id, data=data, head=head)
    raise BadEnvelope(
        problem,
        kind if isinstance(kind, str) else "unknown",
        corr_id if isinstance(corr_id, str) else "0",
    )


def write_request(request: rq.Request, corr_id: str, **head: str) -> Json:
    """Return the envelope of a request; `head` adds optional keys such as `auth`."""
    full = {**head, "corrId": corr_id, "version": VERSION}
    data = write_data(request)
    for action in [data["action"]] if "action" in data else data.get("actions", []):
        action["head"] = {"corrId": corr_id, "version": VERSION}
    return {"kind": request.kind, "head": full, "data": data}


def write_response(request: rq.Request, corr_id: str, response: rq.Response) -> Json:
    """Return the envelope that answers a request."""
    if response.status >= FIRST_ERROR:
        return write_error(request.kind, corr_id, response.status, response.error or "refused")
    data = present(
        promise=None if response.promise is None else write_promise(response.promise),
        task=None if response.task is None else write_task(response.task),
        schedule=None if response.schedule is None else write_schedule(response.schedule),
        cursor=response.cursor,
    )
    match request:
        case rq.TaskFence(action=action) if response.action is not None:
            data["action"] = write_response(action, corr_id, response.action)
        case rq.PromiseSearch():
            data["promises"] = [write_promise(promise) for promise in response.promises]
        case rq.TaskSearch():
            data["tasks"] = [write_task(task) for task in response.tasks]
        case rq.ScheduleSearch():
            data["schedules"] = [write_schedule(schedule) for schedule in response.schedules]
    granted = isinstance(request, rq.TaskCreate | rq.TaskAcquire | rq.TaskFence)
    if granted or response.status == KEEP_RUNNING:
        data["preload"] = [write_promise(promise) for promise in response.preload]
    return _answer(request.kind, corr_id, response.status, data)


def write_error(kind: str, corr_id: str, status: int, text: str) -> Json:
    """Return the envelope of an error."""
    return _answer(kind, corr_id, status, text)


def read_response(request: rq.Request, corr_id: str, value: object) -> rq.Response:
    """Return the response to this request from a parsed JSON value.

    Raises: Malformed when it is none, or the answer to something else.
    """
    envelope = as_fields(value, "response")
    if envelope.text("kind") != request.kind or envelope.object("head").text("corrId") != corr_id:
        raise Malformed("this is the answer to another request")
    return _read_answer(envelope)


def _answer(kind: str, corr_id: str, status: int, data: Json | str) -> Json:
    return {"kind": kind, "head": {"corrId": corr_id, "status": status, "version": VERSION}, "data": data}


def _read_answer(envelope: Fields) -> rq.Response:
    status = envelope.object("head").integer("status")
    if status >= FIRST_ERROR:
        return rq.Response(status=status, error=str(envelope.data.get("data")))
    fields = envelope.object("data")
    given = {name for name, field in fields.data.items() if field is not None}
    return rq.Response(
        status=status,
        promise=read_promise(fields.object("promise")) if "promise" in given else None,
        task=read_task(fields.object("task")) if "task" in given else None,
        schedule=read_schedule(fields.object("schedule")) if "schedule" in given else None,
        action=_read_answer(fields.object("action")) if "action" in given else None,
        preload=tuple(map(read_promise, fields.objects("preload"))) if "preload" in given else (),
        promises=tuple(map(read_promise, fields.objects("promises"))) if "promises" in given else (),
        tasks=tuple(map(read_task, fields.objects("tasks"))) if "tasks" in given else (),
        schedules=tuple(map(read_schedule, fields.objects("schedules"))) if "schedules" in given else (),
        cursor=fields.text_or_none("cursor"),
    )
