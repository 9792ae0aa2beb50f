"""`submit`: requests in, answers out, durable in between."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from resonate_web.clock import Clock
from resonate_web.delivery import NoWorker, Then, Watcher, Worker
from resonate_web.errors import StoreConflict, StoreUnavailable, StoreUnknown
from resonate_web.machine.internal import next_instant
from resonate_web.machine.state import Keys, PromiseRow, TaskRow
from resonate_web.machine.steps import Step
from resonate_web.machine.transition import transition
from resonate_web.protocol import requests
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.protocol.requests import Request, Response
from resonate_web.server.cache import RowCache
from resonate_web.server.committer import Batch, Committer
from resonate_web.server.followers import Follower, Followers
from resonate_web.server.group import Group
from resonate_web.server.searching import search
from resonate_web.server.working import WorkingSet
from resonate_web.store.base import Store
from resonate_web.turns import Turns

log = logging.getLogger("resonate_web.server")

TRIES = 3
"""How often a group is run before its batches are tried one by one."""

LARGEST_CORRECTION = 10_000
"""How far (ms) a wall clock may go back before it counts as set."""

READS = (requests.PromiseGet, requests.TaskGet, requests.ScheduleGet)


class Server:
    """The shell of the machine over one store. Every method may be called from any thread."""

    def __init__(self, store: Store, clock: Clock, turns: Turns, *, retry_interval_ms: int) -> None:
        self.store = store
        self.worker: Worker = NoWorker()
        self.wake: Callable[[int], None] = lambda instant: None
        """Told the instant (ms) at which something just written becomes due."""
        self._clock = clock
        self._turns = turns
        self._retry_interval = retry_interval_ms
        self._cache = RowCache()
        self._committer = Committer(self._commit, lambda work: turns.lane("committer").soon(work))
        self._watchers: dict[str, list[Watcher]] = {}
        self._watching = threading.Lock()
        self.followers = Followers()
        self._last = 0
        self.commits = 0
        """Committed groups that wrote something; a figure for benchmarks and tests."""

    def now(self) -> int:
        """Return the time (ms) that the next group will see at least.

        It does not go back with a clock that is corrected by a little; one that was set far back is followed, or
        every timer would stand still until the old time is reached again.
        """
        now = self._clock.now()
        if not now < self._last <= now + LARGEST_CORRECTION:
            self._last = now
        return self._last

    def submit(self, *batch: Request) -> list[Response]:
        """Apply requests as one atomic group and return their answers, in order, after the commit.

        Blocks; never call it on an event loop. Raises: StoreUnavailable.
        """
        future: Future[list[Response]] = Future()
        self.post(batch, lambda answers: _resolve(future, answers))
        return self._turns.wait(future, None)

    def post(self, batch: Sequence[Request | Step], then: Then, *, lead: bool = True) -> None:
        """Apply requests as one atomic group and call `then` with the answers or an error after the commit.

        With `lead`, the commit may happen in this thread. `then` must not block.
        """
        self._committer.submit([Batch(tuple(batch), then)], lead=lead)

    def post_each(self, steps: Sequence[Step], then: Callable[[], None]) -> None:
        """Apply steps independently of each other, if possible in one commit; call `then` after the last."""
        left = [len(steps)]

        def one(answers: Sequence[Response] | BaseException) -> None:
            if isinstance(answers, BaseException):
                log.warning("an internal step failed: %s", answers)
            left[0] -= 1
            if left[0] == 0:
                then()

        self._committer.submit([Batch((step,), one) for step in steps], lead=True)

    def read(self, *batch: Request) -> list[Response]:
        """Answer gets and searches from the last committed state, without waiting for writers."""
        ids = frozenset(r.id for r in batch if isinstance(r, requests.PromiseGet | requests.TaskGet))
        schedules = frozenset(r.id for r in batch if isinstance(r, requests.ScheduleGet))
        working = WorkingSet(self.store.read, None)
        if ids or schedules:
            working.prepare(Keys(ids=ids, schedules=schedules), frozenset())
        return [self._read_one(working, request) for request in batch]

    def children(self, id: str) -> list[Promise]:
        """Return what the task of this id has created, as last committed."""
        rows = self.store.read(Keys(owned=frozenset((id,))))
        return [rows.promises[child][0].record for child in rows.owned.get(id, ()) if child in rows.promises]

    def tasks(self, ids: Sequence[str]) -> list[TaskRow]:
        """Return stored tasks as last committed."""
        rows = self.store.read(Keys(ids=frozenset(ids)))
        return [rows.tasks[id][0] for id in ids if id in rows.tasks]

    def held(self) -> list[tuple[str, int, str]]:
        """Return (id, version, pid) of every acquired task, whoever holds it."""
        return [(held.id, held.version, held.pid) for held in self.store.held()]

    def halted(self) -> Sequence[TaskRow]:
        """Return halted tasks that carry a refusal."""
        return self.store.halted()

    def watch(self, id: str, watcher: Watcher) -> None:
        """Call `watcher` once when this process learns that the promise is settled; it must not block."""
        with self._watching:
            self._watchers.setdefault(id, []).append(watcher)

    def unwatch(self, id: str, watcher: Watcher) -> None:
        """Forget a watcher."""
        with self._watching:
            watchers = self._watchers.get(id, [])
            if watcher in watchers:
                watchers.remove(watcher)
            if not watchers:
                self._watchers.pop(id, None)

    def follow(self, id: str, follower: Follower) -> None:
        """Call `follower` whenever something of a run was recorded, later tries included; it must not block.

        At once for commits of this process, by the pump for those of others. It may be called without news.
        """
        self.followers.add(id, follower)

    def unfollow(self, id: str, follower: Follower) -> None:
        """Forget a follower."""
        self.followers.remove(id, follower)

    def watched(self) -> list[str]:
        """Return the ids that somebody watches."""
        with self._watching:
            return list(self._watchers)

    def announce(self, promise: Promise) -> None:
        """Tell the watchers of a settled promise."""
        with self._watching:
            watchers = self._watchers.pop(promise.id, ())
        for watcher in watchers:
            watcher(promise)

    def _read_one(self, working: WorkingSet, request: Request) -> Response:
        if isinstance(request, READS):
            return transition(request, working, self.now(), retry_interval=self._retry_interval).response
        return search(request, self.store, self.now())

    # Committing; one thread at a time.

    def _commit(self, batches: list[Batch]) -> None:
        group = Group(batches, self.now(), self._retry_interval, self.worker)
        for attempt in range(TRIES):
            try:
                group.commit(self.store, self._cache if attempt == 0 else None)
            except StoreConflict:
                self._distrust(group)
                continue
            except BaseException as error:
                self._distrust(group)
                self._split(batches, error)
                return
            self._publish(group)
            return
        if len(batches) == 1:
            _tell(batches[0], StoreUnavailable("the rows kept changing while the request was applied; try again"))
        for batch in batches if len(batches) > 1 else ():
            self._commit([batch])

    def _distrust(self, group: Group) -> None:
        group.forgo()
        if group.working is not None:
            for row, _ in group.working.committed():
                self._cache.drop(row.id if isinstance(row, TaskRow) else row.record.id)
        for batch in group.batches:
            for request in batch.requests:
                self._cache.drop(getattr(request, "id", ""))

    def _split(self, batches: list[Batch], error: BaseException) -> None:
        if len(batches) == 1 or isinstance(error, StoreUnavailable | StoreUnknown):
            for batch in batches:
                _tell(batch, error)
            if not isinstance(error, Exception):
                raise error
            return
        for batch in batches:
            self._commit([batch])

    def _publish(self, group: Group) -> None:
        working = group.working
        assert working is not None
        settled: list[Promise] = []
        ended: list[str] = []
        wake: int | None = None
        written = False
        for row, revision in working.committed():
            written = True
            if isinstance(row, PromiseRow):
                self._cache.note_promise(row, revision)
                if row.record.state is not PromiseState.PENDING:
                    settled.append(row.record)
                    if working.task(row.record.id) is not None:
                        ended.append(row.record.id)
                    continue
                instant = next_instant(row, working.task(row.record.id))
            else:
                self._cache.note_task(row, revision)
                promise = working.promise(row.id)
                instant = next_instant(promise, row) if promise is not None else None
            if instant is not None and (wake is None or instant < wake):
                wake = instant
        self.commits += written
        # Answers first: a run that suspended and was woken in this very group hears of both in that order.
        for batch, answers in zip(group.batches, group.answers, strict=True):
            _tell(batch, answers)
        for acquired in group.taken():
            self.worker.deliver(acquired)
        for id in ended:
            self.worker.ended(id)
        for promise_record in group.news:
            self.worker.unblock(promise_record)
        if self._watchers:
            for promise_record in settled:
                self.announce(promise_record)
        if self.followers and written:
            rows = (row for row, _ in working.committed())
            self.followers.recorded(row.id if isinstance(row, TaskRow) else row.record.id for row in rows)
        if wake is not None:
            self.wake(wake)


def _tell(batch: Batch, answers: Sequence[Response] | BaseException) -> None:
    try:
        batch.then(answers)
    except Exception:  # one listener's fault must not cost the others their answers
        log.exception("an answer could not be delivered")


def _resolve(future: Future[list[Response]], answers: Sequence[Response] | BaseException) -> None:
    if isinstance(answers, BaseException):
        future.set_exception(answers)
    else:
        future.set_result(list(answers))
