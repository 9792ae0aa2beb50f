"""Ids: what a caller may choose, and how children are counted (protocol 5.4, current generation)."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from resonate_web.errors import InvalidId

MAX_ID = 200
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")


def root_id(id: str) -> str:
    """Return a caller's id in NFC. Raises: InvalidId naming the rule that it breaks."""
    if not isinstance(id, str):
        raise InvalidId(f"an id is a text, not {type(id).__name__}")
    id = normal(id)
    if not 1 <= len(id) <= MAX_ID:
        raise InvalidId(f"an id has 1 to {MAX_ID} characters, this one has {len(id)}: {id[:40]!r}")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in id):
        raise InvalidId(f"id {id!r} holds a control character")
    for reserved in ":~":
        if reserved in id:
            raise InvalidId(f"id {id!r} holds {reserved!r}, which is reserved")
    if any(segment in ("", ".", "..") for segment in id.split("/")):
        raise InvalidId(f"id {id!r} has an empty, '.' or '..' segment or a '/' at an end")
    return id


def normal(id: str) -> str:
    """Return an id in the form in which it is stored: the same letters may be typed in several ways."""
    return unicodedata.normalize("NFC", id)


def child_prefix(parent: str) -> str:
    """Return what the ids of a run's children begin with."""
    return f"{parent}." if ":" in parent else f"{parent}:"


def named_id(parent: str, name: str) -> str:
    """Return the id of a run's named promise. Raises: InvalidId."""
    if not _NAME.match(name):
        raise InvalidId(f"a promise's name is a letter and up to 63 letters, digits, '_' or '-', not {name!r}")
    return f"{child_prefix(parent)}@{name}"


def attempt_id(step: str, version: int, attempt: int) -> str:
    """Return the id of the note about a failed attempt; a digit after '@' can't be a promise's name.

    Attempts are counted anew under each lease, so the version of the task is a part of it.
    """
    return f"{step}@{version}-{attempt}"


def origin(id: str) -> str:
    """Return the root of a lineage."""
    return id.partition(":")[0]


def detached_id(counted: str) -> str:
    """Return the id of a detached run whose counted id would have been `counted`: it does not grow with depth."""
    return f"{origin(counted)}:d{hashlib.blake2b(counted.encode(), digest_size=8).hexdigest()}"


def first_try(id: str) -> str:
    """Return the id of a run's first try: that of `order/42~2` is `order/42`."""
    base, separator, number = id.rpartition("~")
    return base if separator and number.isdecimal() else id


def newer_id(id: str) -> str:
    """Return the id of the next try of a failed run: `order/42` -> `order/42~2` -> `order/42~3`."""
    base, sep, number = id.rpartition("~")
    return f"{base}~{int(number) + 1}" if sep and number.isdigit() else f"{id}~2"
