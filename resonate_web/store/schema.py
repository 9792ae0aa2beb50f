"""The schema and its forward-only, numbered upgrades.

A new store gets the newest schema at once; an older one climbs number by number, each step in one
transaction together with its version. Any number of processes may start at the same time: the
first one works under the write lock and the others find it done.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from resonate_web.errors import SchemaMismatch
from resonate_web.store.sql_text import Dialect, create_all, texts

VERSION = 1
"""The schema that this release speaks."""

Upgrades = Mapping[int, Callable[[Dialect], Sequence[str]]]
UPGRADES: Upgrades = {}
"""The statements that lead to a number from the one before. Once released, an entry never changes."""


def stored_version(connection: Any, dialect: Dialect) -> int | None:
    """Return the version of the stored schema, None if there is none."""
    if connection.execute(dialect.table_exists, ("resonate_meta",)).fetchone() is None:
        return None
    return int(connection.execute("SELECT version FROM resonate_meta").fetchone()[0])


def check(connection: Any, dialect: Dialect, may_change: bool, version: int = VERSION) -> None:
    """Read the version and write nothing.

    Raises: SchemaMismatch for a newer schema, and for an absent or older one if `may_change` is false.
    """
    found = stored_version(connection, dialect)
    if found is not None and found > version:
        raise SchemaMismatch(
            f"the stored schema has version {found}, this release of resonate-web knows {version}: "
            "update the library, or restore the backup made before the upgrade"
        )
    if found != version and not may_change:
        state = "there is no schema yet" if found is None else f"the stored schema has version {found}, not {version}"
        raise forbidden(state)


def forbidden(state: str) -> SchemaMismatch:
    """Return the error for a schema that may not be changed from here."""
    return SchemaMismatch(
        f"{state}, and RESONATE_MIGRATE=off forbids to change it: start once with RESONATE_MIGRATE=auto"
    )


def ensure(
    connection: Any, dialect: Dialect, now: int, *, version: int = VERSION, upgrades: Upgrades = UPGRADES
) -> None:
    """Create the schema or upgrade it to `version`; `now` (ms) is noted when it is created.

    Raises: SchemaMismatch when another process has upgraded it further meanwhile.
    """
    if stored_version(connection, dialect) == version:
        return
    connection.execute(dialect.begin)
    try:
        check(connection, dialect, True, version)
        found = stored_version(connection, dialect)
        if found is None:
            _create(connection, dialect, now, version)
        else:
            _upgrade(connection, dialect, range(found + 1, version + 1), upgrades)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _create(connection: Any, dialect: Dialect, now: int, version: int) -> None:
    for statement in create_all(dialect):
        connection.execute(statement)
    row = (version, secrets.token_bytes(32), now)
    connection.execute(texts(dialect).insert_meta, row)


def _upgrade(connection: Any, dialect: Dialect, numbers: range, upgrades: Upgrades) -> None:
    for number in numbers:
        for statement in upgrades[number](dialect):
            connection.execute(statement)
        connection.execute(f"UPDATE resonate_meta SET version = {number}")
