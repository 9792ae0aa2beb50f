"""Who is alive on this host, as real processes see each other: a live owner is never taken for dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resonate_web.engine.owners import Member, Owners
from resonate_web.testing.servers import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

OWNER = """
import os, sys
from pathlib import Path
from resonate_web.engine.owners import Owners

owners = Owners(Path(sys.argv[1]), sys.argv[2], "default")
print(owners.pid, flush=True)
for line in sys.stdin:
    if line == "fork\\n":
        child = os.fork()
        if child == 0:
            own = Owners(Path(sys.argv[1]), sys.argv[2] + "child", "default")
            print(os.getpid(), own.pid, flush=True)
    elif line == "look\\n":
        print(*sorted(member.pid for member in owners.members()), flush=True)
"""


class Process:
    """Another process that owns a file in the folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(folder), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self.told().strip()

    def told(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.told()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Kill it with whatever it forked, and let go of its pipes."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.communicate()


Own = Callable[[str], Process]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Own]:
    """Return a starter of owners; all are gone when the test ends."""
    processes: list[Process] = []

    def start(name: str) -> Process:
        processes.append(Process(tmp_path, name))
        return processes[-1]

    yield start
    for process in processes:
        process.end()


@pytest.fixture
def owners(tmp_path: Path) -> Iterator[Owners]:
    """Return the view of this process."""
    made = Owners(tmp_path, "observer", "default")
    yield made
    made.close()


def is_dead(owners: Owners, pid: str) -> bool:
    with owners.dead(pid) as dead:
        return dead


def test_a_live_owner_is_a_member_and_a_killed_one_is_dead(owners: Owners, own: Own) -> None:
    """The kernel frees the lock of whoever dies, at once; looking at a live one changes nothing."""
    process = own("a")
    for _ in range(3):
        assert owners.members() == [Member(process.pid, "default")]
        assert not is_dead(owners, process.pid)
    process.kill()
    assert is_dead(owners, process.pid)
    assert is_dead(owners, process.pid)
    assert owners.members() == []


def test_a_stopped_owner_is_alive(owners: Owners, own: Own) -> None:
    """SIGSTOP frees no lock."""
    process = own("a")
    os.kill(process.process.pid, signal.SIGSTOP)
    os.waitpid(process.process.pid, os.WUNTRACED)
    assert not is_dead(owners, process.pid)


def test_a_forked_child_neither_keeps_its_parent_alive_nor_dies_with_it(owners: Owners, own: Own) -> None:
    """The dead parent is dead although its child has inherited the open file; the child is an owner of its own."""
    parent = own("a")
    _, _, child = parent.tell("fork").strip().partition(" ")
    assert not is_dead(owners, parent.pid)
    parent.kill()
    assert is_dead(owners, parent.pid)
    assert not is_dead(owners, child)
    assert owners.members() == [Member(child, "default")]


def test_two_clients_in_one_process_keep_their_locks(owners: Owners, own: Own, tmp_path: Path) -> None:
    """Looking at each other frees nobody's lock: POSIX would free it when any descriptor of the file is closed."""
    second = Owners(tmp_path, "second", "other")
    assert owners.members() == [Member(second.pid, "other")]
    assert second.members() == [Member(owners.pid, "default")]
    second.tidy(list)
    assert not is_dead(owners, second.pid)
    assert own("a").tell("look").split() == sorted([owners.pid, second.pid])
    second.close()
    assert owners.members()[0].pid != second.pid


@pytest.mark.parametrize("lie", ["inode", "boot", "file", "name", "nonsense"])
def test_what_cannot_be_proven_is_not_dead(owners: Owners, own: Own, tmp_path: Path, lie: str) -> None:
    """Another file of that name, another boot, no file, a path as a name: then the lease decides."""
    process = own("a")
    process.kill()
    name, device, inode, boot = process.pid.split(".")
    pid = {
        "inode": f"{name}.{device}.{int(inode) + 1}.{boot}",
        "boot": f"{name}.{device}.{inode}.{'0' * len(boot)}",
        "file": process.pid,
        "name": f"/etc/passwd.{device}.{inode}.{boot}",
        "nonsense": "worker-7",
    }[lie]
    if lie == "file":
        (tmp_path / name).unlink()
    assert not is_dead(owners, pid)
    assert is_dead(owners, process.pid) == (lie != "file")


def test_a_reused_name_is_another_owner(owners: Owners, own: Own, tmp_path: Path) -> None:
    """A later process under the name of a dead one lives; what the dead one held waits for its lease."""
    first = own("a")
    first.kill()
    (tmp_path / "a").rename(tmp_path / "kept")  # keeps the inode from being used again
    second = own("a")
    assert not is_dead(owners, second.pid)
    assert not is_dead(owners, first.pid)
    second.kill()
    assert is_dead(owners, second.pid)
    assert not is_dead(owners, first.pid)


def test_only_files_of_the_dead_who_hold_nothing_are_removed(owners: Owners, own: Own, tmp_path: Path) -> None:
    """A dead holder's file stays for as long as it holds a task, however old; a young file and a live one stay too."""
    holding, idle, young, alive = (own(name) for name in ("holding", "idle", "young", "alive"))
    for process in (holding, idle, young):
        process.kill()
    hour_ago = time.time() - 3600
    for name in ("holding", "idle", "alive"):
        os.utime(tmp_path / name, (hour_ago, hour_ago))
    owners.tidy(lambda: {holding.pid})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "holding", "observer", "young"]
    assert is_dead(owners, holding.pid)
    assert not is_dead(owners, alive.pid)


def test_an_owner_that_ends_leaves_nothing(owners: Owners, tmp_path: Path) -> None:
    """Closing removes the file, once, and not that of a namesake."""
    second = Owners(tmp_path, "second", "default")
    second.close()
    third = Owners(tmp_path, "second", "default")
    second.close()
    until(lambda: sorted(path.name for path in tmp_path.iterdir()) == ["observer", "second"], 1)
    third.close()
    assert [path.name for path in tmp_path.iterdir()] == ["observer"]
