"""One observer of a world: every property after every transition, and what clients may conclude from answers.

The letters A are those of the catalogue of answers (protocol 7.5).
"""

from __future__ import annotations

from resonate_web.machine.rows import seen
from resonate_web.machine.state import NOBODY
from resonate_web.machine.steps import Delivered, Dispatch, Notify, Step, Timeout
from resonate_web.protocol.records import Promise, PromiseState, Task, TaskState
from resonate_web.protocol.requests import Request, Response, TaskAcquire, TaskCreate, TaskSuspend
from resonate_web.testing import state_properties, task_step_properties
from resonate_web.testing.world import World

STATUSES = frozenset({200, 300, 400, 404, 409, 422})
INVISIBLE = (Timeout, Notify, Dispatch, Delivered)
"""The steps whose effect no request can see (A6)."""
PENDING = PromiseState.PENDING


class Witness:
    """Submits to a world and remembers what its clients were told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._told: dict[str, Promise] = {}
        self._granted: set[tuple[str, int]] = set()

    def submit(self, request: Request | Step, now: int) -> Response:
        """Apply a request or step at `now` (ms). Raises: AssertionError naming every broken property."""
        before = self.world.copy()
        views = self._views(now) if isinstance(request, INVISIBLE) else None
        response = self.world.submit(request, now)
        broken = state_properties.violations(self.world, now)
        broken |= task_step_properties.violations(before, self.world, now, request)
        assert not broken, (request, broken)
        assert response.status in STATUSES, f"no such status: {response.status}"
        if response.status >= 400:
            assert self.world == before, "A10: a refusal writes nothing"
        if response.status == 300:
            self._only_resumes_changed(before, request)
        assert views is None or views == self._views(now), "A6: the step is visible"
        self._hear(response, now)
        if isinstance(request, TaskAcquire | TaskCreate) and response.task is not None:
            self._grant(response.task)
        return response

    def _views(self, now: int) -> list[object]:
        records: list[object] = [seen(row.record, now) for row in self.world.promises.values()]
        for id, task in self.world.tasks.items():
            live = seen(self.world.promises[id].record, now).state is PENDING
            records.append((task.version, live and (task.state, task.resumes, task.pid)))
        return records

    def _only_resumes_changed(self, before: World, request: Request | Step) -> None:
        assert isinstance(request, TaskSuspend)
        after = self.world.copy()
        kept, was = after.tasks.pop(request.id), before.tasks.pop(request.id)
        assert after == before, "A12: 300 changes nothing but resumes"
        assert (kept.state, kept.version, kept.pid, kept.ttl) == (was.state, was.version, was.pid, was.ttl), "A12"
        assert (kept.expires_at, kept.resumes) == (was.expires_at, NOBODY), "A12"

    def _hear(self, response: Response, now: int) -> None:
        heard = [response.promise, response.action.promise if response.action else None, *response.preload]
        for promise in heard:
            if promise is None:
                continue
            assert promise == seen(self.world.promises[promise.id].record, now), "A3, C8: an answer is not projected"
            earlier = self._told.get(promise.id, promise)
            assert earlier.state is PENDING or earlier == promise, "A7: an answer goes back"
            self._told[promise.id] = promise

    def _grant(self, task: Task) -> None:
        if task.state is TaskState.ACQUIRED:
            assert (task.id, task.version) not in self._granted, "A8: a version is granted twice"
            assert task.resumes == 0, "a grant takes every resume"
            self._granted.add((task.id, task.version))
