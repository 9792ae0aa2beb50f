"""Who belongs together by id: `order/42:1.2` is of the run `order/42`, and so is its later try `order/42~2`."""

from __future__ import annotations

import re

Span = tuple[str, str]
"""A range of ids: from the first, up to but without the last."""

_BORDERS = re.compile(r"[:.@]")


def first_try(id: str) -> str:
    """Return the root of a lineage; for a later try (`~2`), that of the first one."""
    root = id.partition(":")[0]
    base, _, number = root.rpartition("~")
    return base if base and number.isdecimal() else root


def below(id: str) -> tuple[Span, ...]:
    """Return where the ids lie that begin with this one and a border: of a root, those of later tries too.

    A dot or an '@' in a root's id is no border.
    """
    if ":" in id:
        return (f"{id}.", f"{id}/"), (f"{id}@", f"{id}A")
    return (f"{id}:", f"{id};"), (f"{id}~", f"{id}\x7f")


def above(id: str) -> list[str]:
    """Return the ids below which this one lies, whether they exist or not."""
    root = id.partition(":")[0]
    found = [id[: cut.start()] for cut in _BORDERS.finditer(id, len(root))]
    return list(dict.fromkeys(prefix for prefix in (first_try(id), *found) if prefix != id))
