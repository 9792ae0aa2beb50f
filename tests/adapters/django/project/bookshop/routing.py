"""The project's own tables are in the default database only."""

from __future__ import annotations

from typing import Any


class OnlyDefault:
    """Leaves our app alone: it says itself where its store is."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Keep the other databases empty of the project's tables."""
        return None if app_label == "resonate" else db == "default"
