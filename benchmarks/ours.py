"""`Resonate` on a file of its own, with counters; and a client that keeps runs in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import work
from resonate_web import Resonate
from resonate_web.config import Settings
from resonate_web.resonate.runtime import Runtime
from resonate_web.store.sql import SqlStore
from resonate_web.store.sqlite import Handles, SqliteFile


class CountingFile(SqliteFile):
    """A file that knows how many rows were written into it."""

    rows = 0

    def commit(self, handles: Handles) -> None:
        """Commit and remember SQLite's own count."""
        super().commit(handles)
        if handles.writer is not None:
            self.rows = handles.writer.total_changes


def client(folder: Path, **settings: Any) -> tuple[Resonate, CountingFile]:
    """Return a client on `resonate.db` in `folder`, and its file; nothing is opened yet."""
    path = folder / "resonate.db"
    chosen = Settings(store=f"sqlite:///{path}", **settings)
    file = CountingFile(str(path), synchronous=chosen.sqlite_synchronous)

    def make_runtime(**parts: Any) -> Runtime:
        return Runtime(store=SqlStore(file), **parts)

    return Resonate(chosen, make_runtime=make_runtime), file


@contextmanager
def started(folder: Path, *workflows: Callable[..., Any], **settings: Any) -> Iterator[tuple[Resonate, CountingFile]]:
    """Keep a client working during a block."""
    resonate, file = client(folder, **settings)
    for workflow in workflows:
        resonate.register(workflow)
    resonate.ensure_started()
    try:
        yield resonate, file
    finally:
        resonate.close()


def process_order(ctx: Any, order: work.Order) -> Any:
    """The order workflow: four steps, each a checkpoint."""
    yield ctx.run(work.validate, order)
    reservation = yield ctx.run(work.reserve, order)
    charge = yield ctx.run(work.charge, order)
    return (yield ctx.run(work.confirm, order, reservation, charge))


def keep_in_flight(n: int, in_flight: int, one: Callable[[int], Awaitable[object]]) -> None:
    """Await `one(i)` for every i < n, `in_flight` of them at a time, on one event loop."""
    numbers = iter(range(n))

    async def next_ones() -> None:
        for i in numbers:
            await one(i)

    async def all_of_them() -> None:
        await asyncio.gather(*(next_ones() for _ in range(in_flight)))

    asyncio.run(all_of_them())
