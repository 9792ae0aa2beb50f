"""The key that a client gives a request so that it may send it again, and where the store remembers it.

The field is `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header). The draft wants a quoted string; nearly
all clients send it bare, so both are taken, and `"a"` and `a` are the same key.
"""

from __future__ import annotations

import hashlib
import json
import re

from resonate_web.errors import InvalidKey
from resonate_web.gateway.messages import Request

FIELD = "Idempotency-Key"
MAX_KEY = 255

_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!#-+\--\[\]-~]+")


def key_of(request: Request) -> str | None:
    """Return the request's key without its quotes, None when it has none. Raises: InvalidKey."""
    field = request.headers.get(FIELD)
    if field is None:
        return None
    field = field.strip(" \t")
    quoted = _QUOTED.fullmatch(field)
    if quoted is not None:
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _BARE.fullmatch(field):
        key = field
    else:
        raise InvalidKey(
            f"{FIELD} holds one key of visible ASCII characters; a key with a comma, quote or backslash stands in "
            'double quotes: "a,b"'
        )
    if not 1 <= len(key) <= MAX_KEY:
        raise InvalidKey(f"{FIELD} has 1 to {MAX_KEY} characters, this one has {len(key)}")
    return key


def scoped(principal: str | None, method: str, path: str, key: str) -> str:
    """Return a digest of a key within its scope, from which nothing of the key can be read.

    One client's key means nothing to another, and nothing at another path (the concrete one, mount point included).
    """
    scope = json.dumps([principal, method.upper(), path, key], separators=(",", ":"))
    return hashlib.sha256(scope.encode()).hexdigest()


def promise_id(kind: str, principal: str | None, method: str, path: str, key: str) -> str:
    """Return the id of the promise that remembers a key; `~` keeps it out of every client's reach."""
    return f"~{kind}/{scoped(principal, method, path, key)}"


def concrete_path(request: Request) -> str:
    """Return the path as the client asked for it, for `scoped`."""
    return request.root + request.path
