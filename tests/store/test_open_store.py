"""From a URL to a store."""

import pytest

from resonate_web.config import Settings
from resonate_web.errors import ConfigError
from resonate_web.store.memory import MemoryStore
from resonate_web.store.open import open_store
from resonate_web.store.sql import SqlStore
from resonate_web.testing.store_samples import load, promise, write


def test_each_memory_store_is_new():
    """Two calls with memory:// share nothing."""
    one, two = (open_store(Settings(store="memory://")) for _ in range(2))
    assert isinstance(one, MemoryStore)
    write(one, promise("a"))
    assert load(two, "a").promises == {}
    assert one.secret() != two.secret()


def test_sqlite_paths_are_relative_or_absolute(tmp_path, monkeypatch):
    """Three slashes name a path from the current folder, four an absolute one; a later chdir changes nothing."""
    monkeypatch.chdir(tmp_path)
    relative = open_store(Settings(store="sqlite:///data/r.db"))
    absolute = open_store(Settings(store=f"sqlite:///{tmp_path}/data/r.db"))
    monkeypatch.chdir("/")
    assert isinstance(relative, SqlStore)
    write(relative, promise("a"))
    assert load(absolute, "a").promises == {"a": (promise("a"), 1)}
    assert absolute.secret() == relative.secret()
    relative.close()
    absolute.close()


def test_settings_reach_the_file(tmp_path):
    """Durability and migration come from the settings."""
    store = open_store(Settings(store=f"sqlite:///{tmp_path}/r.db", sqlite_synchronous="NORMAL"))
    assert isinstance(store, SqlStore)
    with store.database.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("resonate.db", "not a URL"),
        ("memory://x", "nothing behind"),
        ("sqlite://", "memory://"),
        ("sqlite:///", "memory://"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///file::memory:?cache=shared", "memory://"),
        ("sqlite://host/r.db", "sqlite:///path"),
        ("sqlite:///r.db?mode=ro", "without a host or parameters"),
        ("postgresql+psycopg://localhost/x", "PostgreSQL is not available in this version"),
        ("postgres://localhost/x", "PostgreSQL is not available in this version"),
        ("mysql://localhost/x", "unknown scheme 'mysql'"),
    ],
)
def test_other_urls_are_refused(url, message):
    """The error says what is known instead."""
    with pytest.raises(ConfigError, match=message):
        open_store(Settings(store=url))
