"""The doctor: each finding with what to do, and whether all is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resonate_web.config import Settings, from_mapping
from resonate_web.engine import owners
from resonate_web.gateway import doctor
from resonate_web.resonate import Resonate
from resonate_web.store.sqlite import SqliteFile
from resonate_web.testing.servers import until


def nothing(ctx):
    yield ctx.sleep(1)


def no_workflow(x):
    return x


def stuck(ctx):
    yield ctx.run(no_workflow, 1)


def report_of(settings: Settings, *, secrets: tuple[str, ...] = (), **known: Any) -> doctor.Report:
    """Return what the doctor says about a client with these settings."""
    core = Resonate(settings)
    try:
        for name, fn in known.items():
            core.register(fn, name=name)
        return doctor.report(core, secrets)
    finally:
        core.close()


def test_a_site_in_order_is_sound(tmp_path: Path) -> None:
    """Every line says ok but the library's, which depends on this machine; the versions are named."""
    config = {
        "RESONATE_STORE": f"sqlite:///{tmp_path}/r.db",
        "RESONATE_BASE_URL": "https://shop.example",
        "RESONATE_SIGNING_KEYS": ("k" * 16, "l" * 16),
    }
    found = report_of(from_mapping(config, {}), nothing=nothing, step=no_workflow)
    assert found.sound
    lines = [line for line in found.text.splitlines() if "SQLite library" not in line]
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert f"SQLite file {tmp_path}/r.db, schema version 1, 0 promises" in found.text
    assert "signing key: RESONATE_SIGNING_KEYS (2, the last one signs)" in found.text
    assert "workflows: nothing@1" in found.text
    assert "step@1" not in found.text


def test_what_is_missing_is_a_warning() -> None:
    """With the setting to change; a store in memory is for tests."""
    settings = from_mapping({"RESONATE_STORE": "memory://"}, {"RESONATE_STORE": "memory://", "RESONATE_GROUP": "g"})
    found = report_of(settings)
    assert found.sound
    warned = [line.split(": ")[0].split(maxsplit=1)[1] for line in found.text.splitlines() if "warning" in line[:8]]
    assert warned == ["store", "signing key", "links", "settings", "workflows"]
    for word in ("RESONATE_SIGNING_KEYS", "RESONATE_BASE_URL", "RESONATE_STORE is set in the configuration"):
        assert word in found.text
    assert "RESONATE_GROUP" not in found.text
    assert "derived from the framework" in report_of(settings, secrets=("", "secret")).text


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one", None])
def test_a_store_that_cannot_be_used_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    """A file that is no database, and a folder that cannot be made: said in one line, and the rest is still checked."""
    (tmp_path / "file").write_bytes(content or b"")
    path = tmp_path / "file" if content else tmp_path / "file/below/r.db"
    found = report_of(Settings(store=f"sqlite:///{path}"))
    assert not found.sound
    assert found.text.startswith("error    store: ")
    assert "RESONATE_BASE_URL" in found.text
    assert "blocked runs" not in found.text


def test_a_network_file_system_is_named(tmp_path: Path) -> None:
    """Also where the refusal was overridden."""
    mounted = f"1 2 0:3 / {tmp_path} rw - nfs4 server:/x rw\n"
    store = SqliteFile(f"{tmp_path}/r.db", allow_network_fs=True, mountinfo=lambda: mounted)
    refusing = SqliteFile(f"{tmp_path}/r.db", mountinfo=lambda: mounted)
    reached, _, place = store.examine()
    refused, _, _ = refusing.examine()
    store.close()
    assert (reached.level, place.level, refused.level) == ("ok", "warning", "error")
    assert "nfs4" in place.text
    assert "nfs4" in refused.text


def test_processes_are_counted(tmp_path: Path) -> None:
    """Those that live and those that are gone; looking costs nobody his lock."""
    folder = tmp_path / "owners"
    assert "none has started yet" in owners.examine(folder).text
    living = owners.Owners(folder, "a1", "g")
    (folder / "b2").write_text('{"pid": "b2.1.2.boot", "group": "g"}')
    (folder / "c3").write_text("")
    assert owners.examine(folder).text.startswith("1 executing on this host, 1 gone")
    living.close()
    assert owners.examine(folder).text.startswith("0 executing on this host, 1 gone")


def test_blocked_runs_are_named(tmp_path: Path) -> None:
    """With their reasons, the first few of them."""
    store = f"sqlite:///{tmp_path}/r.db"
    one = Resonate(Settings(store=store, poll_ms=20))
    one.register(stuck)
    one.register(nothing, name="gone")
    for number in range(doctor.NAMED + 2):
        one.begin_run(f"stuck/{number}", nothing)
    one.close()
    two = Resonate(Settings(store=store, poll_ms=20))
    try:
        two.ensure_started()
        until(lambda: len(two.runtime.server.halted()) == doctor.NAMED + 2, what="blocking")
        text = doctor.report(two, ()).text
    finally:
        two.close()
    assert f"warning  blocked runs: {doctor.NAMED + 2}: stuck/0 (" in text
    assert "'gone'" in text
    assert "; and 2 more. Deploy corrected code" in text
