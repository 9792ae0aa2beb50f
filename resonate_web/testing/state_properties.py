"""What is true of every stored state (protocol 7.3), one function per property.

Each takes a world and the clock's reading in ms and returns the ids that break it. The names are those of
the catalogue, so a failure reads the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from resonate_web.machine.checks import is_deliverable
from resonate_web.machine.rows import is_live
from resonate_web.machine.state import PromiseRow, TaskRow
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, TaskState
from resonate_web.protocol.tags import is_external, is_targeted, is_timer
from resonate_web.testing.world import World

Property = Callable[[World, int], list[str]]
PENDING = PromiseState.PENDING


def violations(world: World, now: int) -> dict[str, list[str]]:
    """Return the broken properties with the ids that break them."""
    found = {check.__name__: check(world, now) for check in PROPERTIES}
    return {name: ids for name, ids in found.items() if ids}


def well_formed_promise_created_at_lte_timeout_at(world: World, now: int) -> list[str]:
    """A promise is created by its deadline."""
    return _not(world, lambda p: p.created_at <= p.timeout_at)


def well_formed_promise_pending_created_before_deadline(world: World, now: int) -> list[str]:
    """A pending promise was created before its deadline."""
    return _not(world, lambda p: p.state is not PENDING or p.created_at < p.timeout_at)


def well_formed_promise_settled_at_lte_timeout_at(world: World, now: int) -> list[str]:
    """A promise is settled by its deadline."""
    return _not(world, lambda p: p.settled_at is None or p.settled_at <= p.timeout_at)


def well_formed_promise_created_at_lte_settled_at(world: World, now: int) -> list[str]:
    """A promise is not settled before it is created."""
    return _not(world, lambda p: p.settled_at is None or p.created_at <= p.settled_at)


def well_formed_promise_settled_at_iff_not_pending(world: World, now: int) -> list[str]:
    """Exactly the settled promises carry an instant of settlement."""
    return _not(world, lambda p: (p.settled_at is not None) == (p.state is not PENDING))


def well_formed_promise_pending_has_no_value(world: World, now: int) -> list[str]:
    """A pending promise has no value."""
    return _not(world, lambda p: p.state is not PENDING or p.value == EMPTY)


def well_formed_promise_deadline_verdict_matches_timer_tag(world: World, now: int) -> list[str]:
    """A deadline resolves timers and times out everything else."""
    verdict = {True: PromiseState.RESOLVED, False: PromiseState.TIMEDOUT}
    return _not(world, lambda p: p.settled_at != p.timeout_at or p.state is verdict[is_timer(p.tags)])


def well_formed_promise_deadline_settlement_has_no_value(world: World, now: int) -> list[str]:
    """A deadline gives no value."""
    return _not(world, lambda p: p.settled_at != p.timeout_at or p.value == EMPTY)


def well_formed_promise_timer_not_targeted(world: World, now: int) -> list[str]:
    """No timer has a target."""
    return _not(world, lambda p: not (is_timer(p.tags) and is_targeted(p.tags)))


def well_formed_promise_timedout_is_server_owned(world: World, now: int) -> list[str]:
    """Only the deadline times a promise out."""
    return _not(world, lambda p: p.state is not PromiseState.TIMEDOUT or p.settled_at == p.timeout_at)


def well_formed_promise_callbacks_unique(world: World, now: int) -> list[str]:
    """Callbacks are a set."""
    return [id for id, row in world.promises.items() if len(set(row.callbacks)) != len(row.callbacks)]


def well_formed_promise_listeners_unique(world: World, now: int) -> list[str]:
    """Listeners are a set."""
    return [id for id, row in world.promises.items() if len(set(row.listeners)) != len(row.listeners)]


def well_formed_promise_obligations_require_external(world: World, now: int) -> list[str]:
    """Only external promises are waited for."""
    owing = [row for row in world.promises.values() if row.callbacks or row.listeners]
    return [row.record.id for row in owing if not is_external(row.record.tags)]


def well_formed_promise_awaiter_is_not_self(world: World, now: int) -> list[str]:
    """No promise waits for itself."""
    return [id for id, row in world.promises.items() if id in row.callbacks]


def well_formed_promise_created_at_lte_now(world: World, now: int) -> list[str]:
    """No promise was created in the future."""
    return _not(world, lambda p: p.created_at <= now)


def well_formed_promise_settled_at_lte_now(world: World, now: int) -> list[str]:
    """No promise was settled in the future."""
    return _not(world, lambda p: p.settled_at is None or p.settled_at <= now)


def well_formed_task_acquired_iff_has_pid(world: World, now: int) -> list[str]:
    """Exactly the acquired tasks have a holder."""
    return _not_task(world, lambda t: (t.state is TaskState.ACQUIRED) == (t.pid is not None))


def well_formed_task_acquired_iff_has_ttl(world: World, now: int) -> list[str]:
    """Exactly the acquired tasks have a lease length."""
    return _not_task(world, lambda t: (t.state is TaskState.ACQUIRED) == (t.ttl is not None))


def well_formed_task_acquired_iff_has_expires_at(world: World, now: int) -> list[str]:
    """Exactly the acquired tasks have an end of lease."""
    return _not_task(world, lambda t: (t.state is TaskState.ACQUIRED) == (t.expires_at is not None))


def well_formed_task_pending_iff_has_retry_at(world: World, now: int) -> list[str]:
    """Exactly the pending tasks have an instant of dispatch."""
    return _not_task(world, lambda t: (t.state is TaskState.PENDING) == (t.retry_at is not None))


def well_formed_task_fulfilled_is_cleared(world: World, now: int) -> list[str]:
    """A fulfilled task keeps nothing but its version."""
    return _not_task(
        world,
        lambda t: t.state is not TaskState.FULFILLED or (_is_bare(t) and not (t.resumes or t.strikes or t.refusals)),
    )


def well_formed_task_suspended_is_cleared(world: World, now: int) -> list[str]:
    """A suspended task has no lease and no dispatch."""
    return _not_task(world, lambda t: t.state is not TaskState.SUSPENDED or _is_bare(t))


def well_formed_task_halted_is_cleared(world: World, now: int) -> list[str]:
    """A halted task has no lease and no dispatch."""
    return _not_task(world, lambda t: t.state is not TaskState.HALTED or _is_bare(t))


def well_formed_task_suspended_has_no_resumes(world: World, now: int) -> list[str]:
    """A suspended task has no wake-up left to take."""
    return _not_task(world, lambda t: t.state is not TaskState.SUSPENDED or not t.resumes)


def well_formed_task_resumes_unique(world: World, now: int) -> list[str]:
    """Resumes are a set."""
    return _not_task(world, lambda t: len(set(t.resumes)) == len(t.resumes))


def well_formed_task_acquired_version_positive(world: World, now: int) -> list[str]:
    """The first grant is version 1."""
    return _not_task(world, lambda t: t.state is not TaskState.ACQUIRED or t.version >= 1)


def well_formed_schedule_promise_tags_not_timer_targeted(world: World, now: int) -> list[str]:
    """No schedule makes timers with a target."""
    schedules = [row.record for row in world.schedules.values()]
    return [s.id for s in schedules if is_timer(s.promise_tags) and is_targeted(s.promise_tags)]


def well_formed_schedule_created_at_lte_next_run_at(world: World, now: int) -> list[str]:
    """No occurrence is due before the schedule existed."""
    return [id for id, row in world.schedules.items() if row.record.created_at > row.record.next_run_at]


def well_formed_schedule_created_at_lte_last_run_at(world: World, now: int) -> list[str]:
    """No occurrence fired before the schedule existed."""
    schedules = [row.record for row in world.schedules.values()]
    return [s.id for s in schedules if s.last_run_at is not None and s.created_at > s.last_run_at]


def well_formed_schedule_last_run_at_lt_next_run_at(world: World, now: int) -> list[str]:
    """The next occurrence follows the last one."""
    schedules = [row.record for row in world.schedules.values()]
    return [s.id for s in schedules if s.last_run_at is not None and s.last_run_at >= s.next_run_at]


def well_formed_store_promise_ids_unique(world: World, now: int) -> list[str]:
    """Each promise is stored under its own id, hence once."""
    return [id for id, row in world.promises.items() if row.record.id != id]


def well_formed_store_task_ids_unique(world: World, now: int) -> list[str]:
    """Each task is stored under its own id, hence once."""
    return [id for id, task in world.tasks.items() if task.id != id]


def well_formed_store_schedule_ids_unique(world: World, now: int) -> list[str]:
    """Each schedule is stored under its own id, hence once."""
    return [id for id, row in world.schedules.items() if row.record.id != id]


def well_formed_store_outbox_keys_unique(world: World, now: int) -> list[str]:
    """Each message is stored under its own key, hence once."""
    return [key for key, message in world.messages.items() if message.key != key]


def consistent_task_iff_targeted_promise(world: World, now: int) -> list[str]:
    """Tasks and targeted promises correspond one to one."""
    targeted = {id for id, row in world.promises.items() if is_targeted(row.record.tags)}
    return sorted(targeted ^ world.tasks.keys())


def consistent_settled_promise_has_fulfilled_task(world: World, now: int) -> list[str]:
    """A settled promise has no unfulfilled task."""
    return [row.record.id for row, task in _pairs(world) if _settled(row) and task.state is not TaskState.FULFILLED]


def consistent_settled_task_promise_settled(world: World, now: int) -> list[str]:
    """A fulfilled task has a settled promise."""
    return [task.id for row, task in _pairs(world) if task.state is TaskState.FULFILLED and not _settled(row)]


def consistent_callback_awaiter_is_targeted(world: World, now: int) -> list[str]:
    """Only promises with a task wait."""
    return [id for id, row in world.promises.items() if not row.callbacks <= world.tasks.keys()]


def consistent_listener_addresses_deliverable(world: World, now: int) -> list[str]:
    """Every listener can be reached."""
    return [id for id, row in world.promises.items() if not all(map(is_deliverable, row.listeners))]


def consistent_outbox_execute_names_existing_task(world: World, now: int) -> list[str]:
    """An execute names a task."""
    return [m.key for m in world.messages.values() if m.kind == "execute" and m.task_id not in world.tasks]


def consistent_outbox_never_ahead(world: World, now: int) -> list[str]:
    """An execute never quotes a version that the task has not reached (C9)."""
    executes = [m for m in world.messages.values() if m.kind == "execute"]
    return [m.key for m in executes if m.version is None or m.version > world.tasks[m.task_id or ""].version]


def consistent_outbox_execute_address_is_target_tag(world: World, now: int) -> list[str]:
    """An execute goes to the promise's target."""
    executes = [m for m in world.messages.values() if m.kind == "execute"]
    targets = {id: row.record.tags.get("resonate:target") for id, row in world.promises.items()}
    return [m.key for m in executes if m.address != targets.get(m.task_id or "")]


def consistent_outbox_unblock_names_settled_promise(world: World, now: int) -> list[str]:
    """An unblock carries a settled promise, which is stored as settled."""
    unblocks = [m for m in world.messages.values() if m.kind == "unblock"]
    settled = {id for id, row in world.promises.items() if _settled(row)}
    return [m.key for m in unblocks if m.promise is None or m.promise.state is PENDING or m.promise.id not in settled]


def consistent_outbox_unblock_address_deliverable(world: World, now: int) -> list[str]:
    """An unblock goes to an address that can be reached."""
    return [m.key for m in world.messages.values() if m.kind == "unblock" and not is_deliverable(m.address)]


def consistent_suspended_task_holds_rung(world: World, now: int) -> list[str]:
    """Something will wake every suspended task of a live promise."""
    awaiters = {awaiter for row in world.promises.values() for awaiter in row.callbacks}
    parked = [(row, task) for row, task in _pairs(world) if task.state is TaskState.SUSPENDED]
    return [task.id for row, task in parked if is_live(row.record, now) and task.id not in awaiters]


def _not(world: World, holds: Callable[[Promise], bool]) -> list[str]:
    return [id for id, row in world.promises.items() if not holds(row.record)]


def _not_task(world: World, holds: Callable[[TaskRow], bool]) -> list[str]:
    return [id for id, task in world.tasks.items() if not holds(task)]


def _is_bare(task: TaskRow) -> bool:
    return task.pid is None and task.ttl is None and task.expires_at is None and task.retry_at is None


def _settled(row: PromiseRow) -> bool:
    return row.record.state is not PENDING


def _pairs(world: World) -> Iterable[tuple[PromiseRow, TaskRow]]:
    return [(world.promises[id], task) for id, task in world.tasks.items() if id in world.promises]


PROPERTIES: tuple[Property, ...] = tuple(
    check for name, check in sorted(globals().items()) if name.startswith(("well_formed_", "consistent_"))
)
