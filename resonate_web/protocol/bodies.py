"""The `data` of every request as JSON, in both directions, as two tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resonate_web.protocol import requests as rq
from resonate_web.protocol.fields import Fields, Json, Malformed, present, write_value
from resonate_web.protocol.records import PromiseState, TaskState

PRELOAD = "resonate_web:preload"
"""Our extensions carry our name, so that no other server mistakes them for its own."""
REFUSAL = "resonate_web:refusal"

PRELOADS: dict[str, rq.Preload] = {"branch": "branch", "owned": "owned", "none": "none"}


def read_request(kind: str, data: Json) -> rq.Request:
    """Return the request of this kind.

    Raises: Malformed, also for an unknown kind.
    """
    reader = _READERS.get(kind)
    if reader is None:
        raise Malformed(f"unknown kind {kind!r}")
    return reader(Fields(data))


def write_data(request: rq.Request) -> Json:
    """Return the data of a request; inner actions have no head yet."""
    return _WRITERS[request.kind](request)


def _read_promise_get(fields: Fields) -> rq.Request:
    return rq.PromiseGet(id=fields.text("id"))


def _read_promise_create(fields: Fields) -> rq.PromiseCreate:
    return rq.PromiseCreate(
        id=fields.text("id"),
        timeout_at=fields.integer("timeoutAt"),
        param=fields.value("param"),
        tags=fields.texts("tags"),
    )


def _read_promise_settle(fields: Fields) -> rq.PromiseSettle:
    return rq.PromiseSettle(
        id=fields.text("id"), state=fields.state("state", PromiseState), value=fields.value("value")
    )


def _read_callback(fields: Fields) -> rq.PromiseRegisterCallback:
    return rq.PromiseRegisterCallback(awaited=fields.text("awaited"), awaiter=fields.text("awaiter"))


def _read_listener(fields: Fields) -> rq.Request:
    return rq.PromiseRegisterListener(awaited=fields.text("awaited"), address=fields.text("address"))


def _read_promise_search(fields: Fields) -> rq.Request:
    limit = fields.integer_or_none("limit")
    return rq.PromiseSearch(
        state=fields.state_or_none("state", PromiseState),
        tags=fields.texts("tags"),
        limit=100 if limit is None else limit,
        cursor=fields.text_or_none("cursor"),
    )


def _read_task_get(fields: Fields) -> rq.Request:
    return rq.TaskGet(id=fields.text("id"))


def _read_task_create(fields: Fields) -> rq.Request:
    return rq.TaskCreate(
        pid=fields.text("pid"),
        ttl=fields.integer("ttl"),
        action=_read_promise_create(_action(fields.object("action"), rq.PromiseCreate.kind)),
        preload=_preload(fields),
    )


def _read_task_acquire(fields: Fields) -> rq.Request:
    return rq.TaskAcquire(
        id=fields.text("id"),
        version=fields.integer("version"),
        pid=fields.text("pid"),
        ttl=fields.integer("ttl"),
        preload=_preload(fields),
    )


def _read_task_fence(fields: Fields) -> rq.Request:
    action = fields.object("action")
    inner: rq.PromiseCreate | rq.PromiseSettle
    match action.text("kind"):
        case rq.PromiseCreate.kind:
            inner = _read_promise_create(action.object("data"))
        case rq.PromiseSettle.kind:
            inner = _read_promise_settle(action.object("data"))
        case kind:
            raise Malformed(f"a fence cannot carry {kind!r}")
    return rq.TaskFence(id=fields.text("id"), version=fields.integer("version"), action=inner, preload=_preload(fields))


def _read_task_heartbeat(fields: Fields) -> rq.Request:
    refs = tuple(rq.TaskRef(id=ref.text("id"), version=ref.integer("version")) for ref in fields.objects("tasks"))
    return rq.TaskHeartbeat(pid=fields.text("pid"), tasks=refs)


def _read_task_suspend(fields: Fields) -> rq.Request:
    kind = rq.PromiseRegisterCallback.kind
    actions = tuple(_read_callback(_action(action, kind)) for action in fields.objects("actions"))
    return rq.TaskSuspend(
        id=fields.text("id"), version=fields.integer("version"), actions=actions, preload=_preload(fields)
    )


def _read_task_fulfill(fields: Fields) -> rq.Request:
    action = _read_promise_settle(_action(fields.object("action"), rq.PromiseSettle.kind))
    return rq.TaskFulfill(id=fields.text("id"), version=fields.integer("version"), action=action)


def _read_task_release(fields: Fields) -> rq.Request:
    return rq.TaskRelease(id=fields.text("id"), version=fields.integer("version"), refusal=_refusal(fields))


def _read_task_halt(fields: Fields) -> rq.Request:
    return rq.TaskHalt(id=fields.text("id"), refusal=_refusal(fields))


def _read_task_continue(fields: Fields) -> rq.Request:
    return rq.TaskContinue(id=fields.text("id"))


def _read_task_search(fields: Fields) -> rq.Request:
    limit = fields.integer_or_none("limit")
    return rq.TaskSearch(
        state=fields.state_or_none("state", TaskState),
        limit=100 if limit is None else limit,
        cursor=fields.text_or_none("cursor"),
    )


def _read_schedule_get(fields: Fields) -> rq.Request:
    return rq.ScheduleGet(id=fields.text("id"))


def _read_schedule_create(fields: Fields) -> rq.Request:
    return rq.ScheduleCreate(
        id=fields.text("id"),
        cron=fields.text("cron"),
        promise_id=fields.text("promiseId"),
        promise_timeout=fields.integer("promiseTimeout"),
        promise_param=fields.value("promiseParam"),
        promise_tags=fields.texts("promiseTags"),
    )


def _read_schedule_delete(fields: Fields) -> rq.Request:
    return rq.ScheduleDelete(id=fields.text("id"))


def _read_schedule_search(fields: Fields) -> rq.Request:
    limit = fields.integer_or_none("limit")
    return rq.ScheduleSearch(
        tags=fields.texts("tags"),
        limit=10 if limit is None else limit,
        cursor=fields.text_or_none("cursor"),
    )


def _action(action: Fields, kind: str) -> Fields:
    # The kind follows from the outer request, so one that leaves it out is understood.
    if action.data.get("kind", kind) != kind:
        raise Malformed(f"the action must be a {kind}")
    return action.object("data")


def _preload(fields: Fields) -> rq.Preload:
    word = fields.text_or_none(PRELOAD) or "branch"
    if word not in PRELOADS:
        raise Malformed(f"{PRELOAD} must be one of {', '.join(PRELOADS)}")
    return PRELOADS[word]


def _refusal(fields: Fields) -> rq.Refusal | None:
    if fields.data.get(REFUSAL) is None:
        return None
    refusal = fields.object(REFUSAL)
    return rq.Refusal(pid=refusal.text("pid"), code=refusal.text("code"), reason=refusal.text("reason"))


def _write_id(request: Any) -> Json:
    return {"id": request.id}


def _write_promise_create(request: rq.PromiseCreate) -> Json:
    return {
        "id": request.id,
        "timeoutAt": request.timeout_at,
        "param": write_value(request.param),
        "tags": dict(request.tags),
    }


def _write_promise_settle(request: rq.PromiseSettle) -> Json:
    return {"id": request.id, "state": request.state.value, "value": write_value(request.value)}


def _write_callback(request: rq.PromiseRegisterCallback) -> Json:
    return {"awaited": request.awaited, "awaiter": request.awaiter}


def _write_listener(request: rq.PromiseRegisterListener) -> Json:
    return {"awaited": request.awaited, "address": request.address}


def _write_promise_search(request: rq.PromiseSearch) -> Json:
    state = None if request.state is None else request.state.value
    return present(state=state, tags=dict(request.tags), limit=request.limit, cursor=request.cursor)


def _write_task_create(request: rq.TaskCreate) -> Json:
    data = {"pid": request.pid, "ttl": request.ttl, "action": _write_action(request.action)}
    return data | _write_preload(request.preload)


def _write_task_acquire(request: rq.TaskAcquire) -> Json:
    data = {"id": request.id, "version": request.version, "pid": request.pid, "ttl": request.ttl}
    return data | _write_preload(request.preload)


def _write_task_fence(request: rq.TaskFence) -> Json:
    data = {"id": request.id, "version": request.version, "action": _write_action(request.action)}
    return data | _write_preload(request.preload)


def _write_task_heartbeat(request: rq.TaskHeartbeat) -> Json:
    return {"pid": request.pid, "tasks": [{"id": ref.id, "version": ref.version} for ref in request.tasks]}


def _write_task_suspend(request: rq.TaskSuspend) -> Json:
    actions = [_write_action(action) for action in request.actions]
    return {"id": request.id, "version": request.version, "actions": actions} | _write_preload(request.preload)


def _write_task_fulfill(request: rq.TaskFulfill) -> Json:
    return {"id": request.id, "version": request.version, "action": _write_action(request.action)}


def _write_task_release(request: rq.TaskRelease) -> Json:
    return {"id": request.id, "version": request.version} | _write_refusal(request.refusal)


def _write_task_halt(request: rq.TaskHalt) -> Json:
    return {"id": request.id} | _write_refusal(request.refusal)


def _write_task_search(request: rq.TaskSearch) -> Json:
    state = None if request.state is None else request.state.value
    return present(state=state, limit=request.limit, cursor=request.cursor)


def _write_schedule_create(request: rq.ScheduleCreate) -> Json:
    return {
        "id": request.id,
        "cron": request.cron,
        "promiseId": request.promise_id,
        "promiseTimeout": request.promise_timeout,
        "promiseParam": write_value(request.promise_param),
        "promiseTags": dict(request.promise_tags),
    }


def _write_schedule_search(request: rq.ScheduleSearch) -> Json:
    return present(tags=dict(request.tags), limit=request.limit, cursor=request.cursor)


def _write_action(action: rq.Request) -> Json:
    return {"kind": action.kind, "data": write_data(action)}


def _write_preload(preload: rq.Preload) -> Json:
    return {} if preload == "branch" else {PRELOAD: preload}


def _write_refusal(refusal: rq.Refusal | None) -> Json:
    if refusal is None:
        return {}
    return {REFUSAL: {"pid": refusal.pid, "code": refusal.code, "reason": refusal.reason}}


_READERS: dict[str, Callable[[Fields], rq.Request]] = {
    rq.PromiseGet.kind: _read_promise_get,
    rq.PromiseCreate.kind: _read_promise_create,
    rq.PromiseSettle.kind: _read_promise_settle,
    rq.PromiseRegisterCallback.kind: _read_callback,
    rq.PromiseRegisterListener.kind: _read_listener,
    rq.PromiseSearch.kind: _read_promise_search,
    rq.TaskGet.kind: _read_task_get,
    rq.TaskCreate.kind: _read_task_create,
    rq.TaskAcquire.kind: _read_task_acquire,
    rq.TaskFence.kind: _read_task_fence,
    rq.TaskHeartbeat.kind: _read_task_heartbeat,
    rq.TaskSuspend.kind: _read_task_suspend,
    rq.TaskFulfill.kind: _read_task_fulfill,
    rq.TaskRelease.kind: _read_task_release,
    rq.TaskHalt.kind: _read_task_halt,
    rq.TaskContinue.kind: _read_task_continue,
    rq.TaskSearch.kind: _read_task_search,
    rq.ScheduleGet.kind: _read_schedule_get,
    rq.ScheduleCreate.kind: _read_schedule_create,
    rq.ScheduleDelete.kind: _read_schedule_delete,
    rq.ScheduleSearch.kind: _read_schedule_search,
}

# Any: each writer takes the one type that it is listed under, which a table cannot say.
_WRITERS: dict[str, Callable[[Any], Json]] = {
    rq.PromiseGet.kind: _write_id,
    rq.PromiseCreate.kind: _write_promise_create,
    rq.PromiseSettle.kind: _write_promise_settle,
    rq.PromiseRegisterCallback.kind: _write_callback,
    rq.PromiseRegisterListener.kind: _write_listener,
    rq.PromiseSearch.kind: _write_promise_search,
    rq.TaskGet.kind: _write_id,
    rq.TaskCreate.kind: _write_task_create,
    rq.TaskAcquire.kind: _write_task_acquire,
    rq.TaskFence.kind: _write_task_fence,
    rq.TaskHeartbeat.kind: _write_task_heartbeat,
    rq.TaskSuspend.kind: _write_task_suspend,
    rq.TaskFulfill.kind: _write_task_fulfill,
    rq.TaskRelease.kind: _write_task_release,
    rq.TaskHalt.kind: _write_task_halt,
    rq.TaskContinue.kind: _write_id,
    rq.TaskSearch.kind: _write_task_search,
    rq.ScheduleGet.kind: _write_id,
    rq.ScheduleCreate.kind: _write_schedule_create,
    rq.ScheduleDelete.kind: _write_id,
    rq.ScheduleSearch.kind: _write_schedule_search,
}
