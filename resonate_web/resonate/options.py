"""How a run is started, apart from its own arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from resonate_web.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a start; `timeout` is seconds or a timedelta, None means no deadline that matters.

    `on_failed` says what starting the id of a failed run does: `join` it, or start a `new` try, `<id>~2`.
    """

    timeout: float | timedelta | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    version: int | None = None
    target: str | None = None
    on_failed: str = "join"

    def with_(self, **changes: Any) -> Options:
        """Return a copy with changes. Raises: ConfigError for an unknown option or value."""
        unknown = changes.keys() - set(self.__slots__)
        if unknown:
            raise ConfigError(f"unknown option {sorted(unknown)[0]!r}; known are {', '.join(self.__slots__)}")
        changed = replace(self, **changes)
        if changed.on_failed not in ("join", "new"):
            raise ConfigError("on_failed is 'join' or 'new'")
        return changed
