"""Database connections and transactions: what a step gets, what a start inside `atomic()` means."""

from __future__ import annotations

from types import TracebackType

from asgiref.sync import sync_to_async
from django.db import connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper

from resonate_web.errors import WrongCall


class World:
    """The surroundings of one attempt of a step: no stale connection before it, none left behind by it.

    A step runs on a thread of ours, an async one on an event loop of ours, whose ORM calls Django makes elsewhere:
    where those connections live they are looked at.
    """

    def __enter__(self) -> None:
        close_old()

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_old()

    async def __aenter__(self) -> None:
        await sync_to_async(close_old, thread_sensitive=True)()

    async def __aexit__(
        self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await sync_to_async(close_old, thread_sensitive=True)()


def close_old() -> None:
    """Close this thread's connections that are broken or older than CONN_MAX_AGE; never inside of a transaction."""
    reset_queries()
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def refuse_atomic(call: str) -> None:
    """Raise WrongCall inside of `atomic()`: a run that starts now is not undone by a rollback."""
    for connection in connections.all(initialized_only=True):
        if _in_atomic(connection):
            raise WrongCall(
                f"{call} inside of atomic() on {connection.alias!r} starts a run that a rollback does not undo: use "
                "start_on_commit(id, fn, ...) and answer with accepted(id), start it after the block, or say that it "
                "is meant so: resonate.options(allow_in_atomic=True)"
            )


def _in_atomic(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether the application opened a transaction; the one around a `TestCase` is not its own."""
    return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)
