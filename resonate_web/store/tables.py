"""The tables, on a registry of their own: the application's `SQLModel.metadata` never sees them.

Rows are kept small, since a busy store holds one promise per step. Sets are sorted JSON arrays,
NULL when empty; flags that only queries need (`external`, `owed`, ...) are derived when a row is
written. Every index serves one query of `Store`, and all but `owner`'s hold only rows that still
want something. Promises keep SQLite's rowid (their payload would bloat a clustered key), tasks do
not (small rows, looked up by id only).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text, literal_column, true
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

INSTANT: Any = BigInteger
"""Milliseconds since the Unix epoch, or a duration in ms."""
ID: Any = Text().with_variant(Text(collation="C"), "postgresql")
"""Ids compare by code point everywhere, as in Python."""


class Base(SQLModel, registry=registry(metadata=MetaData())):
    """Parent of the tables; holds their private metadata."""


class PromiseTable(Base, table=True):
    """One promise. `owed`: settled, and callbacks or listeners have not been drained yet."""

    __tablename__ = "resonate_promises"

    id: str = Field(primary_key=True, sa_type=ID)
    state: str = Field(sa_type=Text)
    timeout_at: int = Field(sa_type=INSTANT)
    created_at: int = Field(sa_type=INSTANT)
    settled_at: int | None = Field(sa_type=INSTANT)
    timer: bool
    external: bool
    detached: bool
    owed: bool
    owner: str | None = Field(sa_type=ID)
    param_data: str | None = Field(sa_type=Text)
    param_headers: str | None = Field(sa_type=Text)
    value_data: str | None = Field(sa_type=Text)
    value_headers: str | None = Field(sa_type=Text)
    tags: str = Field(sa_type=Text)
    callbacks: str | None = Field(sa_type=Text)
    listeners: str | None = Field(sa_type=Text)
    rev: int = Field(sa_type=INSTANT)


class TaskTable(Base, table=True):
    """One task; its id is its promise's."""

    __tablename__ = "resonate_tasks"
    __table_args__ = {"sqlite_with_rowid": False}

    id: str = Field(primary_key=True, sa_type=ID)
    state: str = Field(sa_type=Text)
    version: int = Field(sa_type=INSTANT)
    target: str = Field(sa_type=ID)
    pid: str | None = Field(sa_type=Text)
    ttl: int | None = Field(sa_type=INSTANT)
    expires_at: int | None = Field(sa_type=INSTANT)
    retry_at: int | None = Field(sa_type=INSTANT)
    resumes: str | None = Field(sa_type=Text)
    strikes: int
    refusals: str | None = Field(sa_type=Text)
    rev: int = Field(sa_type=INSTANT)


class ScheduleTable(Base, table=True):
    """One schedule."""

    __tablename__ = "resonate_schedules"

    id: str = Field(primary_key=True, sa_type=ID)
    cron: str = Field(sa_type=Text)
    promise_id: str = Field(sa_type=Text)
    promise_timeout: int = Field(sa_type=INSTANT)
    param_data: str | None = Field(sa_type=Text)
    param_headers: str | None = Field(sa_type=Text)
    promise_tags: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=INSTANT)
    next_run_at: int = Field(sa_type=INSTANT)
    last_run_at: int | None = Field(sa_type=INSTANT)
    rev: int = Field(sa_type=INSTANT)


class MessageTable(Base, table=True):
    """One message of the outbox; `seq` is its place in the queue, kept when a newer one replaces it."""

    __tablename__ = "resonate_messages"

    seq: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True, sa_type=ID)
    address: str = Field(sa_type=ID)
    kind: str = Field(sa_type=Text)
    task_id: str | None = Field(sa_type=ID)
    version: int | None = Field(sa_type=INSTANT)
    promise: str | None = Field(sa_type=Text)


class MetaTable(Base, table=True):
    """One row: the version of the schema, the secret made with it, and when."""

    __tablename__ = "resonate_meta"

    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    secret: bytes
    created_at: int = Field(sa_type=INSTANT)


METADATA: MetaData = Base.metadata
PROMISES: Table = METADATA.tables["resonate_promises"]
TASKS: Table = METADATA.tables["resonate_tasks"]
SCHEDULES: Table = METADATA.tables["resonate_schedules"]
MESSAGES: Table = METADATA.tables["resonate_messages"]
META: Table = METADATA.tables["resonate_meta"]


def in_state(column: Column[Any], state: str) -> Any:
    """Compare with a literal: a bound value would keep the planner from using a partial index."""
    return column == literal_column(f"'{state}'")


def _partial(name: str, *columns: Column[Any], where: Any) -> None:
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


ARMED = in_state(PROMISES.c.state, "pending") & (PROMISES.c.external == true())
"""Deadlines that somebody may wait for."""
OWED = PROMISES.c.owed == true()
OWNED = PROMISES.c.owner.is_not(None)
OFFERED = in_state(TASKS.c.state, "pending")
HELD = in_state(TASKS.c.state, "acquired")
HALTED = in_state(TASKS.c.state, "halted")

_partial("resonate_promises_armed", PROMISES.c.timeout_at, where=ARMED)
_partial("resonate_promises_owed", PROMISES.c.settled_at, PROMISES.c.id, where=OWED)
_partial("resonate_promises_owner", PROMISES.c.owner, where=OWNED)
_partial("resonate_tasks_offered", TASKS.c.target, TASKS.c.retry_at, where=OFFERED)
_partial("resonate_tasks_held", TASKS.c.expires_at, where=HELD)
_partial("resonate_tasks_halted", TASKS.c.id, where=HALTED)
Index("resonate_schedules_next", SCHEDULES.c.next_run_at, SCHEDULES.c.id)
Index("resonate_messages_address", MESSAGES.c.address, MESSAGES.c.seq)
