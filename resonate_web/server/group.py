"""One commit: the batches of a group through the machine, what they make due here, and the store's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from resonate_web.delivery import Acquired, Reservation, Worker, serves
from resonate_web.machine.internal import enabled
from resonate_web.machine.schedules import firing
from resonate_web.machine.state import Keys, TaskRow
from resonate_web.machine.steps import Cascade, Fire, Notify, Step, Wake
from resonate_web.machine.transition import reads, transition
from resonate_web.protocol import requests, tags
from resonate_web.protocol.records import Promise, PromiseState, TaskState
from resonate_web.protocol.requests import Request, Response
from resonate_web.server.cache import RowCache
from resonate_web.server.committer import Batch
from resonate_web.server.working import WorkingSet
from resonate_web.store.base import Rows, Store, Transaction

ROUNDS = 4
"""Follow-up rounds per commit: settle, wake, acquire, and one more for a cascade."""


class LazyTransaction:
    """A write transaction that opens when it is first needed: transitions over cached rows run outside of it."""

    def __init__(self, store: Store, stack: ExitStack) -> None:
        self._store = store
        self._stack = stack
        self._open: Transaction | None = None

    def get(self) -> Transaction:
        """Return the transaction, opened."""
        if self._open is None:
            self._open = self._stack.enter_context(self._store.transact())
        return self._open

    def load(self, keys: Keys) -> Rows:
        """Return rows, locked until the end."""
        return self.get().load(keys)


@dataclass(slots=True)
class Group:
    """The work of one commit, redone as a whole when a row was not as expected."""

    batches: list[Batch]
    now: int
    retry_interval: int
    worker: Worker
    answers: list[Sequence[Response] | BaseException] = field(default_factory=list)
    acquired: list[tuple[str, Reservation, Response | None]] = field(default_factory=list)
    news: list[Promise] = field(default_factory=list)
    working: WorkingSet | None = None

    def commit(self, store: Store, cache: RowCache | None) -> None:
        """Run everything and commit. Raises: StoreConflict to be redone, StoreError."""
        self.answers.clear()
        self.news.clear()
        with ExitStack() as stack:
            transaction = LazyTransaction(store, stack)
            working = self.working = WorkingSet(transaction.load, cache, self.now)
            for batch in self.batches:
                self.answers.append(self._batch(working, batch))
            self._follow(working)
            self._deliverable(working)
            changes = working.changes()
            if changes:
                transaction.get().apply(changes)

    def forgo(self) -> None:
        """Give back the reservations of a group that was not committed."""
        for task_id, _, _ in self.acquired:
            self.worker.forgo(task_id)
        self.acquired.clear()

    def _batch(self, working: WorkingSet, batch: Batch) -> Sequence[Response] | BaseException:
        mark = working.mark()
        try:
            return [self._apply(working, request) for request in batch.requests]
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError) as error:
            working.rollback(mark)  # a fault of one batch must not cost the others
            return error

    def _apply(self, working: WorkingSet, request: Request | Step) -> Response:
        if isinstance(request, Fire):
            request = self._planned(working, request)
        keys = reads(request)
        working.prepare(keys, born(request))
        outcome = transition(request, working, self.now, retry_interval=self.retry_interval)
        working.write(keys, outcome.writes)
        return outcome.response

    def _planned(self, working: WorkingSet, step: Fire) -> Fire:
        """Name the promises of a firing: which they are depends on the schedule's row, read under the lock."""
        working.prepare(Keys(schedules=frozenset((step.id,))), frozenset())
        row = working.schedule(step.id)
        return (firing(row, self.now, step.limit) if row is not None else None) or step

    # What the group's own writes make due is done in the same commit where this process may do it.

    def _follow(self, working: WorkingSet) -> None:
        for _ in range(ROUNDS):
            touched, working.touched = working.touched, []
            if not touched:
                return
            for id in dict.fromkeys(touched):
                self._follow_one(working, id)

    def _follow_one(self, working: WorkingSet, id: str) -> None:
        promise, task = working.promise(id), working.task(id)
        if promise is None:
            return
        state = promise.record.state
        if state is not PromiseState.PENDING:
            if task is None and not promise.callbacks and not promise.listeners:
                return  # a local step, by far the most
            for step in enabled(promise, task, self.now):
                if isinstance(step, Wake | Notify):
                    self._apply(working, step)
            if state is not PromiseState.RESOLVED and task is not None and self._orphans(task, promise.record.tags):
                self._apply(working, Cascade(id=id))
        elif task is not None and task.state is TaskState.PENDING and self._offered(working, task):
            self._acquire(working, task)

    def _offered(self, working: WorkingSet, task: TaskRow) -> bool:
        return (task.retry_at or 0) <= self.now or working.offered(task.id)

    def _orphans(self, task: TaskRow, marks: tags.Tags) -> bool:
        return task.version > 0 or tags.ON_CANCEL in marks

    def _acquire(self, working: WorkingSet, task: TaskRow) -> None:
        if not serves(self.worker.targets(), task.target):
            return
        room = self.worker.reserve(task, self.now)
        if room is None:
            return
        # A newborn's children need no reading: there are none.
        preload = "none" if task.version == 0 else room.preload
        self.acquired.append((task.id, room, None))
        answer = self._apply(
            working,
            requests.TaskAcquire(id=task.id, version=task.version, pid=room.pid, ttl=room.ttl, preload=preload),
        )
        if room.reads:
            working.prepare(Keys(ids=frozenset(room.reads)), frozenset())
        self.acquired[-1] = (task.id, room, answer)

    def _deliverable(self, working: WorkingSet) -> None:
        addresses = self.worker.addresses()
        for message in list(working.messages()):
            if message.kind == "unblock" and message.address in addresses and message.promise is not None:
                working.discard_message(message.key)
                self.news.append(message.promise)
            elif message.kind == "execute" and serves(self.worker.targets(), message.address):
                working.discard_message(message.key)  # this process takes work by acquiring it

    def taken(self) -> list[Acquired]:
        """Return the tasks that were acquired for this process."""
        found: list[Acquired] = []
        assert self.working is not None
        for task_id, room, answer in self.acquired:
            task, promise = self.working.task(task_id), self.working.promise(task_id)
            if answer is None or answer.status != 200 or task is None or promise is None:
                self.worker.forgo(task_id)
                continue
            extra = tuple(row.record for id in room.reads if (row := self.working.promise(id)) is not None)
            found.append(Acquired(task=task, promise=promise.record, records=answer.preload + extra))
        return found


def born(request: Request | Step) -> frozenset[str]:
    """Return the id that a request is most likely to bring into being."""
    if isinstance(request, requests.PromiseCreate):
        return frozenset((request.id,))
    if isinstance(request, requests.TaskCreate):
        return frozenset((request.action.id,))
    if isinstance(request, requests.TaskFence) and isinstance(request.action, requests.PromiseCreate):
        return frozenset((request.action.id,))
    return frozenset()
