"""The SQL of the store: Core statements on the tables, compiled once for a dialect into plain text.

Executing through SQLAlchemy was measured three times slower than through the driver, so only its
compiler is used. Parameters are positional; each statement declares their order, and compiling
checks it. A dialect is what differs between databases, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Delete,
    Insert,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import Dialect as Compiler
from sqlalchemy.schema import CreateIndex, CreateTable

from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.store.tables import (
    ARMED,
    HALTED,
    HELD,
    MESSAGES,
    META,
    METADATA,
    OFFERED,
    OWED,
    PROMISES,
    SCHEDULES,
    TASKS,
    in_state,
)

P, T, S, M = PROMISES.c, TASKS.c, SCHEDULES.c, MESSAGES.c
Condition = ColumnElement[bool]
Statement = Select[Any] | CompoundSelect[Any] | Insert | Update | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs between databases.

    `elements` unfolds a list that is one parameter, "ids", into a column `value` (a JSON array on SQLite, an array
    on PostgreSQL), `holds` tests for a substring, `table_exists` finds a table by name, `begin` opens a write
    transaction, `lock` is appended to a select whose rows must
    stay as they are until the transaction ends (nothing on SQLite: its only writer is us).
    """

    name: str
    compiler: Compiler
    insert: Callable[[Table], Any]
    elements: Callable[[], Any]
    holds: Callable[[ColumnElement[str], str], Condition]
    table_exists: str
    begin: str
    lock: str = ""


SQLITE = Dialect(
    name="sqlite",
    compiler=sqlite.dialect(paramstyle="qmark"),
    insert=sqlite.insert,
    elements=lambda: func.json_each(bindparam("ids")).table_valued("value"),
    holds=lambda column, name: func.instr(column, bindparam(name)) > literal_column("0"),
    table_exists="SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
    begin="BEGIN IMMEDIATE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Every fixed statement, with its parameters in order."""

    rows: str
    """ids -> promise and task columns."""
    owned: str
    """task ids -> promise and task columns of what they created."""
    trees: str
    """root ids -> root id, then promise and task columns of each attached descendant."""
    span: str
    """first id, last id -> promise and task columns of the ids from the first up to the last."""
    schedules: str
    """ids -> schedule columns."""
    fences: str
    """task ids -> id, revision."""
    insert_promise: str
    """promise columns."""
    insert_fenced: str
    """promise columns; task id, revision: inserts nothing when the task is not at that revision."""
    update_promise: str
    """state, settled_at, owed, value_data, value_headers, callbacks, listeners; id, revision."""
    insert_task: str
    """task columns."""
    update_task: str
    """state, version, pid, ttl, expires_at, retry_at, resumes, strikes, refusals; id, revision."""
    delete_promise: str
    """id, revision."""
    delete_task: str
    """id."""
    insert_schedule: str
    """schedule columns."""
    update_schedule: str
    """schedule columns between id and revision; id, revision."""
    delete_schedule: str
    """id, revision."""
    put_message: str
    """key, address, kind, task_id, version, promise."""
    delete_message: str
    """key."""
    armed: str
    """limit -> timeout_at, id: pending promises by deadline."""
    owed: str
    """limit -> id, callbacks, listeners."""
    held: str
    """limit -> expires_at, id: acquired tasks by lease end."""
    offered: str
    """target, limit -> retry_at, id: pending tasks of exactly this target."""
    offered_below: str
    """first target, last target, limit -> the same for a range of targets."""
    firing: str
    """limit -> next_run_at, id."""
    mail: str
    """address, limit -> seq, then message columns."""
    mail_below: str
    """first address, last address, limit -> the same for a range of addresses."""
    holders: str
    """-> id, version, pid of acquired tasks, by lease end: sorted by id, the planner would walk the whole table."""
    halted: str
    """-> task columns of halted tasks that were refused."""
    settled_roots: str
    """after, instant, limit -> promise columns of settled ones that nothing owns, or detached, by id."""
    awaited: str
    """-> resumes of tasks that have some."""
    promise_traces: str
    """root ids -> root id, how many promises its run has, how many are settled, when the last one was made."""
    task_traces: str
    """root ids -> root id, how many tasks its run has, how often they were written."""
    secret: str
    """-> secret."""
    insert_meta: str
    """version, secret, created_at."""


@lru_cache(maxsize=8)
def texts(dialect: Dialect) -> Texts:
    """Compile every fixed statement for `dialect`."""

    def text(statement: Statement, *names: str) -> str:
        return compiled(dialect, statement, names)

    return Texts(
        rows=text(_BOTH.where(_listed(dialect, P.id)), "ids"),
        owned=text(_BOTH.where(_listed(dialect, P.owner)), "ids"),
        trees=text(_trees(dialect), "ids"),
        span=text(_BOTH.where(_between(P.id)), "first", "last"),
        schedules=text(select(SCHEDULES).where(_listed(dialect, S.id)), "ids"),
        fences=text(select(T.id, T.rev).where(_listed(dialect, T.id)), "ids") + dialect.lock,
        insert_promise=text(_insert(dialect, PROMISES), *P.keys()),
        insert_fenced=text(_insert_fenced(dialect), *P.keys(), "fence_id", "fence_rev"),
        update_promise=text(_update(PROMISES, *PROMISE_CHANGES), *PROMISE_CHANGES, "where_id", "where_rev"),
        insert_task=text(_insert(dialect, TASKS), *T.keys()),
        update_task=text(_update(TASKS, *TASK_CHANGES), *TASK_CHANGES, "where_id", "where_rev"),
        delete_promise=text(delete(PROMISES).where(_unchanged(PROMISES)), "where_id", "where_rev"),
        delete_task=text(delete(TASKS).where(T.id == bindparam("where_id")), "where_id"),
        insert_schedule=text(_insert(dialect, SCHEDULES), *S.keys()),
        update_schedule=text(_update(SCHEDULES, *SCHEDULE_CHANGES), *SCHEDULE_CHANGES, "where_id", "where_rev"),
        delete_schedule=text(delete(SCHEDULES).where(_unchanged(SCHEDULES)), "where_id", "where_rev"),
        put_message=text(_put_message(dialect), *MESSAGE_COLUMNS),
        delete_message=text(delete(MESSAGES).where(M.key == bindparam("where_key")), "where_key"),
        armed=text(_first(select(P.timeout_at, P.id).where(ARMED).order_by(P.timeout_at)), "limit"),
        owed=text(_first(select(P.id, P.callbacks, P.listeners).where(OWED).order_by(P.settled_at, P.id)), "limit"),
        held=text(_first(select(T.expires_at, T.id).where(HELD).order_by(T.expires_at, T.id)), "limit"),
        offered=text(_first(_offered(T.target == bindparam("target"))), "target", "limit"),
        offered_below=text(_first(_offered(_between(T.target))), "first", "last", "limit"),
        firing=text(_first(select(S.next_run_at, S.id).order_by(S.next_run_at, S.id)), "limit"),
        mail=text(_first(_mail(M.address == bindparam("address"))), "address", "limit"),
        mail_below=text(_first(_mail(_between(M.address))), "first", "last", "limit"),
        holders=text(select(T.id, T.version, T.pid).where(HELD).order_by(T.expires_at)),
        halted=text(select(TASKS).where(HALTED, T.refusals.is_not(None)).order_by(T.id)),
        settled_roots=text(_first(_settled_roots()), "after", "before", "limit"),
        awaited=text(
            union_all(*(select(T.resumes).where(state, T.resumes.is_not(None)) for state in (OFFERED, HELD, HALTED)))
        ),
        promise_traces=text(_traces(dialect, P.id, P.settled_at, func.max(P.created_at)), "ids"),
        task_traces=text(_traces(dialect, T.id, T.id, func.sum(T.rev)), "ids"),
        secret=text(select(META.c.secret)),
        insert_meta=text(insert(META), *META.c.keys()),
    )


PROMISE_CHANGES = ("state", "settled_at", "owed", "value_data", "value_headers", "callbacks", "listeners")
"""What may change in a promise; the rest of the row is written once."""
TASK_CHANGES = ("state", "version", "pid", "ttl", "expires_at", "retry_at", "resumes", "strikes", "refusals")
SCHEDULE_CHANGES = tuple(column.key for column in S if column.key not in ("id", "rev"))
MESSAGE_COLUMNS = tuple(column.key for column in M if column.key != "seq")

_BOTH = select(PROMISES, TASKS).select_from(PROMISES.outerjoin(TASKS, T.id == P.id))


def compiled(dialect: Dialect, statement: Statement, names: Sequence[str]) -> str:
    """Return the text of `statement`; its parameters must come in the order of `names`."""
    result = statement.compile(dialect=dialect.compiler)
    found = tuple(getattr(result, "positiontup", None) or ())
    if found != tuple(names):
        raise AssertionError(f"parameters {found} are not in the declared order {tuple(names)}")
    return str(result)


def create_all(dialect: Dialect) -> list[str]:
    """Return the statements that create every table and index."""
    found: list[str] = []
    for table in METADATA.sorted_tables:
        found.append(str(CreateTable(table).compile(dialect=dialect.compiler)).strip())
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        found.extend(str(CreateIndex(index).compile(dialect=dialect.compiler)) for index in indexes)
    return found


@lru_cache(maxsize=64)
def search_promises(dialect: Dialect, state: PromiseState | None, tags: int) -> str:
    """Compile the search for `state` as seen at an instant and a number of tags.

    Parameters: after, `tags` fragments, the instant (not without a state), limit.
    """
    where = [P.id > bindparam("after"), *_tagged(dialect, P.tags, tags)]
    if state is not None:
        where.append(_seen_as(state))
    names = ["after", *_part_names(tags), *(["now"] if needs_now(state) else []), "limit"]
    return compiled(dialect, _first(select(PROMISES).where(*where).order_by(P.id)), names)


@lru_cache(maxsize=16)
def search_tasks(dialect: Dialect, state: TaskState | None) -> str:
    """Compile the search for tasks; parameters: after, the instant (not without a state), limit."""
    both = select(TASKS, PROMISES).select_from(TASKS.join(PROMISES, T.id == P.id))
    dead = and_(in_state(P.state, "pending"), P.timeout_at <= bindparam("now"))
    where = [T.id > bindparam("after")]
    if state is TaskState.FULFILLED:
        where.append(or_(in_state(T.state, state), dead))
    elif state is not None:
        where.append(and_(in_state(T.state, state), ~dead))
    names = ["after", *([] if state is None else ["now"]), "limit"]
    return compiled(dialect, _first(both.where(*where).order_by(T.id)), names)


@lru_cache(maxsize=16)
def search_schedules(dialect: Dialect, tags: int) -> str:
    """Compile the search for schedules; parameters: after, `tags` fragments, limit."""
    where = [S.id > bindparam("after"), *_tagged(dialect, S.promise_tags, tags)]
    statement = _first(select(SCHEDULES).where(*where).order_by(S.id))
    return compiled(dialect, statement, ["after", *_part_names(tags), "limit"])


def _first(statement: Select[Any]) -> Select[Any]:
    """Limit by the parameter "limit"; the offset is spelt out, or SQLite's compiler adds a parameter for it."""
    return statement.limit(bindparam("limit")).offset(literal_column("0"))


def _listed(dialect: Dialect, column: ColumnElement[Any]) -> Condition:
    return column.in_(select(dialect.elements().c.value))


def _trees(dialect: Dialect) -> Select[Any]:
    """Walk from owner to owned; UNION drops repetitions, so that even a cycle would end."""
    asked = dialect.elements().c.value
    roots = select(asked.label("root"), asked.label("id"))
    tree = roots.cte("tree", recursive=True)
    step = select(tree.c.root, P.id).where(P.owner == tree.c.id, P.detached != true())
    tree = tree.union(step)
    joined = tree.join(PROMISES, P.id == tree.c.id).outerjoin(TASKS, T.id == P.id)
    return select(tree.c.root, PROMISES, TASKS).select_from(joined).where(tree.c.id != tree.c.root)


def _settled_roots() -> Select[Any]:
    settled = and_(P.id > bindparam("after"), P.settled_at <= bindparam("before"))
    return select(PROMISES).where(settled, or_(P.owner.is_(None), P.detached == true())).order_by(P.id)


def _traces(dialect: Dialect, id: Column[Any], counted: Column[Any], figure: Any) -> Select[Any]:
    root = dialect.elements().c.value
    run = or_(id == root, *(and_(id >= root + first, id < root + last) for first, last in _OF_A_RUN))
    return select(root, func.count(), func.count(counted), figure).where(run).group_by(root)


_OF_A_RUN = [
    (literal_column("':'", Text), literal_column("';'", Text)),
    (literal_column("'~'", Text), literal_column("'\x7f'", Text)),
]
"""What follows the root's id in the ids of its run: each range ends before the next character."""


def _insert(dialect: Dialect, table: Table) -> Insert:
    values: dict[str, Any] = {column.key: bindparam(column.key) for column in table.columns}
    statement: Insert = dialect.insert(table).values(values).on_conflict_do_nothing(index_elements=["id"])
    return statement


def _insert_fenced(dialect: Dialect) -> Insert:
    fence = exists().where(T.id == bindparam("fence_id"), T.rev == bindparam("fence_rev"))
    row = select(*(bindparam(column.key, type_=column.type) for column in P)).where(fence)
    statement: Insert = dialect.insert(PROMISES).from_select(P.keys(), row)
    return statement.on_conflict_do_nothing(index_elements=["id"])  # type: ignore[no-any-return, attr-defined]


def _update(table: Table, *names: str) -> Update:
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    values["rev"] = table.c.rev + literal_column("1")
    return update(table).where(_unchanged(table)).values(values)


def _unchanged(table: Table) -> Condition:
    return and_(table.c.id == bindparam("where_id"), table.c.rev == bindparam("where_rev"))


def _put_message(dialect: Dialect) -> Insert:
    statement = dialect.insert(MESSAGES).values({name: bindparam(name) for name in MESSAGE_COLUMNS})
    newer = {name: statement.excluded[name] for name in MESSAGE_COLUMNS if name != "key"}
    replaced: Insert = statement.on_conflict_do_update(index_elements=["key"], set_=newer)
    return replaced


def _offered(where: Condition) -> Select[Any]:
    return select(T.retry_at, T.id).where(OFFERED, where).order_by(T.retry_at, T.id)


def _mail(where: Condition) -> Select[Any]:
    return select(M.seq, *(M[name] for name in MESSAGE_COLUMNS)).where(where).order_by(M.seq)


def _between(column: ColumnElement[str]) -> Condition:
    return and_(column >= bindparam("first"), column < bindparam("last"))


def _part_names(tags: int) -> list[str]:
    return [f"part{n}" for n in range(tags)]


def _tagged(dialect: Dialect, column: ColumnElement[str], tags: int) -> list[Condition]:
    """Find tags in their compact JSON text: `,"name":"value"` occurs only as a whole entry, quotes being escaped."""
    entries = literal_column("','", Text) + func.substr(column, literal_column("2"))
    return [dialect.holds(entries, name) for name in _part_names(tags)]


def needs_now(state: PromiseState | None) -> bool:
    """Tell whether a search for `state` depends on the instant."""
    return state in (PromiseState.PENDING, PromiseState.RESOLVED, PromiseState.TIMEDOUT)


def _seen_as(state: PromiseState) -> Condition:
    pending = in_state(P.state, "pending")
    if state is PromiseState.PENDING:
        return and_(pending, P.timeout_at > bindparam("now"))
    stored: Condition = in_state(P.state, state)
    if state in (PromiseState.RESOLVED, PromiseState.TIMEDOUT):
        timer = P.timer == true() if state is PromiseState.RESOLVED else P.timer != true()
        return or_(stored, and_(pending, timer, P.timeout_at <= bindparam("now")))
    return stored
