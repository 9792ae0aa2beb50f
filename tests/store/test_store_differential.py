"""The same changes on the memory store and on SQLite leave the same rows, conflicts included."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resonate_web.config import Settings
from resonate_web.errors import StoreConflict
from resonate_web.machine.state import DeleteMessage, DeleteSchedule, Keys, Message
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.protocol.requests import Refusal
from resonate_web.protocol.tags import DETACHED, EXTERNAL, TARGET, TIMER
from resonate_web.store.base import Change
from resonate_web.store.memory import MemoryStore
from resonate_web.store.open import open_store
from resonate_web.testing.store_samples import ALL, GROUP, promise, schedule, snapshot, task, write

IDS = ("a", "a:1", "a:1.1", "b", "ü")
OWNERS = {"a:1": "a", "a:1.1": "a:1", "b": "a:1", "ü": "b"}
TAGS = {
    "a": {TARGET: GROUP, 'x"': ","},
    "a:1": {TIMER: "true"},
    "a:1.1": {EXTERNAL: "true"},
    "b": {DETACHED: "true", TARGET: f"{GROUP}/p"},
}
ADDRESSES = (GROUP, f"{GROUP}/p", "poll://uni@g/p")

ids = st.sampled_from(IDS)
instants = st.integers(0, 40)
names = st.frozensets(st.sampled_from(["a", "b", "ü", 'q"']), max_size=2)


def newborn(id, **more):
    """Return a promise whose unchanging fields follow from its id."""
    return promise(id, tags=TAGS.get(id), timeout_at=10 * IDS.index(id), owner=OWNERS.get(id), **more)


@st.composite
def promises(draw):
    return newborn(
        draw(ids),
        state=draw(st.sampled_from(PromiseState)),
        settled_at=draw(instants),
        callbacks=sorted(draw(names)),
        listeners=sorted(draw(names)),
    )


def newborn_task(id, state=TaskState.PENDING, **more):
    """Return a task whose target follows from its id."""
    return task(id, state, target=TAGS.get(id, {}).get(TARGET, "other"), **more)


@st.composite
def tasks(draw):
    return newborn_task(
        draw(ids),
        draw(st.sampled_from(TaskState)),
        at=draw(instants),
        version=draw(instants),
        resumes=draw(names),
        refusals=draw(st.sampled_from([(), (Refusal(pid="p", code="c", reason="r"),)])),
    )


messages = st.builds(
    lambda key, address, version: Message(key=key, address=address, kind="execute", task_id=key, version=version),
    ids,
    st.sampled_from(ADDRESSES),
    instants,
)
writes = st.one_of(
    promises(),
    promises(),
    tasks(),
    st.builds(lambda id, at: schedule(id, at=at), ids, instants),
    st.builds(lambda id: DeleteSchedule(id=id), ids),
    messages,
    st.builds(lambda key: DeleteMessage(key=key), ids),
)
mistakes = st.sampled_from([0] * 12 + [1, -1])
"""How far an expected revision is off; mostly it is right."""
fences = st.none() | st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([0, 0, 0, 1]))
batches = st.lists(st.tuples(writes, mistakes, fences), min_size=1, max_size=6)
deletions = st.tuples(st.frozensets(ids, max_size=3), mistakes)


def key_of(row):
    """Return what a write replaces."""
    kind = type(row).__name__.replace("Delete", "").replace("Row", "")
    return kind, getattr(row, "key", None) or getattr(getattr(row, "record", row), "id", None)


def changes_of(store, batch):
    """Turn drawn writes into changes that fit the stored revisions, but for the drawn mistakes; one per row."""
    stored = store.read(Keys(ids=frozenset(IDS), schedules=frozenset(IDS)))
    revisions = {"Promise": stored.promises, "Task": stored.tasks, "Schedule": stored.schedules, "Message": {}}
    rows = {}
    for row, mistake, fence in batch:
        kind, id = key_of(row)
        expects = revisions[kind][id][1] if id in revisions[kind] else None
        if mistake:
            expects = 5 if expects is None else (expects + mistake or None)
        if fence is not None:
            fence = (fence[0], stored.tasks[fence[0]][1] + fence[1]) if fence[0] in stored.tasks else None
        rows[kind, id] = Change(write=row, expects=expects, fence=fence)
    return list(rows.values())


def outcome(store, changes):
    """Apply changes in one transaction and tell whether they were refused."""
    try:
        write(store, *changes)
    except StoreConflict:
        return "conflict"
    return "done"


def deletion(store, ids, mistake):
    """Delete promises as they are stored, but for the drawn mistake, and tell whether that was refused."""
    stored = store.read(Keys(ids=frozenset(ids))).promises
    try:
        with store.transact() as transaction:
            transaction.delete({id: stored[id][1] + mistake for id in sorted(ids) if id in stored})
    except StoreConflict:
        return "conflict"
    return "done"


def views(store, now):
    """Return what every reading method answers, without orders that are not promised."""
    due = store.due(now, [GROUP], ALL)
    some = store.due(now, [GROUP], 2)
    return {
        "due": (sorted(map(repr, due.steps)), due.next_at, len(some.steps), some.next_at),
        "promises": [
            [row.record.id for row in store.search_promises(now=now, state=s, tags={}, after="a", limit=2)]
            for s in (None, *PromiseState)
        ],
        "tasks": [
            [row[0].id for row in store.search_tasks(now=now, state=s, after=None, limit=3)] for s in (None, *TaskState)
        ],
        "settled": [store.settled_roots(before=now, after=after, limit=2) for after in ("", "a")],
        "awaited": store.awaited(),
        "spans": store.read(Keys(spans=frozenset({("a:", "a;"), ("b", "ü")}))),
        "traced": store.traces(IDS).keys(),
        "tagged": store.search_promises(now=now, state=None, tags={'x"': ","}, after=None, limit=3),
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("differential"), iter(range(10**6))


@settings(max_examples=120, deadline=None)
@given(history=st.lists(batches | deletions, min_size=1, max_size=8), now=instants)
def test_memory_and_sqlite_agree(folders, history, now):
    """After every batch both stores answer the same, and what they hold is the same."""
    folder, numbers = folders
    url = f"sqlite:///{folder}/{next(numbers)}.db"
    memory, sqlite = MemoryStore(), open_store(Settings(store=url, sqlite_synchronous="NORMAL"))
    try:
        for store in (memory, sqlite):
            write(store, *(row(id) for id in ("a", "b") for row in (newborn, newborn_task)))
        for batch in history:
            if isinstance(batch, tuple):
                assert deletion(memory, *batch) == deletion(sqlite, *batch)
                assert snapshot(memory, ADDRESSES) == snapshot(sqlite, ADDRESSES)
                continue
            # A task's promise exists, as the machine guarantees: searches join them.
            known = memory.read(Keys(ids=frozenset(IDS))).promises.keys()
            fitting = [item for item in batch if key_of(item[0])[0] != "Task" or key_of(item[0])[1] in known]
            changes = changes_of(memory, fitting)
            assert outcome(memory, changes) == outcome(sqlite, changes)
            assert snapshot(memory, ADDRESSES) == snapshot(sqlite, ADDRESSES)
        assert views(memory, now) == views(sqlite, now)
    finally:
        sqlite.close()
