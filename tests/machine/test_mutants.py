"""The checks are checked: a machine broken in one rule is found by a scenario or by an aimed history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from resonate_web.clock import FOREVER
from resonate_web.machine import rows
from resonate_web.machine.state import Message, Outcome, PromiseRow, ScheduleRow, Snapshot, TaskRow, Write
from resonate_web.machine.steps import Dispatch, Expire, Notify, Step, Timeout, Wake
from resonate_web.machine.transition import transition
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.protocol.requests import (
    PromiseCreate,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseSettle,
    Request,
    Response,
    TaskAcquire,
    TaskFence,
    TaskFulfill,
    TaskHeartbeat,
    TaskRelease,
    TaskSuspend,
)
from resonate_web.testing.histories import History
from resonate_web.testing.scenarios import SCENARIOS
from resonate_web.testing.witness import Witness
from resonate_web.testing.world import World

Cause = Request | Step
Mutant = Callable[[Cause, Snapshot, int, Outcome], Outcome]
"""Given what happened and the right outcome, returns a wrong one."""


class Immortal:
    """A snapshot in which no deadline passes."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.task = snapshot.task

    def promise(self, id: str) -> PromiseRow | None:
        row = self.snapshot.promise(id)
        return row and replace(row, record=replace(row.record, timeout_at=FOREVER))

    def schedule(self, id: str) -> ScheduleRow | None:
        return self.snapshot.schedule(id)

    def owned(self, task_id: str) -> Sequence[PromiseRow]:
        return self.snapshot.owned(task_id)

    def tree(self, id: str) -> Sequence[PromiseRow]:
        return self.snapshot.tree(id)


def rewritten(outcome: Outcome, change: Callable[[TaskRow], TaskRow]) -> Outcome:
    """Return the outcome with its tasks changed."""
    writes = (change(write) if isinstance(write, TaskRow) else write for write in outcome.writes)
    return Outcome(outcome.response, tuple(writes))


def without(outcome: Outcome, kind: type[Write]) -> Outcome:
    """Return the outcome without its writes of one kind."""
    return Outcome(outcome.response, tuple(write for write in outcome.writes if not isinstance(write, kind)))


def wake_revives_the_dead(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    if not isinstance(cause, Wake) or len(outcome.writes) < 2:
        return outcome
    task = snapshot.task(cause.awaiter)
    if task is None or task.state is not TaskState.SUSPENDED:
        return outcome
    return Outcome(outcome.response, (outcome.writes[0], rows.resumed(task, cause.id, now)))


def get_is_not_projected(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    row = snapshot.promise(cause.id) if isinstance(cause, PromiseGet) else None
    return outcome if row is None else Outcome(Response(status=200, promise=row.record))


def release_counts_a_version(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    if not isinstance(cause, TaskRelease):
        return outcome
    return rewritten(outcome, lambda task: replace(task, version=task.version + 1))


def acquire_keeps_resumes(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    task = snapshot.task(cause.id) if isinstance(cause, TaskAcquire) else None
    return outcome if task is None else rewritten(outcome, lambda new: replace(new, resumes=task.resumes))


def release_clears_resumes(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    if not isinstance(cause, TaskRelease):
        return outcome
    return rewritten(outcome, lambda task: replace(task, resumes=frozenset()))


def late_settle_resolves(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    row = snapshot.promise(cause.id) if isinstance(cause, PromiseSettle) else None
    if row is None or not isinstance(cause, PromiseSettle) or row.record.state is not PromiseState.PENDING:
        return outcome
    record = rows.judged(row.record, cause.state, cause.value, now)
    return Outcome(Response(status=200, promise=record), rows.settled(row, record, snapshot.task(cause.id)))


def create_answers_201(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    if not isinstance(cause, PromiseCreate) or not outcome.writes:
        return outcome
    return Outcome(replace(outcome.response, status=201), outcome.writes)


def suspend_300_gives_the_lease_up(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    task = snapshot.task(cause.id) if isinstance(cause, TaskSuspend) else None
    if task is None or outcome.response.status != 300:
        return outcome
    return Outcome(outcome.response, (rows.pending(task, now, resumes=frozenset(), strikes=0, refusals=()),))


def suspend_ignores_duplicates(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    if not isinstance(cause, TaskSuspend):
        return outcome
    unique = {action.awaited: action for action in cause.actions}
    return transition(replace(cause, actions=tuple(unique.values())), snapshot, now, retry_interval=100)


def callback_on_internal(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    if not isinstance(cause, PromiseRegisterCallback) or outcome.response.status != 422:
        return outcome
    row = snapshot.promise(cause.awaited)
    assert row is not None
    return Outcome(Response(status=200, promise=row.record), (rows.watched(row, callback=cause.awaiter),))


def fence_on_itself(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    if not isinstance(cause, TaskFence) or cause.action.id != cause.id:
        return outcome
    inner = transition(cause.action, snapshot, now, retry_interval=100)
    return Outcome(Response(status=200, action=inner.response), inner.writes)


def stranger_extends_the_lease(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
    if not isinstance(cause, TaskHeartbeat):
        return outcome
    pids = [task.pid for ref in cause.tasks if (task := snapshot.task(ref.id)) and task.pid]
    pid = pids[0] if pids else cause.pid
    return transition(replace(cause, pid=pid), snapshot, now, retry_interval=100)


def deadline_is_ignored_by(*causes: type) -> Mutant:
    """Return the mutant in which these causes never see a deadline pass."""

    def mutant(cause: Cause, snapshot: Snapshot, now: int, outcome: Outcome) -> Outcome:
        if not isinstance(cause, causes):
            return outcome
        return transition(cause, Immortal(snapshot), now, retry_interval=100)

    return mutant


def loses(kind: type[Write], *causes: type) -> Mutant:
    """Return the mutant that forgets one kind of write."""
    return lambda cause, snapshot, now, outcome: without(outcome, kind) if isinstance(cause, causes) else outcome


MUTANTS: dict[str, Mutant] = {
    "C6 is not gated": wake_revives_the_dead,
    "get is not projected": get_is_not_projected,
    "release counts a version": release_counts_a_version,
    "acquire keeps resumes": acquire_keeps_resumes,
    "release clears resumes": release_clears_resumes,
    "a late settle resolves": late_settle_resolves,
    "create answers 201": create_answers_201,
    "300 gives the lease up": suspend_300_gives_the_lease_up,
    "duplicate awaited is accepted": suspend_ignores_duplicates,
    "callback on internal is accepted": callback_on_internal,
    "self fence is accepted": fence_on_itself,
    "a stranger extends the lease": stranger_extends_the_lease,
    "the dead are offered": deadline_is_ignored_by(Dispatch),
    "the dead are taken back": deadline_is_ignored_by(Expire),
    "the dead keep their lease": deadline_is_ignored_by(TaskHeartbeat),
    "the dead are acquired": deadline_is_ignored_by(TaskAcquire),
    "a listener is forgotten": loses(Message, Notify),
    "a settled task lives on": loses(TaskRow, PromiseSettle),
    "a time-out forgets the task": loses(TaskRow, Timeout),
    "a suspension registers nothing": loses(PromiseRow, TaskSuspend),
    "a fulfil forgets the promise": loses(PromiseRow, TaskFulfill),
    "an offer is not re-armed": loses(TaskRow, Dispatch),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_machine_is_found(name: str) -> None:
    """Some scenario or some aimed history fails on the machine with this one rule broken."""
    mutant = MUTANTS[name]

    def machine(cause: Cause, snapshot: Snapshot, now: int, *, retry_interval: int) -> Outcome:
        outcome = transition(cause, snapshot, now, retry_interval=retry_interval)
        return mutant(cause, snapshot, now, outcome)

    assert found_by_scenario(machine) or found_by_history(machine)


def found_by_scenario(machine: Callable[..., Outcome]) -> bool:
    for scenario in SCENARIOS:
        try:
            scenario(World(machine=machine))
        except AssertionError:
            return True
    return False


def found_by_history(machine: Callable[..., Outcome]) -> bool:
    for seed in range(60):
        world = World(retry_interval=100, machine=machine)
        history, witness = History(seed, world), Witness(world)
        try:
            for _ in range(80):
                witness.submit(history.draw(), history.now)
        except AssertionError:
            return True
    return False
