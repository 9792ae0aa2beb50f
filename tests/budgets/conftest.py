"""A client whose statements are counted, and the order workflow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resonate_web import Resonate
from resonate_web.config import Settings
from resonate_web.engine.events import Event
from resonate_web.resonate.runtime import Runtime
from resonate_web.store.sql import SqlStore
from resonate_web.store.sqlite import Handles, SqliteFile

NEVER_MS = 3_600_000
"""Looks for other processes' work and for dead owners happen once, at the start: they would come by the clock."""


class CountedFile(SqliteFile):
    """A file that remembers every statement of every connection, and how many commits and rows it has taken in.

    `hold` is called before each commit.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.written: list[str] = []
        """Statements of the connection that writes."""
        self.read: list[str] = []
        """Statements of all others."""
        self.commits = 0
        self.rows = 0
        self.hold: Callable[[], None] = lambda: None
        self._before = 0

    def begin(self) -> Handles:
        """Begin, with an eye on what follows."""
        handles = super().begin()
        assert handles.writer is not None
        handles.writer.set_trace_callback(self.written.append)
        self._before = handles.writer.total_changes
        return handles

    def commit(self, handles: Handles) -> None:
        """Count and commit."""
        self.hold()
        assert handles.writer is not None
        rows = handles.writer.total_changes - self._before
        self.rows += rows
        self.commits += rows > 0
        super().commit(handles)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Lend a connection with an eye on what is asked."""
        with super().reading() as connection:
            connection.set_trace_callback(self.read.append)
            yield connection

    def selects(self) -> list[str]:
        """Return every SELECT so far."""
        return [text for text in (*self.written, *self.read) if text.lstrip().upper().startswith(("SELECT", "WITH"))]

    def forget(self) -> None:
        """Count from here on."""
        self.written.clear()
        self.read.clear()
        self.commits = self.rows = 0


class Counted:
    """A client on a counted file."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.file = CountedFile(path)
        chosen: dict[str, Any] = {"poll_ms": NEVER_MS, "owner_check_ms": NEVER_MS, "lease_ms": NEVER_MS, **settings}
        self.resonate = Resonate(Settings(store=f"sqlite:///{path}", **chosen), make_runtime=self._runtime)

    def await_runs(self, n: int, kind: str, start: Callable[[], object]) -> None:
        """Call `start` and wait until the event `kind` has come from `n` runs, without asking the store."""
        changed, seen = threading.Condition(), [0]

        def count(event: Event) -> None:
            if event.kind == kind:
                with changed:
                    seen[0] += 1
                    changed.notify_all()

        unsubscribe = self.resonate.events.subscribe(count)
        start()
        with changed:
            assert changed.wait_for(lambda: seen[0] >= n, 90), f"{kind}: only {seen[0]} of {n} runs"
        unsubscribe()

    def _runtime(self, **parts: Any) -> Runtime:
        return Runtime(store=SqlStore(self.file), **parts)


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Callable[..., Counted]]:
    """Return a function that makes a counted client on one file; keyword arguments are settings."""
    made: list[Counted] = []

    def make(**settings: Any) -> Counted:
        made.append(Counted(tmp_path / "resonate.db", settings))
        return made[-1]

    yield make
    for client in made:
        client.resonate.close()


def process_order(ctx: Any, order: dict[str, Any]) -> Any:
    """Four steps, each returning a small dict."""
    yield ctx.run(lambda order: {"ok": True, "id": order["id"]}, order)
    reservation = yield ctx.run(lambda order: {"reservation": f"r-{order['id']}"}, order)
    charge = yield ctx.run(lambda order: {"charge": f"c-{order['id']}"}, order)
    return (yield ctx.run(lambda order, r, c: {"id": order["id"], **r, **c}, order, reservation, charge))


@pytest.fixture
def order() -> Callable[..., Any]:
    """Return the order workflow."""
    return process_order
