"""The documents of the mounted routes, as JSON schemas (2020-12)."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def reference(name: str) -> Schema:
    """Return a reference to a named schema of the description."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None, **more: Any) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        **more,
    }


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 1}
FLAG: Schema = {"type": "boolean"}
INSTANT: Schema = {"type": "string", "format": "date-time"}
MAYBE_TEXT = _or_null(TEXT)
MAYBE_INSTANT = _or_null(INSTANT)
VERDICT = _one_of("approve", "reject")
ERROR = _object({"type": TEXT, "message": TEXT})
ENDED = ("succeeded", "failed", "canceled", "timedout")
VOTE = _object({"decision": VERDICT, "by": MAYBE_TEXT, "at": MAYBE_INSTANT, "comment": TEXT})

SCHEMAS: dict[str, Schema] = {
    "Status": _object(
        {
            "id": TEXT,
            "status": _one_of("running", "waiting", "blocked", *ENDED),
            "reason": MAYBE_TEXT,
            "done": FLAG,
            "created_at": INSTANT,
            "updated_at": INSTANT,
            "steps": _list(reference("Step")),
            "approvals": _list(reference("AskedApproval")),
            "links": _object({"self": TEXT}),
        },
        {"result": {}, "error": ERROR},
    ),
    "Step": _object(
        {
            "name": TEXT,
            "kind": TEXT,
            "status": _one_of("running", "waiting", *ENDED),
            "attempt": COUNT,
            "started_at": INSTANT,
            "finished_at": MAYBE_INSTANT,
            "error": _or_null(ERROR),
            "next_attempt_at": MAYBE_INSTANT,
            "until": MAYBE_INSTANT,
        }
    ),
    "AskedApproval": _object(
        {
            "name": TEXT,
            "state": _one_of("pending", "approved", "rejected", "timedout", "revoked"),
            "summary": TEXT,
        }
    ),
    "Approval": _object(
        {
            "id": TEXT,
            "run": TEXT,
            "name": TEXT,
            "summary": TEXT,
            "state": _one_of("pending", "approved", "rejected", "timedout", "revoked"),
            "requested_at": INSTANT,
            "deadline_at": MAYBE_INSTANT,
            "approvers": _list(TEXT),
            "quorum": COUNT,
            "require_login": FLAG,
            "comment": _one_of("none", "optional", "required"),
            "fields": _list({"type": "object"}),
            "votes": _list(VOTE),
            "your_vote": _or_null(VOTE),
            "outcome": _or_null({"type": "object"}),
        }
    ),
    "Approvals": _object(
        {
            "approvals": _list(
                _object(
                    {
                        "id": TEXT,
                        "run": TEXT,
                        "name": TEXT,
                        "summary": TEXT,
                        "requested_at": INSTANT,
                        "deadline_at": MAYBE_INSTANT,
                        "url": TEXT,
                    }
                )
            ),
            "next": MAYBE_TEXT,
        }
    ),
    "Decision": _object({"decision": VERDICT}, {"comment": TEXT, "fields": {"type": "object"}, "nonce": TEXT}),
    "Resolution": _object({"value": {}}),
    "Rejection": _object({"error": {"type": "string", "maxLength": 2000}}),
    "Nothing": _object({}, {"nonce": TEXT}),
    "Anything": {"type": "object"},
    "Settled": _object(
        {
            "id": TEXT,
            "state": _one_of("pending", "resolved", "rejected", "rejected_canceled", "rejected_timedout"),
            "settled_at": MAYBE_INSTANT,
        }
    ),
    "Problem": _object({"type": TEXT, "title": TEXT, "status": {"type": "integer"}}, {"detail": TEXT}),
}
