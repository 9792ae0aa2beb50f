"""How an SQLite file is opened: what is refused, created and set, and what its errors mean."""

from __future__ import annotations

import ctypes
import logging
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from resonate_web.clock import SystemClock
from resonate_web.errors import ConfigError, StoreError, StoreUnavailable
from resonate_web.store import schema
from resonate_web.store.filesystems import network_type
from resonate_web.store.sql_text import SQLITE

BUSY_MS = 10_000
"""How long a statement waits for another process's transaction."""

_log = logging.getLogger("resonate_web.store")
_PRAGMAS = ("temp_store=MEMORY", "cache_size=-8000", "journal_size_limit=67108864")
_PARKED: list[sqlite3.Connection] = []
_SPOILED: set[str] = set()
"""Files that this process must not open, since it was forked while they were open."""


@dataclass(kw_only=True)
class Opener:
    """Opens connections to one file; the fields are those of `SqliteFile`."""

    path: str
    synchronous: str
    allow_network_fs: bool
    migrate: bool
    busy_ms: int
    mountinfo: Callable[[], str]
    _warned: bool = field(default=False, init=False)

    def writer(self) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
        """Open a connection that writes, and the schema with it; return it with the file's inode.

        Raises: ConfigError, SchemaMismatch, StoreUnavailable, sqlite3.Error.
        """
        self._check_place()
        if self.migrate:
            self._create_file()
        elif not os.path.exists(self.path):
            raise schema.forbidden(f"{self.path} does not exist")
        writer = self._connect()
        try:
            schema.check(writer, SQLITE, self.migrate)
            self._use_wal(writer)
            if self.migrate:
                schema.ensure(writer, SQLITE, SystemClock().now())
        except BaseException:
            writer.close()
            raise
        return writer, inode(self.path)

    def reader(self) -> sqlite3.Connection:
        """Open a connection that cannot write. Not `mode=ro`: that one could not recover the log after a crash."""
        connection = self._connect()
        connection.execute("PRAGMA query_only=ON").close()
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self.busy_ms / 1000, isolation_level=None, check_same_thread=False
        )
        for pragma in (f"busy_timeout={self.busy_ms}", f"synchronous={self.synchronous}", *_PRAGMAS):
            connection.execute(f"PRAGMA {pragma}").close()
        return connection

    def _check_place(self) -> None:
        if os.path.realpath(self.path) in _SPOILED:
            raise StoreUnavailable(
                f"{self.path}: this process was forked while the file was in use, and SQLite's locks do not survive "
                "that; start the store after the fork (uWSGI: lazy-apps) and do not fork inside a transaction"
            )
        kind = None if self.allow_network_fs else network_type(self.path, self.mountinfo())
        if kind is not None:
            raise ConfigError(
                f"{self.path} is on a network file system ({kind}), where SQLite's locks fail and files get damaged: "
                "use a local disk or a named volume (RESONATE_ALLOW_NETWORK_FS=1 overrides this at your risk)"
            )
        warning = library_warning(sqlite3.sqlite_version_info)
        if warning is not None and not self._warned:
            self._warned = True
            _log.warning(warning)

    def _create_file(self) -> None:
        """Create the file for its owner alone: it holds payloads and the signing secret.

        Not with open(): closing an ordinary handle would drop every lock that this process has on the file.
        """
        if os.path.exists(self.path):
            return
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"cannot create the folder of {self.path}: {error}") from error
        try:
            os.mknod(self.path, stat.S_IFREG | 0o600)
        except (OSError, AttributeError):
            return  # another process was first, or the system cannot: SQLite creates it, or says why not

    def _use_wal(self, writer: sqlite3.Connection) -> None:
        """Switch to write-ahead logging; SQLite itself does not wait for another process that does the same."""
        pause, deadline = threading.Event(), time.monotonic() + self.busy_ms / 1000
        while True:
            try:
                mode = writer.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                pause.wait(0.005)
        if mode != "wal":
            raise ConfigError(f"{self.path}: SQLite refuses write-ahead logging here (journal mode stays {mode!r})")


def inode(path: str) -> tuple[int, int] | None:
    """Return what identifies the file at `path`, None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def park(connections: Iterable[sqlite3.Connection], path: str) -> None:
    """Keep inherited connections from ever being closed, and their file from being opened, in this process."""
    _SPOILED.add(os.path.realpath(path))
    for connection in connections:
        _PARKED.append(connection)
        # A reference that nobody gives back: the end of the interpreter would close what the list holds.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def library_warning(version: tuple[int, ...]) -> str | None:
    """Return a warning if this SQLite library can damage a file that several connections write (WAL-reset bug)."""
    if not (3, 7, 0) <= version <= (3, 51, 2):
        return None
    name = ".".join(map(str, version))
    return (
        f"SQLite {name} has a rare bug that can damage a database written by several processes at once "
        "(WAL reset, fixed in 3.51.3): update the SQLite library, or run one process per file"
    )


_UNSTORABLE = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, sqlite3.IntegrityError)
_REASONS = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked",
    sqlite3.SQLITE_LOCKED: "another process keeps it locked",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a backup",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database",
}


def meaning(error: Exception, path: str) -> StoreError:
    """Return the error of ours for one of the driver's."""
    if not isinstance(error, sqlite3.Error) or isinstance(error, _UNSTORABLE):
        return StoreError(f"SQLite cannot store a value: {error}")
    why = _REASONS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, str(error))
    return StoreUnavailable(f"{path}: {why} ({getattr(error, 'sqlite_errorname', 'SQLite error')})")
