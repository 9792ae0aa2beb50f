"""The two doors of the machine: what a request or step reads, and what it does.

Searches have no transition: the store answers them, and `search` judges what it found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resonate_web.machine import internal, promises, schedules, tasks
from resonate_web.machine.checks import Refused, is_id
from resonate_web.machine.cleanup import cleanup_id
from resonate_web.machine.state import NOBODY, Keys, Outcome, Snapshot
from resonate_web.machine.steps import (
    Cascade,
    Delivered,
    Dispatch,
    Expire,
    Fire,
    Notify,
    Reclaim,
    Step,
    Timeout,
    Wake,
)
from resonate_web.protocol.requests import (
    Preload,
    PromiseCreate,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSettle,
    Request,
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    TaskAcquire,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
    TaskHeartbeat,
    TaskRelease,
    TaskSuspend,
)

# Any: each rule takes the one type that it is listed under, which a table cannot say.
Rule = Callable[[Any, Snapshot, int], Outcome]
PacedRule = Callable[[Any, Snapshot, int, int], Outcome]
Reader = Callable[[Any], Keys]


def reads(request: Request | Step) -> Keys:
    """Return the rows that the transition of this request or step reads.

    Raises: TypeError when it has no transition.
    """
    reader = _READERS.get(type(request))
    if reader is None:
        raise TypeError(f"{type(request).__name__} has no transition")
    return reader(request)


def transition(request: Request | Step, snapshot: Snapshot, now: int, *, retry_interval: int) -> Outcome:
    """Return the answer and the writes at `now`; an unclaimed task is offered every `retry_interval` (both ms).

    Raises: TypeError when the request has no transition.
    """
    try:
        rule = _RULES.get(type(request))
        if rule is not None:
            return rule(request, snapshot, now)
        paced = _PACED.get(type(request))
        if paced is not None:
            return paced(request, snapshot, now, retry_interval)
    except Refused as refusal:
        return Outcome(refusal.response())
    raise TypeError(f"{type(request).__name__} has no transition")


_RULES: dict[type, Rule] = {
    PromiseGet: promises.get,
    PromiseCreate: promises.create,
    PromiseSettle: promises.settle,
    PromiseRegisterCallback: promises.register_callback,
    PromiseRegisterListener: promises.register_listener,
    TaskGet: tasks.get,
    TaskCreate: tasks.create,
    TaskAcquire: tasks.acquire,
    TaskFence: tasks.fence,
    TaskHeartbeat: tasks.heartbeat,
    TaskSuspend: tasks.suspend,
    TaskFulfill: tasks.fulfill,
    TaskHalt: tasks.halt,
    TaskContinue: tasks.continue_,
    ScheduleGet: schedules.get,
    ScheduleCreate: schedules.create,
    ScheduleDelete: schedules.delete,
    Timeout: internal.timeout,
    Notify: internal.notify,
    Wake: internal.wake,
    Expire: internal.expire,
    Reclaim: internal.reclaim,
    Cascade: internal.cascade,
    Delivered: internal.delivered,
    Fire: schedules.fire,
}

_PACED: dict[type, PacedRule] = {
    TaskRelease: tasks.release,
    Dispatch: internal.dispatch,
}


def _ids(*ids: str) -> frozenset[str]:
    # An id that no store can hold names nothing; its request is refused without reading.
    return frozenset(id for id in ids if is_id(id))


def _owner(preload: Preload, id: str) -> frozenset[str]:
    return NOBODY if preload == "none" else _ids(id)


def _read_id(request: Any) -> Keys:
    return Keys(ids=_ids(request.id))


def _read_schedule(request: ScheduleGet | ScheduleCreate | ScheduleDelete) -> Keys:
    return Keys(schedules=_ids(request.id))


def _read_callback(request: PromiseRegisterCallback) -> Keys:
    return Keys(ids=_ids(request.awaited, request.awaiter))


def _read_listener(request: PromiseRegisterListener) -> Keys:
    return Keys(ids=_ids(request.awaited))


def _read_create(request: TaskCreate) -> Keys:
    return Keys(ids=_ids(request.action.id), owned=_owner(request.preload, request.action.id))


def _read_acquire(request: TaskAcquire) -> Keys:
    return Keys(ids=_ids(request.id), owned=_owner(request.preload, request.id))


def _read_fence(request: TaskFence) -> Keys:
    return Keys(ids=_ids(request.id, request.action.id), owned=_owner(request.preload, request.id))


def _read_heartbeat(request: TaskHeartbeat) -> Keys:
    return Keys(ids=_ids(*(ref.id for ref in request.tasks)))


def _read_suspend(request: TaskSuspend) -> Keys:
    awaited = (action.awaited for action in request.actions)
    return Keys(ids=_ids(request.id, *awaited), owned=_owner(request.preload, request.id))


def _read_wake(step: Wake) -> Keys:
    return Keys(ids=_ids(step.id, step.awaiter))


def _read_fire(step: Fire) -> Keys:
    return Keys(ids=_ids(*step.ids), schedules=_ids(step.id))


def _read_cascade(step: Cascade) -> Keys:
    return Keys(ids=_ids(step.id, cleanup_id(step.id)), trees=_ids(step.id))


def _read_nothing(step: Delivered) -> Keys:
    return Keys()


_READERS: dict[type, Reader] = {
    PromiseGet: _read_id,
    PromiseCreate: _read_id,
    PromiseSettle: _read_id,
    PromiseRegisterCallback: _read_callback,
    PromiseRegisterListener: _read_listener,
    TaskGet: _read_id,
    TaskCreate: _read_create,
    TaskAcquire: _read_acquire,
    TaskFence: _read_fence,
    TaskHeartbeat: _read_heartbeat,
    TaskSuspend: _read_suspend,
    TaskFulfill: _read_id,
    TaskRelease: _read_id,
    TaskHalt: _read_id,
    TaskContinue: _read_id,
    ScheduleGet: _read_schedule,
    ScheduleCreate: _read_schedule,
    ScheduleDelete: _read_schedule,
    Timeout: _read_id,
    Notify: _read_id,
    Wake: _read_wake,
    Expire: _read_id,
    Dispatch: _read_id,
    Reclaim: _read_id,
    Cascade: _read_cascade,
    Delivered: _read_nothing,
    Fire: _read_fire,
}
