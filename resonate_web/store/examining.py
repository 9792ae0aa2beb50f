"""What an SQLite file rests on, as a person checks it who suspects something."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from resonate_web.errors import ResonateError
from resonate_web.store import schema
from resonate_web.store.base import Finding
from resonate_web.store.filesystems import network_type
from resonate_web.store.sql_text import SQLITE
from resonate_web.store.sqlite_open import library_warning


def examine(
    path: str, mountinfo: str, reading: Callable[[], AbstractContextManager[sqlite3.Connection]]
) -> list[Finding]:
    """Return what was found about the file at `path`; `reading` lends a connection to it."""
    return [_reached(path, reading), _library(), _place(path, mountinfo)]


def _reached(path: str, reading: Callable[[], AbstractContextManager[Any]]) -> Finding:
    try:
        with reading() as connection:
            version = schema.stored_version(connection, SQLITE)
            [(promises,)] = connection.execute("SELECT count(*) FROM resonate_promises").fetchall()
    except ResonateError as error:
        return Finding("error", "store", str(error))
    return Finding("ok", "store", f"SQLite file {path}, schema version {version}, {promises} promises")


def _library() -> Finding:
    warning = library_warning(sqlite3.sqlite_version_info)
    if warning is not None:
        return Finding("warning", "SQLite library", warning)
    return Finding("ok", "SQLite library", sqlite3.sqlite_version)


def _place(path: str, mountinfo: str) -> Finding:
    kind = network_type(path, mountinfo)
    if kind is not None:
        advice = "SQLite's locks fail there and files get damaged: move the file to a local disk"
        return Finding("warning", "file system", f"{path} is on a network file system ({kind}); {advice}")
    return Finding("ok", "file system", "local" if mountinfo else "unknown on this system")
