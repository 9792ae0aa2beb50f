"""The description of the mounted routes (OpenAPI 3.1), made from the route table.

A route that this page does not describe is an error of the tests, so the two cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from resonate_web.gateway.messages import JSON, PROBLEM
from resonate_web.gateway.negotiation import EVENTS, HTML
from resonate_web.gateway.openapi_schemas import SCHEMAS, reference
from resonate_web.gateway.route import Route

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method of a route is for. `answers` maps a status to its media types, each with a schema's name."""

    summary: str
    answers: Mapping[int, Mapping[str, str | None]]
    problems: tuple[int, ...] = (404,)
    headers: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    sends: Mapping[str, str] | None = None
    takes_nothing: bool = False
    """Whether a body may be left out."""


def description(routes: Iterable[Route], prefix: str, servers: Iterable[str] = ()) -> dict[str, Any]:
    """Return the OpenAPI document of the routes below a prefix."""
    paths: dict[str, Any] = {}
    for route in routes:
        item = paths.setdefault(f"{prefix}{route.head}{_place(route)}{route.tail}", {})
        if not route.exact:
            schema = {"type": "string", "minLength": 1}
            item["parameters"] = [{"name": route.takes, "in": "path", "required": True, "schema": schema}]
        for method in route.methods:
            item[method.lower()] = _operation(OPERATIONS[route.name, method], f"{method.lower()}-{route.name}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "resonate_web", "version": version("resonate-web"), "description": _ABOUT},
        **({"servers": [{"url": url} for url in servers]} if servers else {}),
        "paths": paths,
        "components": {"schemas": SCHEMAS},
    }


_ABOUT = (
    "Durable workflows: their status, their approvals, and the promises that machines settle. "
    "Ids are percent-encoded once; a slash in an id may stay a slash."
)


def _place(route: Route) -> str:
    return "" if route.exact else f"{{{route.takes}}}"


def _operation(operation: Operation, id: str) -> dict[str, Any]:
    found: dict[str, Any] = {"operationId": id, "summary": operation.summary}
    parameters = [_parameter(name, "header") for name in operation.headers]
    parameters += [_parameter(name, "query") for name in operation.queries]
    if parameters:
        found["parameters"] = parameters
    if operation.sends is not None:
        content = {media: {"schema": reference(name)} for media, name in operation.sends.items()}
        found["requestBody"] = {"required": not operation.takes_nothing, "content": content}
    answers = {str(status): _answer(status, forms) for status, forms in operation.answers.items()}
    for status in operation.problems:
        problem = {PROBLEM: {"schema": reference("Problem")}, HTML: {"schema": {"type": "string"}}}
        if str(status) in answers:
            answers[str(status)]["content"] = {**problem, **answers[str(status)].get("content", {})}
        else:
            answers[str(status)] = {"description": _MEANINGS[status], "content": problem}
    found["responses"] = dict(sorted(answers.items()))
    return found


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": False, "schema": {"type": "string"}, "description": _FIELDS[name]}


def _answer(status: int, forms: Mapping[str, str | None]) -> dict[str, Any]:
    content = {
        media: {"schema": {"type": "string"} if name is None else reference(name)} for media, name in forms.items()
    }
    return {"description": _MEANINGS[status], **({"content": content} if content else {})}


_MEANINGS = {
    200: "The document.",
    202: "It will be done.",
    204: "Everything was told; do not come back.",
    303: "Look there.",
    304: "The client has the newest document.",
    400: "The request cannot be read.",
    401: "Nobody is logged in, or the signature is wrong.",
    403: "The request comes from elsewhere, or this person may not decide.",
    404: "There is nothing here, or it is not yours to see.",
    409: "It was settled before, and otherwise.",
    410: "It is over: expired, revoked or not decided in time.",
    413: "The body is too large.",
    415: "The body is neither JSON nor a form.",
    422: "A value is not what was asked for.",
    503: "The store cannot be reached; try again.",
}

_FIELDS = {
    "Prefer": "`wait=N` (RFC 7240): seconds to wait for the end, or for a change if `If-None-Match` is given.",
    "If-None-Match": "The ETag of the document that the client has.",
    "Last-Event-ID": "The id of the last event that the client has seen.",
    "sig": "The signature of a link.",
    "cancel": "The signature of a link that may cancel.",
    "still": "A page that does not load itself again.",
    "after": "The id after which the list goes on.",
    "webhook-id": "`<promise id>:<action>` (Standard Webhooks).",
    "webhook-timestamp": "Seconds since 1970.",
    "webhook-signature": "`v1,<signature>`.",
}

_STATUS = {JSON: "Status", HTML: None, EVENTS: None}
_ANSWERED = {JSON: "Approval", HTML: None}
_ALWAYS = (404, 503)
_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")
_LINKED = ("sig", "cancel")


def _settling(summary: str, body: str) -> Operation:
    return Operation(
        summary=summary,
        answers={200: {JSON: "Settled"}},
        problems=(400, 401, 409, 413, 422, *_ALWAYS),
        headers=_SIGNED,
        sends={JSON: body},
        takes_nothing=True,
    )


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("status", "GET"): Operation(
        summary="Read, wait for or watch a run.",
        answers={200: _STATUS, 204: {}, 304: {}},
        problems=_ALWAYS,
        headers=("Prefer", "If-None-Match", "Last-Event-ID"),
        queries=(*_LINKED, "still"),
    ),
    ("cancel", "GET"): Operation(
        summary="Go to the form that cancels a run.",
        answers={200: _STATUS, 204: {}, 303: {}, 304: {}},
        problems=_ALWAYS,
        queries=_LINKED,
    ),
    ("cancel", "POST"): Operation(
        summary="Cancel a run.",
        answers={200: {JSON: "Status"}, 202: {JSON: "Status"}, 303: {}},
        problems=(400, 403, 413, 415, *_ALWAYS),
        queries=_LINKED,
        sends={JSON: "Nothing", "application/x-www-form-urlencoded": "Nothing"},
        takes_nothing=True,
    ),
    ("approvals", "GET"): Operation(
        summary="List what waits for the decision of who is logged in.",
        answers={200: {JSON: "Approvals", HTML: None}},
        problems=(401, 503),
        queries=("after",),
    ),
    ("approval", "GET"): Operation(
        summary="Read a question; this never decides it.",
        answers={200: _ANSWERED},
        problems=(401, 403, 410, *_ALWAYS),
    ),
    ("approval", "POST"): Operation(
        summary="Decide.",
        answers={200: {JSON: "Approval"}, 303: {}},
        problems=(400, 401, 403, 409, 410, 413, 415, 422, *_ALWAYS),
        sends={JSON: "Decision", "application/x-www-form-urlencoded": "Decision"},
    ),
    ("resolve", "POST"): _settling("Resolve a promise, as a machine.", "Resolution"),
    ("reject", "POST"): _settling("Reject a promise, as a machine.", "Rejection"),
    ("cancel-promise", "POST"): _settling("Cancel a promise, as a machine.", "Nothing"),
    ("asset", "GET"): Operation(
        summary="Get what the pages look like.",
        answers={200: {"text/css": None, "text/javascript": None, "image/svg+xml": None}, 304: {}},
    ),
    ("openapi", "GET"): Operation(summary="Get this description.", answers={200: {JSON: "Anything"}}),
}
