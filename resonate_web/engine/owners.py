"""Who is alive on this host: each process holds a lock on a file of its own, which the kernel frees when it dies.

POSIX record locks (`lockf`) are not inherited by a forked child, so a child that outlives its parent does not keep
the parent alive. A holder is dead only if the very same file (device, inode) of the same boot is reachable and its
lock is free; a missing file, another namespace or another boot prove nothing: then the lease decides.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

from resonate_web.errors import StoreUnavailable
from resonate_web.store.base import Finding

STALE_AFTER = 60.0
"""Seconds before the free file of somebody who holds nothing is removed: its owner may be about to lock it."""


@dataclass(frozen=True, slots=True)
class Member:
    """A live process on this host that serves a group."""

    pid: str
    group: str


class NoOwners:
    """A store that only this process can reach: nobody else is there."""

    def __init__(self, name: str) -> None:
        self.pid = name

    def members(self) -> list[Member]:
        """Return nobody else."""
        return []

    @contextmanager
    def dead(self, pid: str) -> Iterator[bool]:
        """Know nothing about others."""
        yield False

    def tidy(self, holders: Callable[[], Collection[str]]) -> None:
        """Leave everything as it is."""

    def close(self) -> None:
        """Do nothing."""


class Owners:
    """The file of this process, and its view of the others'. `pid` is what tasks are acquired under."""

    def __init__(self, folder: Path, name: str, group: str) -> None:
        self._folder = folder
        self._name = name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{folder}: no file can be made to show that this process lives: {error}") from error
        fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._process = os.getpid()
        found = os.fstat(self._fd)
        self.pid = f"{name}.{found.st_dev}.{found.st_ino}.{_boot()}"
        os.write(self._fd, json.dumps({"pid": self.pid, "group": group}).encode())
        self._member = Member(self.pid, group)
        _OPEN.add(self)

    def members(self) -> list[Member]:
        """Return the others that live on this host."""
        found = [o._member for o in _own() if o is not self and o._folder == self._folder]
        for path in self._others():
            member = _content(path)
            if member is not None:
                with self.dead(member.pid) as dead:
                    if not dead:
                        found.append(member)
        return found

    @contextmanager
    def dead(self, pid: str) -> Iterator[bool]:
        """Tell whether a holder is known to be dead; its lock is held meanwhile."""
        fd = self._seize(pid)
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)

    def tidy(self, holders: Callable[[], Collection[str]]) -> None:
        """Remove the files of those who died long ago and hold nothing; `holders` lists who still holds a task.

        Without its file nobody would know that a holder is dead, and its tasks would wait for their leases.
        """
        gone: list[tuple[Path, str]] = []
        for path in self._others():
            member = _content(path)
            try:
                old = time.time() - path.stat().st_mtime > STALE_AFTER
            except OSError:
                continue
            if member is not None and old:
                with self.dead(member.pid) as dead:
                    if dead:
                        gone.append((path, member.pid))
        held = holders() if gone else ()  # asked after the deaths: the dead take nothing more
        for path, pid in gone:
            if pid not in held:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give up the file, in the process that made it."""
        if self._fd >= 0 and self._process == os.getpid():
            (self._folder / self._name).unlink(missing_ok=True)
            os.close(self._fd)
        self._fd = -1
        _OPEN.discard(self)

    def _seize(self, pid: str) -> int | None:
        """Return an open, locked descriptor of a dead holder's file, None when it may be alive."""
        name, _, rest = pid.partition(".")
        device, _, rest = rest.partition(".")
        inode, _, boot = rest.partition(".")
        # A lock of one's own process is no obstacle to it, and closing the file would free that lock.
        if boot != _boot() or not name.isalnum() or name in {o._name for o in _own()}:
            return None
        try:
            fd = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        found = os.fstat(fd)
        if (str(found.st_dev), str(found.st_ino)) == (device, inode):
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except OSError:
                pass
        os.close(fd)
        return None

    def _others(self) -> list[Path]:
        """Return the files of other processes: to close one of this process would free its lock."""
        own = {o._name for o in _own()}
        return [p for p in sorted(self._folder.iterdir()) if p.name not in own]


def examine(folder: Path) -> Finding:
    """Look at the folder and at who of those in it lives, without a file of one's own."""
    if not folder.exists():
        return Finding("ok", "processes", f"none has started yet; {folder} will be made")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        text = f"{folder} must be readable and writable for this user, or takeovers wait for leases"
        return Finding("error", "processes", text)
    own = {o._name for o in _own() if o._folder == folder}
    found = [path for path in folder.iterdir() if path.name not in own and _content(path) is not None]
    living = len(own) + sum(map(_lives, found))
    return Finding(
        "ok", "processes", f"{living} executing on this host, {len(found) + len(own) - living} gone ({folder})"
    )


def _lives(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


_OPEN: WeakSet[Owners] = WeakSet()


def _own() -> list[Owners]:
    """Return those of this process: a forked child has inherited others, and has no locks."""
    return [o for o in list(_OPEN) if o._process == os.getpid()]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    except OSError:
        return "unknown"


def _content(path: Path) -> Member | None:
    try:
        found = json.loads(path.read_text())
        return Member(str(found["pid"]), str(found["group"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
