"""One SQLite file: how it is opened, what is refused, and what its errors say."""

import logging
import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from resonate_web.errors import ConfigError, SchemaMismatch, StoreError, StoreUnavailable
from resonate_web.machine.state import Keys
from resonate_web.store import schema, sqlite_open
from resonate_web.store.filesystems import network_type
from resonate_web.store.sql import SqlStore
from resonate_web.store.sql_text import SQLITE, create_all
from resonate_web.store.sqlite import SqliteFile
from resonate_web.testing.store_samples import load, promise, write

LOCAL = "22 1 0:21 / / rw - ext4 /dev/vda rw\n"


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "new folder" / "r.db")


@pytest.fixture
def open_file(path):
    """Return a function that opens a store on `path`; every one is closed at the end."""
    opened = []

    def open_file(**options):
        store = SqlStore(SqliteFile(path, **options))
        opened.append(store)
        return store

    yield open_file
    for store in opened:
        store.close()


def plain(path):
    """Open the file as a stranger would."""
    return sqlite3.connect(path, isolation_level=None)


def test_nothing_is_opened_before_the_first_use(open_file, path):
    """Making a store and closing it creates no file."""
    open_file().close()
    assert not os.path.exists(os.path.dirname(path))


def test_the_folder_is_created_and_the_file_is_private(open_file, path):
    """The parent folder is made; file and log are readable by their owner only."""
    write(open_file(), promise("a"))
    modes = {name: stat.S_IMODE(os.stat(f"{os.path.dirname(path)}/{name}").st_mode) for name in os.listdir(path[:-5])}
    assert modes == {"r.db": 0o600, "r.db-wal": 0o600, "r.db-shm": 0o600}


@pytest.mark.parametrize(("name", "number"), [("FULL", 2), ("NORMAL", 1)])
def test_pragmas_are_as_documented(open_file, name, number):
    """The writer and the readers have the documented settings, readers cannot write."""
    file = open_file(synchronous=name).database
    wanted = {"journal_mode": "wal", "synchronous": number, "busy_timeout": 10_000, "temp_store": 2}
    wanted |= {"cache_size": -8000, "mmap_size": 0, "journal_size_limit": 64 * 1024 * 1024}
    handles = file.begin()
    assert handles.writer is not None
    assert {key: handles.writer.execute(f"PRAGMA {key}").fetchone()[0] for key in wanted} == wanted
    assert handles.writer.execute("PRAGMA query_only").fetchone() == (0,)
    file.roll_back(handles)
    with file.reading() as reader:
        assert {key: reader.execute(f"PRAGMA {key}").fetchone()[0] for key in wanted} == wanted
        assert reader.execute("PRAGMA query_only").fetchone() == (1,)


def test_idle_readers_are_few(open_file):
    """Readers are reused, and no more than a few are kept."""
    file = open_file().database
    stack = [file.reading() for _ in range(9)]
    connections = [reader.__enter__() for reader in stack]
    assert len(set(map(id, connections))) == 9
    for reader in stack:
        reader.__exit__(None, None, None)
    assert len(file._handles.idle) == 4
    assert file._handles.lent == 0
    with file.reading() as again:
        assert again in connections


@pytest.mark.parametrize(
    ("mounted", "kind"),
    [
        ("ext4", None),
        ("overlay", None),
        ("tmpfs", None),
        ("fuseblk", None),
        ("nfs", "nfs"),
        ("nfs4", "nfs4"),
        ("cifs", "cifs"),
        ("smb3", "smb3"),
        ("fuse.sshfs", "fuse.sshfs"),
        ("9p", "9p"),
        ("virtiofs", "virtiofs"),
    ],
)
def test_network_file_systems_are_known(mounted, kind):
    """The type of the innermost mount decides."""
    text = f"{LOCAL}31 22 0:40 / /mnt/data rw shared:1 - {mounted} server:/x rw\n"
    assert network_type("/mnt/data/app/r.db", text) == kind
    assert network_type("/mnt/database/r.db", text) is None
    assert network_type("/r.db", text) is None


def test_mount_points_with_spaces_and_covered_mounts():
    """Escapes in mount points are read, and a later mount on the same point wins."""
    text = f"{LOCAL}1 1 0:1 / /mnt/my\\040disk rw - nfs s:/ rw\n2 1 0:1 / /mnt/x rw - nfs s:/ rw\n"
    assert network_type("/mnt/my disk/r.db", text) == "nfs"
    assert network_type("/mnt/x/r.db", f"{text}3 2 0:2 / /mnt/x rw - ext4 /dev/sdb rw\n") is None
    assert network_type("/mnt/x/r.db", "") is None


def test_a_network_file_system_is_refused(open_file, path):
    """The error names file, type and the setting that overrides it; nothing is created."""
    mounts = "22 1 0:21 / / rw - nfs4 server:/ rw\n"
    with pytest.raises(ConfigError, match=r"r\.db.*nfs4.*RESONATE_ALLOW_NETWORK_FS"):
        open_file(mountinfo=lambda: mounts).read(Keys())
    assert not os.path.exists(path)
    write(open_file(mountinfo=lambda: mounts, allow_network_fs=True), promise("a"))


@pytest.mark.parametrize(
    ("version", "warned"),
    [((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 51, 2), True), ((3, 51, 3), False)],
)
def test_libraries_with_the_log_reset_bug_are_named(version, warned):
    """Versions 3.7.0 to 3.51.2 are warned about, with their number."""
    warning = sqlite_open.library_warning(version)
    assert (warning is not None) is warned
    assert not warned or ".".join(map(str, version)) in str(warning)


@pytest.mark.skipif(sqlite_open.library_warning(sqlite3.sqlite_version_info) is None, reason="this library is fixed")
def test_the_warning_is_logged_once(open_file, caplog):
    """A store warns at its first opening, not at its connections."""
    with caplog.at_level(logging.WARNING, logger="resonate_web.store"):
        store = open_file()
        write(store, promise("a"))
        load(store, "a")
    assert [record.name for record in caplog.records] == ["resonate_web.store"]
    assert sqlite3.sqlite_version in caplog.text


def test_migrate_off_forbids_to_create(open_file, path):
    """Without permission to migrate, a missing file stays missing and the command is named."""
    with pytest.raises(SchemaMismatch, match=r"does not exist.*RESONATE_MIGRATE=auto"):
        open_file(migrate=False).secret()
    assert not os.path.exists(path)


def test_migrate_off_accepts_a_present_schema(open_file, path):
    """Without permission to migrate, the right schema works and an older or absent one is refused."""
    secret = open_file().secret()
    assert open_file(migrate=False).secret() == secret
    with plain(path) as stranger:
        stranger.execute("UPDATE resonate_meta SET version = 0")
    with pytest.raises(SchemaMismatch, match=r"has version 0, not 1.*RESONATE_MIGRATE=auto"):
        open_file(migrate=False).secret()
    with plain(path) as stranger:
        stranger.execute("DROP TABLE resonate_meta")
    with pytest.raises(SchemaMismatch, match="no schema yet"):
        open_file(migrate=False).secret()
    stranger.close()


def test_a_newer_schema_is_refused(open_file, path):
    """The error names both versions."""
    open_file().secret()
    with plain(path) as stranger:
        stranger.execute("UPDATE resonate_meta SET version = 9")
    stranger.close()
    for migrate in (True, False):
        with pytest.raises(SchemaMismatch, match=r"has version 9.*knows 1"):
            open_file(migrate=migrate).secret()


def test_upgrades_run_in_order_and_once(tmp_path):
    """An older schema climbs number by number; a failing step leaves what was before it."""
    connection = plain(tmp_path / "u.db")
    schema.ensure(connection, SQLITE, 5)
    secret = connection.execute("SELECT secret, created_at FROM resonate_meta").fetchall()
    steps = {
        2: lambda dialect: ["CREATE TABLE two (x)"],
        3: lambda dialect: ["ALTER TABLE two ADD COLUMN y", "CREATE INDEX three ON two (y)"],
    }
    for _ in range(2):
        schema.ensure(connection, SQLITE, 6, version=3, upgrades=steps)
    assert schema.stored_version(connection, SQLITE) == 3
    assert connection.execute("SELECT secret, created_at FROM resonate_meta").fetchall() == secret
    with pytest.raises(sqlite3.OperationalError):
        schema.ensure(connection, SQLITE, 7, version=4, upgrades={4: lambda dialect: ["CREATE TABLE four (x)", "oops"]})
    assert schema.stored_version(connection, SQLITE) == 3
    assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'four'").fetchone() is None
    connection.close()


def test_the_schema_has_only_our_names():
    """Every table and index begins with our prefix, and the application's metadata is untouched."""
    from sqlmodel import SQLModel

    assert all(statement.split()[2].startswith("resonate_") for statement in create_all(SQLITE))
    assert not [name for name in SQLModel.metadata.tables if name.startswith("resonate_")]


def test_a_lock_that_lasts_is_unavailable(open_file, path):
    """When another process keeps its transaction open, the write fails as unavailable and works later."""
    store = open_file(busy_ms=20)
    store.secret()
    stranger = plain(path)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        write(store, promise("a"))
    stranger.execute("COMMIT")
    stranger.close()
    write(store, promise("a"))


def test_readers_do_not_wait_for_a_writer(open_file):
    """A read during a write transaction sees the state before it."""
    store = open_file(busy_ms=20)
    with store.transact() as transaction:
        transaction.apply([])
        write_count = store.watch()
        assert load(store, "a").promises == {}
        assert store.watch() == write_count


def test_threads_share_a_store(open_file):
    """Threads that write, read and poll at the same time lose nothing and wait for each other."""
    store = open_file(synchronous="NORMAL")

    def work(name):
        for number in range(40):
            write(store, promise(f"{name}:{number}"))
            assert f"{name}:{number}" in load(store, f"{name}:{number}").promises
            store.watch()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, "abcdefgh"))
    assert len(store.search_promises(now=0, state=None, tags={}, after=None, limit=1000)) == 320


def test_a_full_disk_loses_nothing_silently(open_file):
    """A write that does not fit raises and leaves nothing; smaller ones go on."""
    store = open_file()
    handles = store.database.begin()
    store.database.commit(handles)
    assert handles.writer is not None
    handles.writer.execute("PRAGMA max_page_count=40").close()
    with pytest.raises(StoreUnavailable, match="disk is full"):
        write(store, *(promise(f"{n}:{'x' * 500}") for n in range(500)))
    assert store.search_promises(now=0, state=None, tags={}, after=None, limit=9) == []
    write(store, promise("small"))


def test_a_failed_commit_is_rolled_back(open_file):
    """When COMMIT itself fails, the rows are gone, the error says so and the store goes on."""
    store = open_file()
    file = store.database
    handles = file.begin()
    writer = file.writing(handles)
    file.commit(handles)
    writer.execute("PRAGMA foreign_keys=ON").close()
    writer.execute("CREATE TABLE parent (id PRIMARY KEY)").close()
    writer.execute("CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)").close()
    with pytest.raises(StoreError), store.transact():
        writer.execute("INSERT INTO child VALUES (1)").close()
    assert not writer.in_transaction
    assert writer.execute("SELECT * FROM child").fetchall() == []
    write(store, promise("a"))


def test_values_that_cannot_be_stored_are_an_error_of_the_value(open_file):
    """A number beyond 64 bits or half a character refuses the batch without calling the store unavailable."""
    store = open_file()
    for bad in (promise("a", timeout_at=2**63), promise("\ud800")):
        with pytest.raises(StoreError, match="cannot store") as caught:
            write(store, promise("b"), bad)
        assert not isinstance(caught.value, StoreUnavailable)
    assert load(store, "b").promises == {}


def test_a_replaced_file_is_noticed(open_file, path):
    """A file that was deleted while in use is not written into the void."""
    store = open_file()
    write(store, promise("a"))
    os.unlink(path)
    with pytest.raises(StoreUnavailable, match="moved, deleted or replaced"):
        write(store, promise("b"))


def test_what_is_no_database_is_left_alone(open_file, path):
    """A file of another kind is refused and unchanged."""
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(b"#!/bin/sh\n" * 200)
    with pytest.raises(StoreUnavailable, match="not an SQLite database"):
        open_file().secret()
    with open(path, "rb") as file:
        assert file.read() == b"#!/bin/sh\n" * 200


def test_a_folder_that_cannot_be_made_is_named(open_file, path):
    """When the folder of the file cannot be created, the error names the file."""
    with open(os.path.dirname(path), "w", encoding="utf-8"):
        pass
    with pytest.raises(StoreUnavailable, match=r"cannot create the folder of .*r\.db"):
        open_file().secret()


def test_a_closed_store_says_so(open_file):
    """Closing twice is harmless, using a closed store is an error."""
    store = open_file()
    write(store, promise("a"))
    load(store, "a")
    store.watch()
    store.close()
    store.close()
    for use in (lambda: write(store, promise("b")), lambda: load(store, "a"), store.watch):
        with pytest.raises(StoreUnavailable, match="closed"):
            use()


def test_closing_leaves_one_file(open_file, path):
    """The last one to close tidies the log into the file."""
    store = open_file()
    write(store, promise("a"))
    load(store, "a")
    store.close()
    assert os.listdir(os.path.dirname(path)) == ["r.db"]
