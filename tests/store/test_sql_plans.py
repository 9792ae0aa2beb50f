"""Hot statements use the index that was made for them."""

import pytest

from resonate_web.store import sql_text
from resonate_web.store.sql import SqlStore
from resonate_web.store.sql_text import SQLITE, texts
from resonate_web.store.sqlite import SqliteFile
from resonate_web.store.tables import PROMISES

PROMISE_KEY = "SEARCH resonate_promises USING INDEX sqlite_autoindex_resonate_promises_1 (id=?)"
TASK_KEY = "SEARCH resonate_tasks USING PRIMARY KEY (id=?)"
BELOW = "SEARCH resonate_tasks USING INDEX resonate_tasks_offered (target>? AND target<?)"

PLANS = {
    "rows": [PROMISE_KEY, f"{TASK_KEY} LEFT-JOIN"],
    "owned": ["SEARCH resonate_promises USING INDEX resonate_promises_owner (owner=?)", f"{TASK_KEY} LEFT-JOIN"],
    "trees": ["SEARCH resonate_promises USING INDEX resonate_promises_owner (owner=?)", PROMISE_KEY],
    "span": ["SEARCH resonate_promises USING INDEX sqlite_autoindex_resonate_promises_1 (id>? AND id<?)"],
    "promise_traces": ["SEARCH resonate_promises USING INDEX sqlite_autoindex_resonate_promises_1 (id>? AND id<?)"],
    "task_traces": ["SEARCH resonate_tasks USING PRIMARY KEY (id>? AND id<?)"],
    "settled_roots": ["SEARCH resonate_promises USING INDEX sqlite_autoindex_resonate_promises_1 (id>?)"],
    "awaited": [
        "SCAN resonate_tasks USING INDEX resonate_tasks_offered",
        "SCAN resonate_tasks USING INDEX resonate_tasks_held",
        "SCAN resonate_tasks USING INDEX resonate_tasks_halted",
    ],
    "delete_promise": [PROMISE_KEY],
    "delete_task": [TASK_KEY],
    "fences": [TASK_KEY],
    "update_promise": [PROMISE_KEY],
    "update_task": [TASK_KEY],
    "armed": ["SCAN resonate_promises USING INDEX resonate_promises_armed"],
    "owed": ["SCAN resonate_promises USING INDEX resonate_promises_owed"],
    "held": ["SCAN resonate_tasks USING INDEX resonate_tasks_held"],
    "offered": ["SEARCH resonate_tasks USING INDEX resonate_tasks_offered (target=?)"],
    "offered_below": [BELOW],
    "firing": ["SCAN resonate_schedules USING COVERING INDEX resonate_schedules_next"],
    "mail": ["SEARCH resonate_messages USING INDEX resonate_messages_address (address=?)"],
    "mail_below": ["SEARCH resonate_messages USING INDEX resonate_messages_address (address>? AND address<?)"],
    "holders": ["SCAN resonate_tasks USING INDEX resonate_tasks_held"],
    "halted": ["SCAN resonate_tasks USING INDEX resonate_tasks_halted"],
}
SORTED = {"offered_below", "mail_below", "promise_traces", "task_traces"}
"""Statements over ranges, sorted or grouped afterwards."""


@pytest.fixture(scope="module")
def explain(tmp_path_factory):
    """Return a function from SQL to the lines of its plan."""
    store = SqlStore(SqliteFile(str(tmp_path_factory.mktemp("plans") / "r.db")))

    def explain(text):
        with store.database.reading() as connection:
            parameters = ["[]"] * text.count("?")
            return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", parameters)]

    yield explain
    store.close()


@pytest.mark.parametrize("name", PLANS)
def test_a_hot_statement_uses_its_index(explain, name):
    """The plan holds the expected searches, scans no table and sorts only where that is small."""
    plan = explain(getattr(texts(SQLITE), name))
    text = "\n".join(plan)
    assert all(line in text for line in PLANS[name]), text
    assert not [line for line in plan if line.startswith("SCAN resonate_") and "INDEX" not in line], text
    assert ("TEMP B-TREE" in text) is (name in SORTED), text


def test_searches_walk_the_primary_key(explain):
    """A page of a search starts after the cursor and needs no sorting."""
    for text in (
        sql_text.search_promises(SQLITE, None, 2),
        sql_text.search_tasks(SQLITE, None),
        sql_text.search_schedules(SQLITE, 1),
    ):
        plan = "\n".join(explain(text))
        assert "(id>?)" in plan
        assert "TEMP B-TREE" not in plan


def test_statements_know_their_parameters():
    """Compiling refuses a statement whose parameters are not in the declared order."""
    from sqlalchemy import bindparam, select

    statement = select(PROMISES.c.id).where(PROMISES.c.id == bindparam("x"))
    assert sql_text.compiled(SQLITE, statement, ["x"]).endswith("= ?")
    with pytest.raises(AssertionError, match="declared order"):
        sql_text.compiled(SQLITE, statement, ["y"])
