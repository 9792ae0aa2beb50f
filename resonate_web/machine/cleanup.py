"""The one payload that the machine writes itself: the call of a cleanup workflow.

Everywhere else a payload is opaque. Here it cannot be: the cleanup must start in the very step that
cancels, with the arguments of the run it cleans up after, and no workflow code of that run may run again.
"""

from __future__ import annotations

import base64
import json
from hashlib import blake2b

from resonate_web.clock import FOREVER
from resonate_web.protocol.records import Promise, Value
from resonate_web.protocol.requests import PromiseCreate
from resonate_web.protocol.tags import BRANCH, DETACHED, ON_CANCEL, ORIGIN, PARENT, SCOPE, TARGET


def cleanup_id(id: str) -> str:
    """Return the id of the cleanup of a promise; it follows from that promise's id alone."""
    digest = blake2b(f"{id}:on_cancel".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{_origin(id)}:d{digest}"


def cleanup(root: Promise, now: int) -> PromiseCreate | None:
    """Return the detached promise that cleans up after `root`, or None when it names no cleanup."""
    workflow, target = root.tags.get(ON_CANCEL), root.tags.get(TARGET)
    if workflow is None or target is None:
        return None
    id, origin = cleanup_id(root.id), _origin(root.id)
    tags = {
        SCOPE: "global",
        TARGET: target,
        BRANCH: id,
        PARENT: origin,
        ORIGIN: origin,
        DETACHED: "true",
    }
    return PromiseCreate(id=id, timeout_at=now + FOREVER, param=call(root.param, workflow), tags=tags)


def call(param: Value, workflow: str) -> Value:
    """Return the same call of another workflow, given as `name@version`."""
    name, _, version = workflow.rpartition("@")
    payload = {**_decoded(param), "func": name or workflow, "version": int(version) if version.isdecimal() else 1}
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return Value(data=base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii"), headers=param.headers)


def _decoded(param: Value) -> dict[str, object]:
    # A payload in a form that is not ours still gets its cleanup; it then starts without arguments.
    try:
        payload = json.loads(base64.b64decode(param.data or ""))
    except ValueError:
        payload = None
    return payload if isinstance(payload, dict) else {"args": [], "kwargs": {}}


def _origin(id: str) -> str:
    return id.partition(":")[0]
