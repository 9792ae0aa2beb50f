"""The JSON envelope, request by request and answer by answer."""

from __future__ import annotations

from typing import Any

import pytest

from resonate_web.protocol import requests as rq
from resonate_web.protocol.envelope import (
    BadEnvelope,
    Malformed,
    read_envelope,
    read_request,
    read_response,
    write_error,
    write_request,
    write_response,
)
from resonate_web.protocol.records import Promise, PromiseState, Schedule, Task, TaskState, Value

HEAD = {"corrId": "c1", "version": "2026-04-01"}
PARAM = Value(data="e30=", headers={"a": "b"})
CREATE = rq.PromiseCreate(id="x", timeout_at=9, param=PARAM, tags={"k": "v"})
SETTLE = rq.PromiseSettle(id="x", state=PromiseState.REJECTED, value=Value(data=""))
WAIT = rq.PromiseRegisterCallback(awaited="x", awaiter="r")
REFUSAL = rq.Refusal(pid="p", code="c", reason="why")
PROMISE = Promise(
    id="x",
    state=PromiseState.RESOLVED,
    param=PARAM,
    value=Value(),
    tags={"k": "v"},
    timeout_at=9,
    created_at=1,
    settled_at=5,
)
TASK = Task(id="x", state=TaskState.ACQUIRED, version=2, resumes=3, ttl=10, pid="p")
RAW_TASK = {"id": "x", "state": "pending", "version": 0}
SCHEDULE = Schedule(
    id="s",
    cron="* * * * *",
    promise_id="x",
    promise_timeout=7,
    promise_param=PARAM,
    promise_tags={},
    created_at=1,
    next_run_at=2,
)
REQUESTS: list[rq.Request] = [
    rq.PromiseGet(id="x"),
    CREATE,
    SETTLE,
    WAIT,
    rq.PromiseRegisterListener(awaited="x", address="http://x"),
    rq.PromiseSearch(),
    rq.PromiseSearch(state=PromiseState.PENDING, tags={"k": "v"}, limit=7, cursor="a"),
    rq.TaskGet(id="x"),
    rq.TaskCreate(pid="p", ttl=5, action=CREATE),
    rq.TaskCreate(pid="p", ttl=5, action=CREATE, preload="owned"),
    rq.TaskAcquire(id="r", version=1, pid="p", ttl=5, preload="none"),
    rq.TaskFence(id="r", version=1, action=CREATE),
    rq.TaskFence(id="r", version=1, action=SETTLE, preload="owned"),
    rq.TaskHeartbeat(pid="p", tasks=()),
    rq.TaskHeartbeat(pid="p", tasks=(rq.TaskRef(id="a", version=1), rq.TaskRef(id="b", version=2))),
    rq.TaskSuspend(id="r", version=1, actions=(WAIT,)),
    rq.TaskSuspend(id="r", version=1, actions=(), preload="none"),
    rq.TaskFulfill(id="x", version=1, action=SETTLE),
    rq.TaskRelease(id="r", version=1),
    rq.TaskRelease(id="r", version=1, refusal=REFUSAL),
    rq.TaskHalt(id="r"),
    rq.TaskHalt(id="r", refusal=REFUSAL),
    rq.TaskContinue(id="r"),
    rq.TaskSearch(state=TaskState.HALTED),
    rq.ScheduleGet(id="s"),
    rq.ScheduleCreate(id="s", cron="* * * * *", promise_id="x", promise_timeout=7, promise_param=PARAM),
    rq.ScheduleDelete(id="s"),
    rq.ScheduleSearch(tags={"k": "v"}),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.kind)
def test_a_request_survives_the_wire(request_: rq.Request) -> None:
    """Written and read, it is the same request."""
    envelope = read_envelope(write_request(request_, "c1"))
    assert (envelope.kind, envelope.corr_id) == (request_.kind, "c1")
    assert read_request(envelope.kind, envelope.data) == request_


def test_the_spelling_of_a_request() -> None:
    """Names are in camel case, inner actions have a head, extensions are left out when unused."""
    assert write_request(rq.TaskCreate(pid="p", ttl=5, action=CREATE), "c1", auth="jwt") == {
        "kind": "task.create",
        "head": {**HEAD, "auth": "jwt"},
        "data": {
            "pid": "p",
            "ttl": 5,
            "action": {
                "kind": "promise.create",
                "head": HEAD,
                "data": {
                    "id": "x",
                    "timeoutAt": 9,
                    "param": {"data": "e30=", "headers": {"a": "b"}},
                    "tags": {"k": "v"},
                },
            },
        },
    }
    suspend = write_request(rq.TaskSuspend(id="r", version=1, actions=(WAIT,)), "c1")["data"]
    inner = {"kind": "promise.register_callback", "head": HEAD, "data": {"awaited": "x", "awaiter": "r"}}
    assert suspend == {"id": "r", "version": 1, "actions": [inner]}


ANSWERS: list[tuple[rq.Request, rq.Response]] = [
    (rq.PromiseGet(id="x"), rq.Response(status=200, promise=PROMISE)),
    (rq.PromiseGet(id="x"), rq.Response(status=404, error="no promise")),
    (rq.PromiseSearch(), rq.Response(status=200, promises=(PROMISE,), cursor="x")),
    (rq.TaskGet(id="x"), rq.Response(status=200, task=TASK)),
    (
        rq.TaskCreate(pid="p", ttl=5, action=CREATE),
        rq.Response(status=200, task=TASK, promise=PROMISE, preload=(PROMISE,)),
    ),
    (
        rq.TaskFence(id="r", version=1, action=CREATE),
        rq.Response(status=200, action=rq.Response(status=200, promise=PROMISE), preload=(PROMISE,)),
    ),
    (
        rq.TaskFence(id="r", version=1, action=SETTLE),
        rq.Response(status=200, action=rq.Response(status=404, error="no promise")),
    ),
    (rq.TaskSuspend(id="r", version=1, actions=(WAIT,)), rq.Response(status=200)),
    (rq.TaskSuspend(id="r", version=1, actions=(WAIT,)), rq.Response(status=300, preload=(PROMISE,))),
    (rq.TaskSearch(), rq.Response(status=200, tasks=(TASK,))),
    (rq.ScheduleGet(id="s"), rq.Response(status=200, schedule=SCHEDULE)),
    (rq.ScheduleSearch(), rq.Response(status=200, schedules=(SCHEDULE,))),
]


@pytest.mark.parametrize(("request_", "response"), ANSWERS)
def test_an_answer_survives_the_wire(request_: rq.Request, response: rq.Response) -> None:
    """Written and read, it is the same answer."""
    assert read_response(request_, "c1", write_response(request_, "c1", response)) == response


def test_the_spelling_of_answers() -> None:
    """Empty values are `{}`, absent ones are omitted, errors are strings."""
    promise = {
        "id": "x",
        "state": "resolved",
        "param": {"data": "e30=", "headers": {"a": "b"}},
        "value": {},
        "tags": {"k": "v"},
        "timeoutAt": 9,
        "createdAt": 1,
        "settledAt": 5,
    }
    get = rq.PromiseGet(id="x")
    head = {**HEAD, "status": 200}
    answer = write_response(get, "c1", rq.Response(status=200, promise=PROMISE))
    assert answer == {"kind": "promise.get", "head": head, "data": {"promise": promise}}
    assert write_response(get, "c1", rq.Response(status=404, error="no"))["data"] == "no"
    assert isinstance(write_response(get, "c1", rq.Response(status=409))["data"], str)
    assert write_error("x", "c", 403, "no") == {
        "kind": "x",
        "head": {"corrId": "c", "status": 403, "version": "2026-04-01"},
        "data": "no",
    }
    fence = rq.TaskFence(id="r", version=1, action=CREATE)
    inner = rq.Response(status=200, promise=PROMISE)
    data = write_response(fence, "c1", rq.Response(status=200, action=inner))["data"]
    assert data == {"action": {"kind": "promise.create", "head": head, "data": {"promise": promise}}, "preload": []}


@pytest.mark.parametrize(
    "request_",
    [
        rq.TaskHeartbeat(pid="p", tasks=()),
        rq.TaskRelease(id="r", version=1),
        rq.TaskHalt(id="r"),
        rq.TaskContinue(id="r"),
        rq.ScheduleDelete(id="s"),
        rq.TaskSuspend(id="r", version=1, actions=(WAIT,)),
    ],
)
def test_these_answer_an_empty_object(request_: rq.Request) -> None:
    """Our heartbeat's list of held tasks stays off the wire."""
    response = rq.Response(status=200, tasks=(TASK,) if isinstance(request_, rq.TaskHeartbeat) else ())
    assert write_response(request_, "c1", response)["data"] == {}


@pytest.mark.parametrize(
    ("value", "kind", "corr_id"),
    [
        (None, "unknown", "0"),
        ([], "unknown", "0"),
        ("text", "unknown", "0"),
        ({}, "unknown", "0"),
        ({"kind": 1, "head": HEAD, "data": {}}, "unknown", "c1"),
        ({"kind": "promise.get", "data": {}}, "promise.get", "0"),
        ({"kind": "promise.get", "head": [], "data": {}}, "promise.get", "0"),
        ({"kind": "promise.get", "head": {"version": "2026-04-01"}, "data": {}}, "promise.get", "0"),
        ({"kind": "promise.get", "head": {"corrId": 1, "version": "2026-04-01"}, "data": {}}, "promise.get", "0"),
        ({"kind": "promise.get", "head": {"corrId": "c1"}, "data": {}}, "promise.get", "c1"),
        ({"kind": "", "head": HEAD, "data": {}}, "", "c1"),
        ({"kind": "promise.get", "head": HEAD}, "promise.get", "c1"),
        ({"kind": "promise.get", "head": HEAD, "data": "x"}, "promise.get", "c1"),
        ({"kind": "promise.get", "head": {**HEAD, "version": "2025"}, "data": {}}, "promise.get", "c1"),
    ],
)
def test_a_bad_envelope_echoes_what_it_can(value: object, kind: str, corr_id: str) -> None:
    """Unparseable, empty kind, data, version: in this order."""
    with pytest.raises(BadEnvelope) as caught:
        read_envelope(value)
    assert (caught.value.kind, caught.value.corr_id) == (kind, corr_id)
    assert str(caught.value)


def test_an_envelope_keeps_its_optional_head() -> None:
    """Tokens and test clocks are for the server to judge."""
    head = {**HEAD, "auth": "jwt", "resonate:debug_time": 5}
    envelope = read_envelope({"kind": "promise.get", "head": head, "data": {"id": "x"}, "more": 1})
    assert (envelope.head["auth"], envelope.head["resonate:debug_time"]) == ("jwt", 5)


def create(**fields: Any) -> dict[str, Any]:
    """Return the data of a create with some fields changed."""
    return {"id": "x", "timeoutAt": 9, **fields}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("no.such", {}),
        ("debug.reset", {}),
        ("promise.get", {}),
        ("promise.get", {"id": 1}),
        ("promise.get", {"id": "\ud800"}),
        ("promise.create", {"id": "x"}),
        ("promise.create", create(timeoutAt="9")),
        ("promise.create", create(timeoutAt=True)),
        ("promise.create", create(timeoutAt=9.0)),
        ("promise.create", create(tags={"k": 1})),
        ("promise.create", create(tags={"k": None})),
        ("promise.create", create(tags=[])),
        ("promise.create", create(tags={"\ud800": "x"})),
        ("promise.create", create(param="x")),
        ("promise.create", create(param={"data": 1})),
        ("promise.create", create(param={"headers": {"a": 1}})),
        ("promise.settle", {"id": "x"}),
        ("promise.settle", {"id": "x", "state": "done"}),
        ("promise.search", {"state": "done"}),
        ("promise.search", {"limit": "7"}),
        ("promise.search", {"cursor": 7}),
        ("promise.register_callback", {"awaited": "x"}),
        ("task.create", {"pid": "p", "ttl": 1}),
        ("task.create", {"pid": "p", "ttl": 1, "action": {"kind": "promise.settle", "data": create()}}),
        ("task.create", {"pid": "p", "ttl": 1, "action": {"kind": "promise.create"}}),
        ("task.acquire", {"id": "r", "version": 1, "pid": "p", "ttl": 1, "resonate_web:preload": "all"}),
        ("task.fence", {"id": "r", "version": 1, "action": {"data": create()}}),
        ("task.fence", {"id": "r", "version": 1, "action": {"kind": "promise.get", "data": {"id": "x"}}}),
        ("task.fence", {"id": "r", "version": 1, "action": {"kind": "promise.create", "data": {"id": "x"}}}),
        ("task.suspend", {"id": "r", "version": 1, "actions": {}}),
        ("task.suspend", {"id": "r", "version": 1, "actions": ["x"]}),
        ("task.heartbeat", {"pid": "p"}),
        ("task.heartbeat", {"pid": "p", "tasks": [{"id": "r"}]}),
        ("task.release", {"id": "r"}),
        ("task.release", {"id": "r", "version": 1, "resonate_web:refusal": {"pid": "p"}}),
        ("schedule.create", {"id": "s", "cron": "* * * * *", "promiseId": "x"}),
    ],
)
def test_malformed_data_is_refused(kind: str, data: dict[str, Any]) -> None:
    """The message names the field."""
    with pytest.raises(Malformed, match=r".+"):
        read_request(kind, data)


@pytest.mark.parametrize("empty", [{}, None, {"data": None}, {"headers": {}}, {"data": None, "headers": None}])
def test_every_spelling_of_nothing_is_the_empty_value(empty: object) -> None:
    """Absent, null and empty are one."""
    request = read_request("promise.create", create(param=empty, tags=None))
    assert request == rq.PromiseCreate(id="x", timeout_at=9)


def test_unknown_keys_are_ignored_and_actions_may_omit_their_kind() -> None:
    """A newer client is understood as far as possible."""
    data = {"pid": "p", "ttl": 5, "action": {"data": create(new=1)}, "new": 1}
    assert read_request("task.create", data) == rq.TaskCreate(
        pid="p", ttl=5, action=rq.PromiseCreate(id="x", timeout_at=9)
    )


@pytest.mark.parametrize(("resumes", "count"), [(3, 3), (["a", "b"], 2), (True, 1), (None, 0), ([], 0)])
def test_resumes_may_be_listed(resumes: object, count: int) -> None:
    """Other servers list them or only say whether there are any."""
    answer = {"kind": "task.get", "head": {**HEAD, "status": 200}, "data": {"task": {**RAW_TASK, "resumes": resumes}}}
    read = read_response(rq.TaskGet(id="x"), "c1", answer).task
    assert read is not None
    assert read.resumes == count


@pytest.mark.parametrize(
    "value",
    [
        None,
        "bad gateway",
        {},
        {"kind": "task.get", "head": {**HEAD, "status": 200}, "data": {}},
        {"kind": "promise.get", "head": {**HEAD, "corrId": "c2", "status": 200}, "data": {}},
        {"kind": "promise.get", "head": HEAD, "data": {}},
        {"kind": "promise.get", "head": {**HEAD, "status": 200}, "data": "x"},
        {"kind": "promise.get", "head": {**HEAD, "status": 200}, "data": {"promise": {"id": "x"}}},
        {"kind": "promise.get", "head": {**HEAD, "status": 200}, "data": {"task": {**RAW_TASK, "resumes": "x"}}},
    ],
)
def test_a_foreign_answer_is_malformed(value: object) -> None:
    """The echo of kind and correlation is checked, and so is every record."""
    with pytest.raises(Malformed):
        read_response(rq.PromiseGet(id="x"), "c1", value)


def test_nulls_of_other_servers_are_understood() -> None:
    """`settledAt`, `data` and `headers` may be null."""
    promise = {
        "id": "x",
        "state": "pending",
        "param": {"headers": {}, "data": None},
        "value": {"headers": None, "data": None},
        "tags": {},
        "timeoutAt": 9,
        "createdAt": 1,
        "settledAt": None,
    }
    answer = {"kind": "promise.get", "head": {**HEAD, "status": 200}, "data": {"promise": promise, "task": None}}
    read = read_response(rq.PromiseGet(id="x"), "c1", answer).promise
    assert read is not None
    assert (read.param, read.value, read.settled_at) == (Value(), Value(), None)
