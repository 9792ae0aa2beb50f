"""Several processes on one SQLite file: forks, contention, creation at once, and kill -9."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from resonate_web.machine.state import Keys
from resonate_web.store.sql import SqlStore
from resonate_web.store.sqlite import SqliteFile
from resonate_web.testing.store_samples import load, promise, task, write

pytestmark = pytest.mark.slow

PRELUDE = """
import os, sys, threading
from dataclasses import replace
from resonate_web.errors import StoreConflict, StoreUnavailable
from resonate_web.machine.state import Keys
from resonate_web.store.base import Change
from resonate_web.store.sql import SqlStore
from resonate_web.store.sqlite import SqliteFile
from resonate_web.testing.store_samples import load, promise, task, write

path, *arguments = sys.argv[1:]
store = SqlStore(SqliteFile(path))

def say(text):
    os.write(1, f"{text}\\n".encode())

def ids():
    rows = store.search_promises(now=0, state=None, tags={}, after=None, limit=10**6)
    return ",".join(row.record.id for row in rows)

def files():
    return [link for fd in os.listdir("/proc/self/fd") if path in (link := link_of(fd))]

def link_of(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "r.db")


@pytest.fixture
def start(path):
    """Return a function that starts a Python process on the store; none survives the test."""
    started = []

    def start(script, *arguments):
        command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script), path, *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process):
    """Wait for a process and return the lines it said, without the library's warnings."""
    output, _ = process.communicate(timeout=60)
    lines = [line for line in output.splitlines() if not line.startswith("SQLite ")]
    assert process.returncode == 0, output
    return lines


def test_a_forked_child_opens_its_own(start):
    """Parent and child both go on after a fork, and nothing of either is lost when the parent closes first."""
    script = """
        write(store, promise("before"))
        store.watch(), ids()
        assert files()
        here, there = os.pipe()
        child = os.fork()
        assert not files()
        if child == 0:
            write(store, promise("child:1"))
            assert files()
            os.read(here, 1)
            write(store, promise("child:2"))
            store.watch()
            sys.exit(0)
        write(store, promise("parent"))
        while "child:1" not in ids():
            pass
        store.close()
        os.write(there, b"x")
        assert os.waitpid(child, 0)[1] == 0
        store = SqlStore(SqliteFile(path))
        say(ids())
    """
    assert end(start(script)) == ["before,child:1,child:2,parent"]


def test_a_fork_waits_for_the_transaction_of_another_thread(start):
    """A thread in a transaction finishes before the fork; the child finds no lock held."""
    script = """
        inside, go = threading.Event(), threading.Event()

        def work():
            with store.transact() as transaction:
                transaction.apply([Change(write=promise("thread"))])
                inside.set()
                go.wait()

        thread = threading.Thread(target=work)
        thread.start()
        inside.wait()
        os.register_at_fork(before=go.set)  # hooks run last first: the thread goes on when the fork has begun
        child = os.fork()
        if child == 0:
            write(store, promise("child"))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        thread.join()
        say(ids())
    """
    assert end(start(script)) == ["child,thread"]


def test_a_fork_inside_a_transaction_spoils_the_child_only(start):
    """The child neither commits nor touches the file, in this store or another; the parent commits."""
    script = """
        write(store, promise("before"))
        with store.transact() as transaction:
            transaction.apply([Change(write=promise("parent"))])
            child = os.fork()
            if child == 0:
                refused = 0
                for use in (lambda: transaction.load(Keys(ids=frozenset({"a"}))), lambda: load(store, "a"),
                            lambda: write(SqlStore(SqliteFile(path)), promise("child"))):
                    try:
                        use()
                    except StoreUnavailable as error:
                        refused += "forked" in str(error)
                del use, store
                say(refused)
                raise SystemExit(0)
            assert os.waitpid(child, 0)[1] == 0
        write(store, promise("later"))
        say(ids())
    """
    assert end(start(script)) == ["3", "before,later,parent"]


def test_a_fork_by_c_code_is_noticed(start):
    """A fork that runs no Python hook is found by the process id, and the inherited file is refused."""
    script = """
        import ctypes
        write(store, promise("before"))
        child = ctypes.CDLL(None).fork()
        if child == 0:
            try:
                load(store, "before")
            except StoreUnavailable as error:
                say("lazy-apps" in str(error))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        write(store, promise("later"))
        say(ids())
    """
    assert end(start(script)) == ["True", "before,later"]


def test_a_store_that_was_not_used_survives_any_fork(start):
    """A child may use a store that the parent had not opened, whoever forked."""
    script = """
        import ctypes
        for fork in (os.fork, ctypes.CDLL(None).fork):
            child = fork()
            if child == 0:
                write(store, promise(f"child:{os.getpid()}"))
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        say(len(ids().split(",")))
    """
    assert end(start(script)) == ["2"]


def release(processes):
    """Let processes that say "ready" go on together."""
    for process in processes:
        while process.stdout.readline() != "ready\n":
            pass
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def test_four_processes_create_one_schema(start, path):
    """Processes that start at the same time on missing files agree on each secret and lose no row."""
    script = """
        say("ready")
        sys.stdin.readline()
        for number in range(25):
            store = SqlStore(SqliteFile(f"{path}{number}", synchronous="NORMAL"))
            write(store, promise(arguments[0]))
            say(f"{number} {store.secret().hex()}")
            store.close()
    """
    processes = [start(script, number) for number in range(4)]
    release(processes)
    assert len({line for process in processes for line in end(process)}) == 25
    for number in range(25):
        store = SqlStore(SqliteFile(f"{path}{number}"))
        assert sorted(load(store, *"0123").promises) == list("0123")
        store.close()


def test_two_processes_never_lose_an_update(start, path):
    """Guarded updates of one row by two processes all count, with the row read before or inside the transaction."""
    script = """
        say("ready")
        sys.stdin.readline()
        keys = Keys(ids=frozenset({"counter"}))
        done = conflicts = 0
        while done < 150:
            try:
                stale = store.read(keys) if done % 2 else None
                with store.transact() as transaction:
                    row, revision = (stale or transaction.load(keys)).tasks["counter"]
                    transaction.apply([Change(write=replace(row, version=row.version + 1), expects=revision)])
                done += 1
            except StoreConflict:
                conflicts += 1
        store.close()
    """
    store = SqlStore(SqliteFile(path))
    write(store, promise("counter"), task("counter"))
    processes = [start(script) for _ in range(2)]
    release(processes)
    for process in processes:
        end(process)
    row, revision = load(store, "counter").tasks["counter"]
    assert (row.version, revision) == (300, 301)
    store.close()


def test_another_process_is_noticed(start, path):
    """`watch` changes when another process has committed."""
    store = SqlStore(SqliteFile(path))
    before = store.watch()
    end(start('write(store, promise("a"))'))
    assert store.watch() != before
    store.close()


def test_kill_leaves_whole_groups_only(start, path):
    """After kill -9 at any moment each group of rows is there whole or not at all, and every confirmed one is there."""
    script = """
        for group in range(10**6):
            with store.transact() as transaction:
                transaction.apply([Change(write=promise(f"{group}:{n}")) for n in range(5)])
                transaction.apply([Change(write=promise(f"{group}:{n}")) for n in range(5, 10)])
            say(group)
    """
    for round in range(3):
        process = start(script if round == 0 else script.replace("range(10**6)", f"range({round}000, 10**6)"))
        confirmed = [line for line in (process.stdout.readline() for _ in range(25 + 7 * round)) if line[0] != "S"]
        process.kill()
        rest, _ = process.communicate()
        confirmed += rest.split("\n")[:-1]
        assert process.returncode == -signal.SIGKILL
        store = SqlStore(SqliteFile(path))
        rows = store.search_promises(now=0, state=None, tags={}, after=None, limit=10**6)
        groups = [row.record.id.partition(":")[0] for row in rows]
        assert {groups.count(group) for group in groups} == {10}
        assert {line.strip() for line in confirmed} <= set(groups)
        store.close()


def test_kill_inside_a_transaction_leaves_nothing(start, path):
    """Rows that were written but not committed are gone, and the next process can write at once."""
    script = """
        write(store, promise("before"))
        with store.transact() as transaction:
            transaction.apply([Change(write=promise(f"x:{n}")) for n in range(3000)])
            say("written")
            sys.stdin.readline()
    """
    process = start(script)
    while process.stdout.readline() != "written\n":
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    store = SqlStore(SqliteFile(path))
    write(store, promise("after"))
    rows = store.search_promises(now=0, state=None, tags={}, after=None, limit=10)
    assert [row.record.id for row in rows] == ["after", "before"]
    assert store.read(Keys(ids=frozenset({"x:1"}))).promises == {}
    store.close()
