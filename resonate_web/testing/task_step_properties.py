"""What is true of tasks across one transition (protocol 7.4); see `promise_step_properties`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from resonate_web.machine.rows import is_live
from resonate_web.machine.state import TaskRow
from resonate_web.machine.steps import Step, Wake
from resonate_web.protocol.records import PromiseState, TaskState
from resonate_web.protocol.requests import Request, TaskHeartbeat, TaskRelease, TaskSuspend
from resonate_web.protocol.tags import DELAY, is_targeted
from resonate_web.testing import promise_step_properties
from resonate_web.testing.promise_step_properties import SWEEPS
from resonate_web.testing.world import World

Cause = Request | Step
Property = Callable[[World, World, int, Cause], list[str]]
PENDING, ACQUIRED, SUSPENDED = TaskState.PENDING, TaskState.ACQUIRED, TaskState.SUSPENDED
HALTED, FULFILLED = TaskState.HALTED, TaskState.FULFILLED

EDGES = {
    PENDING: {PENDING, ACQUIRED, HALTED, FULFILLED},
    ACQUIRED: {PENDING, ACQUIRED, SUSPENDED, HALTED, FULFILLED},
    SUSPENDED: {PENDING, SUSPENDED, HALTED, FULFILLED},
    HALTED: {HALTED, PENDING, FULFILLED},
    FULFILLED: {FULFILLED},
}
SWEEPER_EDGES = {
    PENDING: {PENDING, FULFILLED},
    ACQUIRED: {PENDING, ACQUIRED, FULFILLED},
    SUSPENDED: {PENDING, SUSPENDED, FULFILLED},
    HALTED: {HALTED, FULFILLED},
    FULFILLED: {FULFILLED},
}


def violations(before: World, after: World, now: int, cause: Cause) -> dict[str, list[str]]:
    """Return the broken properties of promises and tasks with the ids that break them."""
    checks = promise_step_properties.PROPERTIES + PROPERTIES
    found = {check.__name__: check(before, after, now, cause) for check in checks}
    return {name: ids for name, ids in found.items() if ids}


def monotone_task_set_grows(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """No task disappears."""
    return sorted(before.tasks.keys() - after.tasks.keys())


def monotone_task_version_increases_only_on_acquisition(
    before: World, after: World, now: int, cause: Cause
) -> list[str]:
    """The version counts the grants (C10)."""
    granted = {(PENDING, ACQUIRED)}
    return [a.id for a, b in _tasks(before, after) if b.version - a.version != ((a.state, b.state) in granted)]


def preserved_fulfilled_task(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A fulfilled task never changes."""
    return [a.id for a, b in _tasks(before, after) if a.state is FULFILLED and a != b]


def consistent_task_state_edge_admissible(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A task moves along the edges of its state machine."""
    return [a.id for a, b in _tasks(before, after) if b.state not in EDGES[a.state]]


def preserved_task_acquisition_only_from_pending(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Only a pending task is granted."""
    return [a.id for a, b in _tasks(before, after) if b.state is ACQUIRED and a.state not in {PENDING, ACQUIRED}]


def preserved_task_suspension_only_from_acquired(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Only a holder suspends; no task is born suspended."""
    moved = [a.id for a, b in _tasks(before, after) if b.state is SUSPENDED and a.state not in {ACQUIRED, SUSPENDED}]
    return moved + [task.id for task in _new(before, after) if task.state is SUSPENDED]


def preserved_task_halted_only_reenters_via_pending(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A halted task continues as a pending one, or ends."""
    return [a.id for a, b in _tasks(before, after) if a.state is HALTED and b.state in {ACQUIRED, SUSPENDED}]


def consistent_task_fulfilment_needs_settlement(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A task ends in the very step in which its promise does."""
    ended = [a.id for a, b in _tasks(before, after) if a.state is not FULFILLED and b.state is FULFILLED]
    return [id for id in ended if _is_settled(before, id) or not _is_settled(after, id)]


def consistent_wake_follows_callback_consumption(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A task is woken by a callback that the wake consumed."""
    unexplained = []
    for a, b in _woken(before, after):
        lost = {id for id, row in before.promises.items() if a.id in row.callbacks - after.promises[id].callbacks}
        if not lost & b.resumes:
            unexplained.append(a.id)
    return unexplained


def consistent_suspension_registers_callback(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Everything that a task suspends on is live and lists it."""
    parked = [a.id for a, b in _tasks(before, after) if a.state is ACQUIRED and b.state is SUSPENDED]
    if not parked:
        return []
    if not isinstance(cause, TaskSuspend):
        return parked
    awaited = [after.promises[action.awaited] for action in cause.actions]
    kept = all(is_live(row.record, now) and cause.id in row.callbacks for row in awaited)
    return [] if kept else parked


def consistent_task_birth_couples_promise_birth(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A task and its promise are born together."""
    born = {id for id in after.promises.keys() - before.promises.keys() if is_targeted(after.promises[id].record.tags)}
    return sorted(born ^ (after.tasks.keys() - before.tasks.keys()))


def consistent_task_birth_state(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A task is born pending at version 0, acquired at 1, or fulfilled at 0."""
    wrong = []
    for task in _new(before, after):
        record = after.promises[task.id].record
        retry_at = max(int(record.tags.get(DELAY, "0")), record.created_at)
        shape = (task.state, task.version, task.retry_at)
        if record.state is not PromiseState.PENDING:
            fits = shape == (FULFILLED, 0, None)
        else:
            fits = shape in {(PENDING, 0, retry_at), (ACQUIRED, 1, None)}
        if not fits or task.resumes or task.strikes or task.refusals:
            wrong.append(task.id)
    return wrong


def consistent_task_lease_released_atomically(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Whoever leaves a lease leaves all of it, and the version."""
    left = [(a, b) for a, b in _tasks(before, after) if a.state is ACQUIRED and b.state is not ACQUIRED]
    return [a.id for a, b in left if (b.pid, b.ttl, b.expires_at, b.version) != (None, None, None, a.version)]


def preserved_task_lease_holder_stable(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """One version has one holder."""
    kept = [(a, b) for a, b in _tasks(before, after) if a.state is ACQUIRED and b.state is ACQUIRED]
    return [a.id for a, b in kept if a.version == b.version and (a.pid, a.ttl) != (b.pid, b.ttl)]


def consistent_task_lease_fields_move_together(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Holder, length and end of a lease come and go together."""
    leases = [(task.pid, task.ttl, task.expires_at) for task in after.tasks.values()]
    held = [len([field for field in lease if field is not None]) for lease in leases]
    return [id for id, count in zip(after.tasks, held, strict=True) if count not in {0, 3}]


def monotone_task_resumes_grow_or_clear(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Resumes are added or taken all at once."""
    return [a.id for a, b in _tasks(before, after) if b.resumes and not a.resumes <= b.resumes]


def consistent_task_resumes_cleared_only_on_dispatch_or_park(
    before: World, after: World, now: int, cause: Cause
) -> list[str]:
    """Resumes survive release, expiry, halt and continue (T7)."""
    cleared = [b for a, b in _tasks(before, after) if a.resumes and not b.resumes]
    return [b.id for b in cleared if b.state not in {ACQUIRED, SUSPENDED, FULFILLED}]


def preserved_no_dead_dispatch(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """No dead promise's task becomes pending (C6)."""
    entered = [b.id for a, b in _tasks(before, after) if a.state is not PENDING and b.state is PENDING]
    return [id for id in entered if not is_live(after.promises[id].record, now)]


def consistent_task_acquisition_is_atomic(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A grant sets the whole lease and takes every resume."""
    granted = [(a, b) for a, b in _tasks(before, after) if a.state is PENDING and b.state is ACQUIRED]
    return [
        b.id
        for a, b in granted
        if b.pid is None or b.expires_at != now + (b.ttl or 0) or b.retry_at is not None or b.resumes
    ]


def consistent_task_lease_deadline_is_now_plus_ttl(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A lease ends its own length from now (T15)."""
    moved = [b for a, b in _tasks(before, after) if b.expires_at is not None and b.expires_at != a.expires_at]
    return [b.id for b in moved if b.expires_at != now + (b.ttl or 0)]


def consistent_task_pending_entry_arms_retry(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A task becomes due for dispatch at once, after a refusal one interval later."""
    refused = isinstance(cause, TaskRelease) and cause.refusal is not None
    due = now + after.retry_interval if refused else now
    entered = [b for a, b in _tasks(before, after) if a.state is not PENDING and b.state is PENDING]
    return [b.id for b in entered if b.retry_at != due]


def consistent_task_retry_rearm_only_when_due(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Nobody moves a dispatch that is not due."""
    return [a.id for a, b in _rearmed(before, after) if a.retry_at is None or a.retry_at > now]


def monotone_task_retry_rearm_advances(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """The next dispatch lies in the future."""
    return [b.id for a, b in _rearmed(before, after) if b.retry_at is None or b.retry_at <= now]


def consistent_task_wake_records_resume(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A woken task knows by what, is due now and keeps its version."""
    woken = _woken(before, after)
    return [b.id for a, b in woken if not b.resumes or b.retry_at != now or a.version != b.version]


def provenance_sweeper_task_edges(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """B1: the server on its own neither grants, parks, halts nor continues."""
    if not isinstance(cause, SWEEPS):
        return []
    return [a.id for a, b in _tasks(before, after) if b.state not in SWEEPER_EDGES[a.state]]


def provenance_lease_kept_by_holder_only(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Only the heartbeat of its holder, at its version, while the promise is live, moves the end of a lease (C7)."""
    kept = [(a, b) for a, b in _tasks(before, after) if a.state is ACQUIRED and b.state is ACQUIRED]
    moved = [a for a, b in kept if a.expires_at != b.expires_at]
    if not isinstance(cause, TaskHeartbeat):
        return [a.id for a in moved]
    named = {(ref.id, ref.version) for ref in cause.tasks}
    own = {a.id for a in moved if a.pid == cause.pid and (a.id, a.version) in named}
    return [a.id for a in moved if a.id not in own or not is_live(before.promises[a.id].record, now)]


def provenance_only_wakes_resume(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Nothing but a wake adds a resume."""
    if isinstance(cause, Wake):
        return []
    return [a.id for a, b in _tasks(before, after) if b.resumes - a.resumes]


def _tasks(before: World, after: World) -> Iterator[tuple[TaskRow, TaskRow]]:
    for id, a in before.tasks.items():
        b = after.tasks.get(id)
        if b is not None and b is not a:
            yield a, b


def _new(before: World, after: World) -> list[TaskRow]:
    return [task for id, task in after.tasks.items() if id not in before.tasks]


def _woken(before: World, after: World) -> list[tuple[TaskRow, TaskRow]]:
    return [(a, b) for a, b in _tasks(before, after) if a.state is SUSPENDED and b.state is PENDING]


def _rearmed(before: World, after: World) -> list[tuple[TaskRow, TaskRow]]:
    both = [(a, b) for a, b in _tasks(before, after) if a.state is PENDING and b.state is PENDING]
    return [(a, b) for a, b in both if a.retry_at != b.retry_at]


def _is_settled(world: World, id: str) -> bool:
    return world.promises[id].record.state is not PromiseState.PENDING


PROPERTIES: tuple[Property, ...] = tuple(
    check
    for name, check in sorted(globals().items())
    if name.startswith(("preserved_", "monotone_", "consistent_", "provenance_"))
)
