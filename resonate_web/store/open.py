"""From the setting `RESONATE_STORE` to a store."""

from __future__ import annotations

import os

from resonate_web.config import Settings
from resonate_web.errors import ConfigError
from resonate_web.store.base import Store
from resonate_web.store.memory import MemoryStore

_KNOWN = "memory://, sqlite:///relative/path.db, sqlite:////absolute/path.db"


def open_store(settings: Settings) -> Store:
    """Return the store that `settings.store` names; nothing is opened before its first use.

    Each call with `memory://` returns a new, empty store. A relative path is taken from the current folder.
    Raises: ConfigError for a URL that names no store of this version.
    """
    url = settings.store
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ConfigError(f"RESONATE_STORE={url!r} is not a URL; known are {_KNOWN}")
    if scheme == "memory":
        if rest:
            raise ConfigError(f"RESONATE_STORE={url!r}: memory:// takes nothing behind it")
        return MemoryStore()
    if scheme == "sqlite":
        return _open_sqlite(settings, rest)
    if scheme.split("+")[0] in ("postgresql", "postgres"):
        raise ConfigError("RESONATE_STORE: PostgreSQL is not available in this version of resonate-web")
    raise ConfigError(f"RESONATE_STORE: unknown scheme {scheme!r}; known are {_KNOWN}")


def _open_sqlite(settings: Settings, rest: str) -> Store:
    from resonate_web.store.sql import SqlStore  # imports SQLModel, which memory:// does without
    from resonate_web.store.sqlite import SqliteFile

    path = rest.removeprefix("/")
    if path in ("", "/", ":memory:") or path.startswith("file:"):
        raise ConfigError("RESONATE_STORE: SQLite needs a file here; use memory:// for a store in memory")
    if rest == path or "?" in path or "\0" in path:
        raise ConfigError(f"RESONATE_STORE=sqlite://{rest}: expected sqlite:///path without a host or parameters")
    database = SqliteFile(
        os.path.abspath(path),
        synchronous=settings.sqlite_synchronous,
        allow_network_fs=settings.allow_network_fs,
        migrate=settings.migrate == "auto",
    )
    return SqlStore(database)
