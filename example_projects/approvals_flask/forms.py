"""What a question must look like: from a JSON document or the page's form to a question, or to what is wrong."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workflows import NAMES, Question

APPROVER = "approver@example.com"
"""Who is asked where nobody is named."""

LABELS = {"workflow_id": "Reference", "summary": "Question", "approvers": "Who decides"}
"""What the page calls the fields."""


@dataclass
class Checked:
    """A question, if `errors` is empty; else a message for each field that is wrong."""

    question: Question = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def from_document(document: Any) -> Checked:
    """Check a JSON document: `workflow_id`, and, if it likes, `summary` and `approvers`."""
    if not isinstance(document, dict):
        return Checked(errors={"body": "must be a JSON object"})
    errors: dict[str, str] = {}
    id = _text(errors, "workflow_id", document.get("workflow_id"), 180)
    summary = document.get("summary")
    question = {
        "workflow_id": id,
        "summary": f"May workflow {id} go on?" if summary is None else _text(errors, "summary", summary, 2000),
        "approvers": _approvers(errors, document.get("approvers", [APPROVER])),
    }
    return Checked(question, errors)


def from_form(form: Mapping[str, str]) -> Checked:
    """Check the page's form: the approvers are in a row of inputs, of which those after the first may be empty."""
    approvers = [form.get(f"approver-{n}", "").strip() for n in (1, 2)]
    filled = [approvers[0], *filter(None, approvers[1:])]
    return from_document(
        {"workflow_id": form.get("workflow_id"), "summary": form.get("summary", ""), "approvers": filled}
    )


def _text(errors: dict[str, str], name: str, value: Any, longest: int) -> str:
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value.replace("\r\n", "\n").strip())
        if 0 < len(text) <= longest and text.replace("\n", "").isprintable():
            return text
    errors[name] = f"must be text of 1 to {longest} characters"
    return ""


def _approvers(errors: dict[str, str], value: Any) -> list[str]:
    found = value if isinstance(value, list) else []
    if not 1 <= len(found) <= len(NAMES):
        errors["approvers"] = f"must be a list of 1 to {len(NAMES)} e-mail addresses"
    elif not all(map(is_address, found)):
        errors["approvers"] = "must be e-mail addresses"
    return found


def is_address(value: Any) -> bool:
    """Tell whether mail can be sent there, as far as the look of it says."""
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable() or not value.isascii():
        return False
    name, at, host = value.partition("@")
    return bool(name and at and "." in host.strip(".")) and not set(value) & set(' ,;:<>()[]"\\') and "@" not in host
