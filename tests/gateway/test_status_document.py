"""The status document: a pure function of what is recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from resonate_web.config import Settings
from resonate_web.gateway import status
from resonate_web.gateway.messages import Headers, Request
from resonate_web.gateway.pages import Pages
from resonate_web.gateway.watching import Watched, respond
from resonate_web.machine.state import TaskRow
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, TaskState, Value
from resonate_web.protocol.requests import Refusal
from resonate_web.resonate import Resonate
from resonate_web.resonate.view import RunView, view
from resonate_web.workflow.codec import Codec, to_data

CODEC = Codec()
START = 1_700_000_000_000
ID, LINK = "order/42", "/status/order/42?sig=x"


def promise(id: str = ID, state: PromiseState = PromiseState.PENDING, value: Value = EMPTY, **given: Any) -> Promise:
    settled_at = None if state is PromiseState.PENDING else given.get("settled_at", START + 2_500)
    return Promise(
        id=id,
        state=state,
        param=CODEC.encode({"func": given.get("func", "process"), "args": [], "kwargs": {}}),
        value=value,
        tags=given.get("tags", {"resonate:target": "poll://any@default"}),
        timeout_at=START + 10**12,
        created_at=given.get("created_at", START),
        settled_at=settled_at,
    )


def step(number: str, state: PromiseState = PromiseState.PENDING, value: Value = EMPTY, **given: Any) -> Promise:
    tags = {"resonate:scope": "local", "resonate:parent": ID, **given.pop("more", {})}
    return promise(f"{ID}:{number}", state, value, **{"func": "charge", "tags": tags, **given})


def attempt(number: int, next_at: int | None) -> Promise:
    document = {"name": "CardError", "message": "declined", "stack": "Traceback: secret", "next_at": next_at}
    return promise(
        f"{ID}:1@{number}",
        PromiseState.RESOLVED,
        Value(data=to_data(json.dumps(document))),
        tags={"resonate_web:attempt": str(number), "resonate:parent": f"{ID}:1"},
    )


def run_of(root: Promise, *children: Promise, task: TaskRow | None = None) -> RunView:
    return view(root.id, root, task, children)


def task(state: TaskState, *reasons: str) -> TaskRow:
    refusals = tuple(Refusal(pid="p", code="c", reason=reason) for reason in reasons)
    return TaskRow(id=ID, state=state, version=1, target="poll://any@default", refusals=refusals)


def test_a_run_that_has_just_begun() -> None:
    """Nothing is recorded but the run; every member but result and error is there."""
    assert status.document(run_of(promise()), ID, LINK) == {
        "id": "order/42",
        "status": "running",
        "reason": None,
        "done": False,
        "created_at": "2023-11-14T22:13:20.000Z",
        "updated_at": "2023-11-14T22:13:20.000Z",
        "steps": [],
        "approvals": [],
        "links": {"self": LINK},
    }


@pytest.mark.parametrize(
    ("root", "row", "expected"),
    [
        (promise(), task(TaskState.ACQUIRED), ("running", None, False)),
        (promise(), task(TaskState.SUSPENDED), ("waiting", None, False)),
        (promise(), task(TaskState.HALTED, "crashes its process"), ("blocked", "crashes its process", False)),
        (promise(state=PromiseState.RESOLVED), None, ("succeeded", None, True)),
        (promise(state=PromiseState.REJECTED), None, ("failed", None, True)),
        (promise(state=PromiseState.CANCELED), None, ("canceled", None, True)),
        (promise(state=PromiseState.TIMEDOUT), None, ("timedout", None, True)),
    ],
)
def test_the_status_of_a_run(root: Promise, row: TaskRow | None, expected: tuple[str, str | None, bool]) -> None:
    """Seven statuses; a reason only where an operator must act."""
    found = status.document(run_of(root, task=row), ID, LINK)
    assert (found["status"], found["reason"], found["done"]) == expected
    assert ("result" in found, "error" in found) == (
        expected[0] == "succeeded",
        expected[2] and expected[0] != "succeeded",
    )


def test_the_id_is_the_one_that_was_started() -> None:
    """A later try of a failed run is shown under the id that the client knows."""
    assert status.document(run_of(promise("order/42~2")), ID, LINK)["id"] == ID


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        ({"total": 3, "items": [1, "a", None, True]}, {"total": 3, "items": [1, "a", None, True]}),
        ({"when": datetime(1970, 1, 1, tzinfo=UTC)}, {"when": "1970-01-01T00:00:00+00:00"}),
        ([b"ab"], ["YWI="]),
        (
            {"__type": "mine", "value": {"__type": "x", "value": 1}},
            {"__type": "mine", "value": {"__type": "x", "value": 1}},
        ),
        ({"__type": "mine", "other": 1}, {"__type": "mine", "other": 1}),
    ],
)
def test_a_result_is_plain_json(value: object, shown: object) -> None:
    """A registered type is shown as its encoded form; a user's dict that looks like one is shown as it is."""
    root = promise(state=PromiseState.RESOLVED, value=CODEC.encode(value))
    assert status.document(run_of(root), ID, LINK)["result"] == shown


@pytest.mark.parametrize("data", ["%%%", to_data("{"), "/w==", to_data('{"__type":"dict","value":[1]}')])
def test_a_foreign_result_that_is_not_json_is_not_shown(data: str) -> None:
    """What another SDK stored in its own encoding breaks no status page; the document says why it is missing."""
    found = status.document(run_of(promise(state=PromiseState.RESOLVED, value=Value(data=data))), ID, LINK)
    assert "result" not in found
    assert found["reason"] == "the recorded result is not JSON and cannot be shown"


def test_a_foreign_nan_is_null() -> None:
    """The document is valid JSON, whatever was stored."""
    root = promise(state=PromiseState.RESOLVED, value=Value(data=to_data('{"a":NaN}')))
    assert status.document(run_of(root), ID, LINK)["result"] == {"a": None}


def test_an_error_has_type_and_message_only() -> None:
    """The traceback never leaves the server, neither that of the run nor that of a step or attempt."""
    try:
        raise ZeroDivisionError("secret_divisor")
    except ZeroDivisionError as error:
        failed = CODEC.encode_error(error)
    root = promise(state=PromiseState.REJECTED, value=failed)
    found = run_of(root, step("1"), attempt(1, START), step("2", PromiseState.REJECTED, failed))
    document = status.document(found, ID, LINK)
    assert document["error"] == {"type": "ZeroDivisionError", "message": "secret_divisor"}
    assert document["steps"][1]["error"] == {"type": "ZeroDivisionError", "message": "secret_divisor"}
    assert "Traceback" not in json.dumps(document)


def test_a_step_between_two_attempts() -> None:
    """A failed attempt is shown with its step: which comes next, when, and why."""
    found = run_of(promise(), step("1", created_at=START + 5), attempt(1, START + 7), attempt(2, START + 1_005))
    assert status.document(found, ID, LINK)["steps"] == [
        {
            "name": "charge",
            "kind": "step",
            "status": "running",
            "attempt": 3,
            "started_at": "2023-11-14T22:13:20.005Z",
            "finished_at": None,
            "error": {"type": "CardError", "message": "declined"},
            "next_attempt_at": "2023-11-14T22:13:21.005Z",
            "until": None,
        }
    ]


def test_a_step_that_succeeded_at_last() -> None:
    """The attempts are counted, the errors that were overcome are gone."""
    done = step("1", PromiseState.RESOLVED, CODEC.encode("ch_1"), settled_at=START + 1_500)
    [shown] = status.document(run_of(promise(), done, attempt(1, START)), ID, LINK)["steps"]
    assert (shown["status"], shown["attempt"], shown["error"], shown["next_attempt_at"]) == ("succeeded", 2, None, None)
    assert shown["finished_at"] == "2023-11-14T22:13:21.500Z"
    assert "ch_1" not in json.dumps(shown)  # results of steps are nobody's business


@pytest.mark.parametrize(
    ("tags", "kind", "state"),
    [
        ({"resonate:timer": "true"}, "sleep", "waiting"),
        ({"resonate:external": "true"}, "promise", "waiting"),
        ({"resonate:target": "poll://any@default"}, "rpc", "waiting"),
        ({"resonate:target": "poll://any@default", "resonate_web:detached": "true"}, "detached", "waiting"),
        ({"resonate:scope": "local"}, "step", "running"),
    ],
)
def test_what_is_pending_runs_or_waits(tags: dict[str, str], kind: str, state: str) -> None:
    """Only what has a body of its own in this run is running."""
    child = promise(f"{ID}:1", tags={**tags, "resonate:parent": ID})
    [shown] = status.document(run_of(promise(), child), ID, LINK)["steps"]
    assert (shown["kind"], shown["status"]) == (kind, state)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_234_567_890_123, "2009-02-13T23:31:30.123Z"),
        (2**63 - 1, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_instants_are_rfc_3339(ms: int, text: str) -> None:
    """Milliseconds are kept; what lies beyond the calendar is its end."""
    assert status.instant(ms) == text


def poll(found: RunView, condition: str | None = None) -> Any:
    fields = [] if condition is None else [("If-None-Match", condition)]
    core = Resonate(Settings(store="memory://"))
    watched = Watched(core, Request(method="GET", path="/", headers=Headers(fields)), ID, LINK)
    return core.on_thread.perform(respond(watched, found, Pages(""), None))


def test_a_poll_says_when_to_come_back() -> None:
    """Every answer can be revalidated, none may be shared; only a run that goes on is worth asking again."""
    running, waiting, done = (
        poll(run_of(promise())),
        poll(run_of(promise(), task=task(TaskState.SUSPENDED))),
        poll(run_of(promise(state=PromiseState.RESOLVED))),
    )
    assert [r.header("retry-after") for r in (running, waiting, done)] == ["1", "2", None]
    for response in (running, waiting, done):
        assert response.status == 200
        assert response.header("vary") == "Accept, Prefer"
        assert response.header("cache-control") == "private, no-cache"
        assert response.header("content-type") == "application/json"


def test_the_etag_is_strong_and_covers_the_bytes() -> None:
    """Equal bytes have equal tags; anything newly recorded changes them."""
    first, again, other = poll(run_of(promise())), poll(run_of(promise())), poll(run_of(promise(), step("1")))
    assert first.header("etag") == again.header("etag")
    assert first.header("etag") != other.header("etag")
    assert first.header("etag").startswith('"')


@pytest.mark.parametrize("condition", ["{tag}", "W/{tag}", '"a", {tag}', '"a",W/{tag}', "*"])
def test_a_client_that_has_the_bytes_gets_304(condition: str) -> None:
    """304 has no body and no type, but tag, caching and the next poll."""
    tag = poll(run_of(promise())).header("etag")
    response = poll(run_of(promise()), condition.format(tag=tag))
    assert (response.status, response.body) == (304, b"")
    assert response.header("etag") == tag
    assert response.header("vary") == "Accept, Prefer"
    assert response.header("cache-control") == "private, no-cache"
    assert response.header("content-type") is None


@pytest.mark.parametrize("condition", ['"a"', "{bare}", "", '"a", *'])
def test_any_other_condition_gets_the_document(condition: str) -> None:
    """A tag of other bytes, or none at all, does not match."""
    tag = poll(run_of(promise())).header("etag")
    assert poll(run_of(promise()), condition.format(bare=tag.strip('"'))).status == 200


def test_named_children_stand_where_they_were_made() -> None:
    """A promise has no number: it is shown before the step that it released, not after everything."""
    marks = {"resonate:scope": "global", "resonate:external": "true", "resonate:parent": ID}
    asked = promise(f"{ID}:@boss", func="boss", created_at=START + 5, tags=marks)
    late = promise(f"{ID}:@late", func="late", created_at=START + 90, tags=marks)
    steps = [step("1", created_at=START + 1), step("2", created_at=START + 9), step("10", created_at=START + 20)]
    shown = status.document(run_of(promise(), late, *steps, asked), ID, LINK)["steps"]
    assert [each["started_at"][-4:-1] for each in shown] == ["001", "005", "009", "020", "090"]
