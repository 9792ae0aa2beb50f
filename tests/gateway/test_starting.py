"""Starting a run from a request, on the real client in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from resonate_web.config import Settings
from resonate_web.errors import IdInUse, InvalidId, NotRegistered, TooLarge, Unserializable
from resonate_web.gateway.messages import Headers, Request, Response
from resonate_web.gateway.routes import Gateway
from resonate_web.resonate import Options, Resonate

SECRETS = ["secret"]
WAIT_S = 10


def gated(ctx, order):
    gate = yield ctx.promise("gate")
    yield ctx.run(ctx.get_dependency("waiting").put, ctx.id)  # starts only when the promise is stored
    decision = yield gate
    if decision == "fail":
        raise ValueError("declined")
    return {"order": order, "decision": decision}


def other(ctx, order):
    return order
    yield


def make(**settings: Any) -> Resonate:
    core = Resonate(Settings(store="memory://", **settings))
    core.register(gated)
    core.register(other)
    return core


@pytest.fixture
def waiting() -> SimpleQueue[str]:
    return SimpleQueue()


@pytest.fixture
def core(waiting: SimpleQueue[str]) -> Iterator[Resonate]:
    made = make()
    made.set_dependency("waiting", waiting)
    yield made
    made.close()


def post(who: str | None = None, **fields: str) -> Request:
    headers = Headers((name.replace("_", "-"), value) for name, value in fields.items())
    return Request(method="POST", path="/orders", headers=headers, identify=lambda: who)


def start(core: Resonate, *args: Any, request: Request | None = None, id: str = "order/42", fn: Any = gated, **kw: Any):
    gateway = Gateway(core, secrets=lambda: SECRETS)
    return gateway.start(request or post(), id, fn, args or ({"id": 42},), {}, Options(**kw))


def body(response: Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    found: dict[str, Any] = json.loads(response.body)
    return found


def test_the_first_answer(core: Resonate) -> None:
    """202 with the status URL twice, when to ask, and the document of a run that has just begun."""
    response = start(core)
    link = Gateway(core, secrets=lambda: SECRETS).status_url("order/42")
    assert response.status == 202
    assert response.header("location") == response.header("operation-location") == link
    assert response.header("retry-after") == "1"
    assert response.header("idempotency-replayed") is None
    assert {k: body(response)[k] for k in ("id", "status", "done", "steps", "links")} == {
        "id": "order/42",
        "status": "running",
        "done": False,
        "steps": [],
        "links": {"self": link},
    }


def test_the_same_again_joins(core: Resonate) -> None:
    """The same id and arguments: the same run, the same Location, marked as replayed."""
    first, again = start(core), start(core)
    assert again.status == 202
    assert again.header("idempotency-replayed") == "true"
    assert again.header("location") == first.header("location")
    assert body(again)["id"] == body(first)["id"]
    assert body(again)["created_at"] == body(first)["created_at"]


def test_an_ended_run_answers_200(core: Resonate, waiting: SimpleQueue[str]) -> None:
    """Once the run has ended, the same POST gets its result and nothing to wait for."""
    first = start(core)
    waiting.get(timeout=WAIT_S)
    core.promises.resolve("order/42:@gate", "approve")
    assert core.get("order/42").result(WAIT_S) == {"order": {"id": 42}, "decision": "approve"}
    again = start(core)
    assert again.status == 200
    assert body(again)["result"] == {"order": {"id": 42}, "decision": "approve"}
    assert again.header("idempotency-replayed") == "true"
    assert again.header("location") == first.header("location")
    assert again.header("retry-after") is None


def test_a_failed_run_is_joined_or_tried_again(core: Resonate, waiting: SimpleQueue[str]) -> None:
    """A failure is an outcome like any other; only on_failed="new" starts the next try, under the same id and link."""
    first = start(core)
    waiting.get(timeout=WAIT_S)
    core.promises.resolve("order/42:@gate", "fail")
    with pytest.raises(ValueError, match="declined"):
        core.get("order/42").result(WAIT_S)
    joined = start(core)
    assert (joined.status, body(joined)["status"]) == (200, "failed")
    assert body(joined)["error"] == {"type": "ValueError", "message": "declined"}
    anew = start(core, on_failed="new")
    assert anew.status == 202
    assert anew.header("idempotency-replayed") is None
    assert anew.header("location") == first.header("location")
    assert (body(anew)["id"], body(anew)["done"]) == ("order/42", False)


@pytest.mark.parametrize("change", [{"fn": other}, {"args": [{"id": 43}]}, {"args": [{"id": 42}, 1]}])
def test_another_function_or_arguments_are_refused(core: Resonate, change: dict[str, Any]) -> None:
    """The id is taken: an error, never a silent join, and the first run is untouched."""
    start(core)
    before = core.view("order/42")
    with pytest.raises(IdInUse):
        start(core, *change.get("args", ()), fn=change.get("fn", gated))
    after = core.view("order/42")
    assert before is not None
    assert after is not None
    assert after.promise == before.promise


@pytest.mark.parametrize(("first", "second"), [("alice", "bob"), ("alice", None), (None, "bob")])
def test_nobody_joins_somebody_elses_run(core: Resonate, first: str | None, second: str | None) -> None:
    """The very same POST of another principal, or of nobody, learns nothing."""
    start(core, request=post(first))
    with pytest.raises(IdInUse):
        start(core, request=post(second))
    assert start(core, request=post(first)).header("idempotency-replayed") == "true"


def test_the_principal_is_stored_on_the_run(core: Resonate) -> None:
    """Access rules find the starter beside the caller's own tags."""
    start(core, request=post("alice"), tags={"shop": "berlin"})
    found = core.view("order/42")
    assert found is not None
    assert found.promise.tags["resonate_web:principal"] == "alice"
    assert found.promise.tags["shop"] == "berlin"


@pytest.mark.parametrize("id", ["", "a//b", "../a", "a/.", "/a", "a/", "a~2", "~a", "a:1", "a\nb", "x" * 201])
def test_a_bad_id_starts_nothing(core: Resonate, id: str) -> None:
    """Ids are judged before anything is stored."""
    with pytest.raises(InvalidId):
        start(core, id=id)
    assert core.runs() == []


def test_ids_are_compared_in_nfc(core: Resonate) -> None:
    """A decomposed spelling of an id is the same id."""
    first, again = start(core, id="caf\u00e9"), start(core, id="cafe\u0301")
    assert again.header("idempotency-replayed") == "true"
    assert again.header("location") == first.header("location")


def test_a_body_over_the_limit_starts_nothing(core: Resonate) -> None:
    """The announced length is enough; a body of unannounced length is counted."""
    limit = core.settings.max_body
    with pytest.raises(TooLarge, match=str(limit)):
        start(core, request=post(content_length=str(limit + 1)))
    chunked = Request(
        method="POST", path="/", headers=Headers([("Transfer-Encoding", "chunked")]), read=lambda: b"x" * (limit + 1)
    )
    with pytest.raises(TooLarge):
        start(core, request=chunked)
    assert core.runs() == []
    assert start(core, request=post(content_length=str(limit))).status == 202


def test_a_request_without_a_body_starts_a_run(core: Resonate) -> None:
    """No length and no body is fine, and the body is not read for it."""
    request = Request(method="POST", path="/", read=lambda: pytest.fail("read"))
    assert start(core, request=request).status == 202


def test_mistakes_of_the_view_are_its_errors(core: Resonate) -> None:
    """What the client can't help is no answer to the client; nothing is stored."""
    with pytest.raises(NotRegistered):
        start(core, fn="unknown")
    with pytest.raises(NotRegistered):
        start(core, fn=len)
    with pytest.raises(Unserializable):
        start(core, object())
    with pytest.raises(TooLarge):
        start(core, "x" * core.settings.max_body)
    assert core.runs() == []


def test_a_link_is_absolute_with_a_base_url() -> None:
    """RESONATE_BASE_URL decides, not the request's Host."""
    core = make(base_url="https://shop.example", status_access="public")
    response = start(core, request=post(host="evil.example"))
    core.close()
    assert response.header("location") == "https://shop.example/status/order/42"
