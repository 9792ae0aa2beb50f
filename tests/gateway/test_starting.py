"""Starting a run from a request, on the real client in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from resonate_web.config import Settings
from resonate_web.errors import IdInUse, InvalidId, InvalidKey, KeyReused, NotRegistered, TooLarge, Unserializable
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


def start(
    core: Resonate, *args: Any, request: Request | None = None, id: str | None = "order/42", fn: Any = gated, **kw: Any
) -> Response:
    gateway = Gateway(core, secrets=lambda: SECRETS)
    flow = gateway.start(request or post(), id, fn, args or ({"id": 42},), {}, Options(**kw))
    return gateway.resonate.on_thread.perform(flow)


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


def keyed(core: Resonate, *args: Any, who: str | None = "ann", path: str = "/orders", key: str = "k1") -> Response:
    headers = Headers([("Idempotency-Key", key)])
    request = Request(method="POST", path=path, headers=headers, identify=lambda: who)
    return start(core, *args, request=request, id=None)


def test_a_key_names_the_run(core: Resonate) -> None:
    """The same key, quoted or bare, joins; the run's id tells nothing of the key."""
    first, again = keyed(core), keyed(core, key='"k1"')
    assert body(again)["id"] == body(first)["id"]
    assert again.header("idempotency-replayed") == "true"
    assert body(first)["id"].startswith("request/")
    assert "k1" not in body(first)["id"]


@pytest.mark.parametrize("scope", [{"who": "bob"}, {"who": None}, {"path": "/returns"}, {"key": "k2"}])
def test_a_key_counts_within_its_scope(core: Resonate, scope: dict[str, Any]) -> None:
    """The key of another principal, at another path, or another key is another run."""
    assert body(keyed(core, **scope))["id"] != body(keyed(core))["id"]


def test_a_key_with_other_contents_is_refused(core: Resonate) -> None:
    """422, not 409: it is the client that used its key twice."""
    keyed(core)
    with pytest.raises(KeyReused):
        keyed(core, {"id": 43})


def test_a_malformed_key_is_refused(core: Resonate) -> None:
    """Nothing is started under a key that cannot be read."""
    with pytest.raises(InvalidKey):
        keyed(core, key="")
    assert core.runs() == []


def test_without_a_key_each_request_is_its_own_run(core: Resonate) -> None:
    """No id and no key: nothing tells two requests apart, so they are two."""
    first, second = (start(core, request=post(), id=None) for _ in range(2))
    assert body(first)["id"] != body(second)["id"]


def test_a_view_that_names_the_id_ignores_the_key(core: Resonate) -> None:
    """Two keys, one id: one run."""
    start(core, request=post(Idempotency_Key="a"))
    again = start(core, request=post(Idempotency_Key="b"))
    assert again.header("idempotency-replayed") == "true"


def test_a_browser_is_sent_to_the_page(core: Resonate) -> None:
    """Who prefers HTML gets 303 to the status, whether the run is new or not."""
    link = body(start(core))["links"]["self"]
    for id in ("order/42", "order/43"):
        response = start(core, request=post(Accept="text/html,*/*;q=0.8"), id=id)
        assert (response.status, response.body) == (303, b"")
    assert start(core, request=post(Accept="text/html"), id="order/42").header("location") == link


def patient(prefer: str, patience_ms: int) -> Request:
    headers = Headers([("Prefer", prefer)])
    return Request(method="POST", path="/orders", headers=headers, patience_ms=patience_ms)


def test_a_client_may_wait_for_the_result(core: Resonate) -> None:
    """200 with the result if it is there in time; the first answer of all is not marked as replayed."""
    response = start(core, fn=other, request=patient("wait=10", 20_000))
    assert (response.status, body(response)["result"]) == (200, {"id": 42})
    assert response.header("preference-applied") == "wait"
    assert response.header("idempotency-replayed") is None


@pytest.mark.parametrize(
    ("prefer", "patience_ms", "applied"),
    [
        ("wait=10", 20, "wait"),
        ("wait=10, respond-async", 20, "wait"),
        ("respond-async", 20, "respond-async"),
        ("wait=10", 0, None),
        ("wait=soon", 20, None),
    ],
)
def test_a_run_that_takes_longer_is_accepted(
    core: Resonate, prefer: str, patience_ms: int, applied: str | None
) -> None:
    """202 when the time is over, saying which preference was applied."""
    response = start(core, request=patient(prefer, patience_ms))
    assert (response.status, response.header("preference-applied")) == (202, applied)
