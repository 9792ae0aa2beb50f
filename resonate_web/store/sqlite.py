"""One SQLite file and the connections of one process to it.

One writer under a lock, a few readers, one watcher; all opened on first use.

Forks: SQLite remembers per process and file which locks it holds, and a child inherits that memory
but not the locks. A child that opens the file while the parent had it open at the fork works
without real locks, and its commits can be lost without an error (measured: the parent's close
removes the log under it). So everything is closed before a fork and opened anew on both sides; a
child for which that was impossible refuses to touch the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from resonate_web.errors import StoreError, StoreUnavailable, StoreUnknown
from resonate_web.store import sqlite_open
from resonate_web.store.base import Finding
from resonate_web.store.examining import examine
from resonate_web.store.filesystems import mounts
from resonate_web.store.forks import ForkAware, watch_forks
from resonate_web.store.sql_text import SQLITE

IDLE_READERS = 4
"""How many idle reading connections are kept."""
FORK_WAIT_S = 15.0
"""How long a fork waits for a transaction or a read of another thread; longer than SQLite's own wait."""


@dataclass(slots=True)
class Handles:
    """What one process has open."""

    pid: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held for a whole write transaction."""
    holder: int = 0
    """The thread that holds `lock`."""
    pool: threading.Condition = field(default_factory=threading.Condition)
    """Guards the readers and the watcher."""
    lent: int = 0
    """How many readers are in use."""
    writer: sqlite3.Connection | None = None
    watcher: sqlite3.Connection | None = None
    idle: list[sqlite3.Connection] = field(default_factory=list)
    inode: tuple[int, int] | None = None

    def open(self) -> list[sqlite3.Connection]:
        """Return every connection at hand (not those that are lent)."""
        return [c for c in (*self.idle, self.watcher, self.writer) if c is not None]

    def close(self) -> None:
        """Close every connection at hand, the writer last: it tidies the log up."""
        connections = self.open()
        self.idle.clear()
        self.watcher = self.writer = None
        for connection in connections:
            connection.close()


class SqliteFile(ForkAware):
    """The file at `path`, an absolute path. Nothing is opened before the first use.

    `mountinfo` returns the text of /proc/self/mountinfo.
    """

    dialect = SQLITE
    failures: tuple[type[Exception], ...] = (sqlite3.Error, OverflowError, UnicodeEncodeError)
    """What the driver may raise; `failed` turns it into one of ours."""

    def __init__(
        self,
        path: str,
        *,
        synchronous: str = "FULL",
        allow_network_fs: bool = False,
        migrate: bool = True,
        busy_ms: int = sqlite_open.BUSY_MS,
        mountinfo: Callable[[], str] = mounts,
    ) -> None:
        self.path = path
        self._opener = sqlite_open.Opener(
            path=path,
            synchronous=synchronous,
            allow_network_fs=allow_network_fs,
            migrate=migrate,
            busy_ms=busy_ms,
            mountinfo=mountinfo,
        )
        self._closed = False
        self._forking = 0
        self._handles = Handles()
        watch_forks(self)

    # Writing

    def begin(self) -> Handles:
        """Begin the write transaction of this process; end it with `commit` or `roll_back`.

        Raises: StoreUnavailable, SchemaMismatch, ConfigError.
        """
        handles = self._here()
        handles.lock.acquire()
        handles.holder = threading.get_ident()
        try:
            writer = self._writer(handles)
            self._check_in_place(handles)
            writer.execute("BEGIN IMMEDIATE")
            return handles
        except BaseException as error:
            _release(handles)
            if isinstance(error, self.failures):
                raise self.failed(error) from error
            raise

    def writing(self, handles: Handles) -> sqlite3.Connection:
        """Return the connection of the open transaction. Raises: StoreUnavailable in a forked child."""
        if handles.pid != os.getpid():
            raise StoreUnavailable(f"{self.path}: the process was forked inside a transaction; the parent ends it")
        assert handles.writer is not None
        return handles.writer

    def commit(self, handles: Handles) -> None:
        """Make the transaction durable. Raises: StoreUnavailable when it was rolled back, StoreUnknown when unclear."""
        writer = self.writing(handles)
        try:
            writer.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._not_committed(handles, writer, error) from error
        finally:
            _release(handles)

    def roll_back(self, handles: Handles) -> None:
        """End the transaction without a trace; never raises for a broken connection, which is replaced."""
        if handles.pid != os.getpid():
            return
        try:
            if handles.writer is not None and handles.writer.in_transaction:
                handles.writer.execute("ROLLBACK")
        except sqlite3.Error:
            _drop_writer(handles)
        finally:
            _release(handles)

    # Reading

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that cannot write. Raises: StoreUnavailable."""
        handles = self._here()
        try:
            connection = self._borrow(handles)
            try:
                yield connection
            except BaseException:
                self._take_back(handles, connection, keep=False)
                raise
            self._take_back(handles, connection, keep=True)
        except self.failures as error:
            raise self.failed(error) from error

    def version(self) -> int:
        """Return SQLite's `data_version` of a connection that never writes: it differs after any other's commit."""
        handles = self._here()
        try:
            self._ensure_schema(handles)
            with handles.pool:
                if handles.watcher is None:
                    handles.watcher = self._opener.reader()
                return int(handles.watcher.execute("PRAGMA data_version").fetchone()[0])
        except self.failures as error:
            raise self.failed(error) from error

    def examine(self) -> list[Finding]:
        """Look at the file, where it lies, and the library; never raises."""
        return examine(self.path, self._opener.mountinfo(), self.reading)

    # Life

    def close(self) -> None:
        """Close what this process opened; wait for a write transaction to end first."""
        self._closed = True
        handles = self._handles
        if handles.pid == os.getpid():
            with handles.lock, handles.pool:
                handles.close()

    def before_fork(self) -> None:
        """Wait for transactions and reads to end, then close everything and let nobody in until the fork is done."""
        handles, me = self._handles, threading.get_ident()
        if handles.holder == me or not handles.lock.acquire(timeout=FORK_WAIT_S):
            return  # forked inside a transaction: the child will refuse the file
        handles.holder = self._forking = me
        handles.pool.acquire()
        if handles.pool.wait_for(lambda: handles.lent == 0, timeout=FORK_WAIT_S):
            handles.close()

    def after_fork(self) -> None:
        """Let others in again; connections are opened when they are needed."""
        if self._forking == threading.get_ident():
            self._forking = 0
            self._handles.pool.release()
            _release(self._handles)

    def after_fork_in_child(self) -> None:
        """Start with nothing open; if the parent had to leave something open, spoil the file for this process."""
        inherited = self._handles
        if inherited.lent or inherited.open():
            sqlite_open.park(inherited.open(), self.path)
        self._forking = 0
        self._handles = Handles()

    def failed(self, error: Exception) -> StoreError:
        """Return what a driver's exception means to the caller."""
        return sqlite_open.meaning(error, self.path)

    def _here(self) -> Handles:
        if self._closed:
            raise StoreUnavailable(f"{self.path}: the store is closed")
        if self._handles.pid != os.getpid():
            self.after_fork_in_child()  # forked by C code that runs no hooks
        return self._handles

    def _writer(self, handles: Handles) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable(f"{self.path}: the store is closed")
        if handles.writer is None:
            handles.writer, handles.inode = self._opener.writer()
        return handles.writer

    def _ensure_schema(self, handles: Handles) -> None:
        if handles.writer is None:
            with handles.lock:
                self._writer(handles)

    def _check_in_place(self, handles: Handles) -> None:
        """Refuse to write into a file that nobody can find any more: SQLite itself would go on happily."""
        if sqlite_open.inode(self.path) != handles.inode:
            raise StoreUnavailable(f"{self.path} was moved, deleted or replaced while in use; restart this process")

    def _borrow(self, handles: Handles) -> sqlite3.Connection:
        self._ensure_schema(handles)
        with handles.pool:
            handles.lent += 1
            if handles.idle:
                return handles.idle.pop()
        try:
            return self._opener.reader()
        except BaseException:
            with handles.pool:
                handles.lent -= 1
                handles.pool.notify_all()
            raise

    def _take_back(self, handles: Handles, connection: sqlite3.Connection, *, keep: bool) -> None:
        if handles.pid != os.getpid():
            return
        with handles.pool:
            if keep and not self._closed and len(handles.idle) < IDLE_READERS:
                handles.idle.append(connection)
            else:
                connection.close()
            handles.lent -= 1
            handles.pool.notify_all()

    def _not_committed(self, handles: Handles, writer: sqlite3.Connection, error: sqlite3.Error) -> StoreError:
        """Roll back after a failed COMMIT and tell what is known.

        After an I/O error the frames may have reached the disk whole: a crash before the next write would revive them.
        """
        undone = False
        try:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
                undone = error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_IOERR
        except sqlite3.Error:
            undone = False
        if undone:
            return self.failed(error)
        _drop_writer(handles)
        return StoreUnknown(f"{self.path}: COMMIT failed and may still have happened: {error}")


def _release(handles: Handles) -> None:
    handles.holder = 0
    handles.lock.release()


def _drop_writer(handles: Handles) -> None:
    writer, handles.writer = handles.writer, None
    if writer is not None:
        writer.close()
