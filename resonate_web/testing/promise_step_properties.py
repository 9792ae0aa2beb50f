"""What is true of promises, schedules and the outbox across one transition (protocol 7.4).

Each property takes the worlds before and after, the clock's reading in ms and what caused the transition,
and returns the ids that break it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from resonate_web.machine.rows import expired, is_live
from resonate_web.machine.state import Message, PromiseRow
from resonate_web.machine.steps import Cascade, Delivered, Dispatch, Expire, Fire, Notify, Reclaim, Step, Timeout, Wake
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, TaskState
from resonate_web.protocol.requests import Request
from resonate_web.protocol.tags import is_targeted
from resonate_web.testing.world import World

Cause = Request | Step
Property = Callable[[World, World, int, Cause], list[str]]
PENDING = PromiseState.PENDING
SWEEPS = (Timeout, Notify, Wake, Expire, Dispatch, Fire, Reclaim)


def preserved_promise_birth_fields_immutable(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """What a promise was born with never changes."""
    return [b.id for a, b in _records(before, after) if _birth(a) != _birth(b)]


def preserved_settled_promise_record(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A settled record is frozen and stays."""
    settled = {id: row.record for id, row in before.promises.items() if row.record.state is not PENDING}
    return [id for id, record in settled.items() if id not in after.promises or after.promises[id].record != record]


def monotone_promise_set_grows(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """No promise disappears."""
    return sorted(before.promises.keys() - after.promises.keys())


def preserved_promise_state_frozen_once_settled(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A verdict never changes."""
    return [a.id for a, b in _records(before, after) if a.state is not PENDING and a.state is not b.state]


def preserved_promise_settlement_is_one_way(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Nothing becomes pending again."""
    return [a.id for a, b in _records(before, after) if a.state is not PENDING and b.state is PENDING]


def consistent_promise_settled_at_moves_with_state(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """State and instant of settlement change together."""
    return [a.id for a, b in _records(before, after) if (a.state is b.state) != (a.settled_at == b.settled_at)]


def preserved_promise_value_until_settlement(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A promise that stays pending keeps its value."""
    return [a.id for a, b in _records(before, after) if b.state is PENDING and a.value != b.value]


def preserved_promise_no_duplicate_ids(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Each id names one promise."""
    return [id for id, row in after.promises.items() if row.record.id != id]


def monotone_promise_callbacks_grow_while_pending(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """While pending, callbacks are only added; a new promise has none."""
    kept = [a.record.id for a, b in _rows(before, after) if _is_pending(b) and not a.callbacks <= b.callbacks]
    return kept + [row.record.id for row in _new(before, after) if row.callbacks]


def monotone_promise_callbacks_shrink_once_settled(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Once settled, callbacks are only removed (C11)."""
    return [a.record.id for a, b in _rows(before, after) if not _is_pending(b) and not a.callbacks >= b.callbacks]


def monotone_promise_listeners_grow_while_pending(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """While pending, listeners are only added; a new promise has none."""
    kept = [a.record.id for a, b in _rows(before, after) if _is_pending(b) and not a.listeners <= b.listeners]
    return kept + [row.record.id for row in _new(before, after) if row.listeners]


def monotone_promise_listeners_shrink_once_settled(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Once settled, listeners are only removed (C11)."""
    return [a.record.id for a, b in _rows(before, after) if not _is_pending(b) and not a.listeners >= b.listeners]


def consistent_promise_state_edge_admissible(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A promise leaves pending only."""
    return [a.id for a, b in _records(before, after) if a.state is not b.state and a.state is not PENDING]


def consistent_settlement_fulfils_task(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A promise takes its task with it, in the same step."""
    settled = [a.id for a, b in _records(before, after) if a.state is PENDING and b.state is not PENDING]
    return [id for id in settled if id in after.tasks and after.tasks[id].state is not TaskState.FULFILLED]


def consistent_obligation_discharge_requires_settled(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """An obligation is discharged by settlement only."""
    lost = [(a, b) for a, b in _rows(before, after) if a.callbacks - b.callbacks or a.listeners - b.listeners]
    return [b.record.id for _, b in lost if _is_pending(b)]


def consistent_callback_consumption_resumes_awaiter(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A consumed callback reached its awaiter, or that had ended."""
    reached = []
    for awaited, awaiter in _consumed(before, after):
        task = after.tasks[awaiter]
        if task.state is not TaskState.FULFILLED and awaited not in task.resumes:
            reached.append(awaited)
    return reached


def consistent_listener_consumption_enqueues_unblock(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A consumed listener became exactly one message."""
    unsent = []
    for a, b in _rows(before, after):
        for address in a.listeners - b.listeners:
            sent = [m for m in after.messages.values() if m.address == address and m.promise == b.record]
            if len(sent) != 1:
                unsent.append(a.record.id)
    return unsent


def monotone_outbox_keys_never_disappear(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Only delivery empties the outbox."""
    return [] if isinstance(cause, Delivered) else sorted(before.messages.keys() - after.messages.keys())


def consistent_new_execute_matches_task_and_target(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """An execute quotes the current version and goes to the target."""
    wrong = []
    for message in _sent(before, after, "execute"):
        task = after.tasks[message.task_id or ""]
        target = after.promises[task.id].record.tags.get("resonate:target")
        if message.key != task.id or message.version != task.version or message.address != target:
            wrong.append(message.key)
    return wrong


def consistent_new_unblock_carries_stored_record(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """An unblock carries the record as stored."""
    records = [row.record for row in after.promises.values()]
    return [message.key for message in _sent(before, after, "unblock") if message.promise not in records]


def consistent_new_unblock_discharges_its_listener(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """An unblock stands for a listener that was there and is gone."""
    wrong = []
    for message in _sent(before, after, "unblock"):
        id = message.promise.id if message.promise else ""
        had = message.address in before.promises[id].listeners
        if not had or message.address in after.promises[id].listeners:
            wrong.append(message.key)
    return wrong


def preserved_schedule_birth_fields_immutable(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """What a schedule was created with never changes."""
    wrong = []
    for id in before.schedules.keys() & after.schedules.keys():
        a, b = before.schedules[id].record, after.schedules[id].record
        born = (a.cron, a.promise_id, a.promise_timeout, a.promise_param, a.promise_tags, a.created_at)
        if born != (b.cron, b.promise_id, b.promise_timeout, b.promise_param, b.promise_tags, b.created_at):
            wrong.append(id)
    return wrong


def preserved_execute_only_for_live_task(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """Nobody is asked to execute a dead promise (C5)."""
    executes = _sent(before, after, "execute")
    return [m.key for m in executes if not is_live(after.promises[m.task_id or ""].record, now)]


def consistent_promise_settlement_stamp(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A client's verdict is stamped now, before the deadline; the deadline's verdict at the deadline."""
    settled = [(a, b) for a, b in _records(before, after) if a.state is PENDING and b.state is not PENDING]
    return [b.id for a, b in settled if not (_is_clients(b, now) or (b == expired(a) and a.timeout_at <= now))]


def preserved_timedout_is_server_owned(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A promise times out only when its deadline has passed."""
    timed_out = [b for a, b in _records(before, after) if a.state is PENDING and b.state is PromiseState.TIMEDOUT]
    return [b.id for b in timed_out if b.timeout_at > now or b.settled_at != b.timeout_at]


def consistent_new_promise_born_clean(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A promise is born empty, pending or settled by its own deadline."""
    wrong = []
    for row in _new(before, after):
        record = row.record
        live = record.state is PENDING and record.created_at < record.timeout_at
        dead = record.state is not PENDING and record.created_at == record.settled_at == record.timeout_at
        clean = record.value == EMPTY and not row.callbacks and not row.listeners and record.created_at <= now
        # A schedule's occurrence is born at its own instant, however late it fires.
        if not clean or not (live or dead) or (live and record.created_at != now and not isinstance(cause, Fire)):
            wrong.append(record.id)
    return wrong


def provenance_sweeper_settles_by_deadline_only(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """B2: the server on its own gives no verdict but the deadline's."""
    if not isinstance(cause, SWEEPS):
        return []
    settled = [(a, b) for a, b in _records(before, after) if a.state is PENDING and b.state is not PENDING]
    return [b.id for a, b in settled if b != expired(a)]


def provenance_cascade_cancels_only(before: World, after: World, now: int, cause: Cause) -> list[str]:
    """A cascade gives no verdict but canceled, and creates nothing but a cleanup."""
    if not isinstance(cause, Cascade):
        return []
    settled = [b for a, b in _records(before, after) if a.state is not b.state]
    strange = [b.id for b in settled if b.state is not PromiseState.CANCELED or b.id == cause.id]
    return strange + [row.record.id for row in _new(before, after) if not is_targeted(row.record.tags)]


def _rows(before: World, after: World) -> Iterator[tuple[PromiseRow, PromiseRow]]:
    for id, a in before.promises.items():
        b = after.promises.get(id)
        if b is not None and b is not a:
            yield a, b


def _records(before: World, after: World) -> Iterator[tuple[Promise, Promise]]:
    return ((a.record, b.record) for a, b in _rows(before, after))


def _new(before: World, after: World) -> list[PromiseRow]:
    return [row for id, row in after.promises.items() if id not in before.promises]


def _sent(before: World, after: World, kind: str) -> list[Message]:
    sent = [message for key, message in after.messages.items() if message is not before.messages.get(key)]
    return [message for message in sent if message.kind == kind]


def _consumed(before: World, after: World) -> list[tuple[str, str]]:
    return [(a.record.id, awaiter) for a, b in _rows(before, after) for awaiter in a.callbacks - b.callbacks]


def _birth(record: Promise) -> tuple[object, ...]:
    return (record.param, record.tags, record.timeout_at, record.created_at)


def _is_pending(row: PromiseRow) -> bool:
    return row.record.state is PENDING


def _is_clients(record: Promise, now: int) -> bool:
    return record.settled_at == now < record.timeout_at and record.state is not PromiseState.TIMEDOUT


_PREFIXES = ("preserved_", "monotone_", "consistent_", "provenance_")
PROPERTIES: tuple[Property, ...] = tuple(
    check for name, check in sorted(globals().items()) if name.startswith(_PREFIXES)
)
