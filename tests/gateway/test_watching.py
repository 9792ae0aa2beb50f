"""Looking at a run: polls that wait, streams of events and pages, on the real client in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import pytest

from resonate_web.config import Settings
from resonate_web.flow import Read, Until
from resonate_web.gateway.messages import Headers, Request, Response
from resonate_web.gateway.routes import Gateway
from resonate_web.gateway.waiting import changed
from resonate_web.resonate import Options, Resonate
from resonate_web.testing.servers import until

LONG_MS = 20_000


def two_gates(ctx):
    first = yield ctx.promise("first")
    second = yield ctx.promise("second")
    yield ctx.run(ctx.get_dependency("waiting").put, ctx.id)
    return [(yield first), (yield second)]


@pytest.fixture
def core() -> Iterator[Resonate]:
    made = Resonate(Settings(store="memory://", max_waits=2, status_access="public"))
    made.register(two_gates)
    made.set_dependency("waiting", SimpleQueue())
    yield made
    made.close()


@pytest.fixture
def gateway(core: Resonate) -> Gateway:
    gateway = Gateway(core, secrets=lambda: ["secret"])
    core.on_thread.perform(gateway.start(Request(method="POST", path="/"), "order/1", two_gates, (), {}, Options()))
    core._dependencies["waiting"].get(timeout=10)  # type: ignore[attr-defined]
    until(lambda: (found := core.view("order/1")) is not None and found.status == "waiting")
    return gateway


def ask(gateway: Gateway, patience_ms: int = LONG_MS, method: str = "GET", **fields: str) -> Response:
    parts = urlsplit(gateway.status_url("order/1"))
    headers = Headers((name.replace("_", "-"), value) for name, value in fields.items())
    request = Request(
        method=method,
        path=parts.path,
        query=parts.query,
        headers=headers,
        patience_ms=patience_ms,
        stream_ms=patience_ms,
    )
    flow = gateway.handle(request)
    assert flow is not None
    return gateway.resonate.on_thread.perform(flow)


def stream(gateway: Gateway, patience_ms: int = LONG_MS, **fields: str) -> Iterator[dict[str, str]]:
    """Iterate over the events of a stream, as an EventSource reads them; comments and `retry` too."""
    response = ask(gateway, patience_ms, Accept="text/event-stream", **fields)
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    assert not isinstance(response.body, bytes)
    for chunk in gateway.resonate.on_thread.chunks(response.body):
        assert chunk.endswith(b"\n\n")
        yield dict(line.split(": ", 1) for line in chunk.decode().strip().splitlines())


def document(response: Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    found: dict[str, Any] = json.loads(response.body)
    return found


def test_a_poll_waits_for_the_end(gateway: Gateway) -> None:
    """With `Prefer: wait` the answer comes when the run has ended, and says that it waited."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, gateway, Prefer="wait=15")
        gateway.resonate.promises.resolve("order/1:@first", 1)
        gateway.resonate.promises.resolve("order/1:@second", 2)
        response = answer.result(15)
    assert (response.status, response.header("preference-applied")) == (200, "wait")
    assert document(response)["result"] == [1, 2]


def test_a_wait_ends_with_the_servers_patience(gateway: Gateway) -> None:
    """A run that does not end in time is answered as it is."""
    response = ask(gateway, 30, Prefer="wait=3600")
    assert (response.status, response.header("preference-applied")) == (200, "wait")
    assert document(response)["status"] == "waiting"


def test_who_has_the_newest_document_waits_for_a_change(gateway: Gateway) -> None:
    """A conditional poll that waits gets the next document, though the run goes on; without a change, 304."""
    etag = ask(gateway).header("etag")
    assert etag is not None
    assert ask(gateway, 30, Prefer="wait=9", If_None_Match=etag).status == 304
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, gateway, Prefer="wait=15", If_None_Match=etag)
        gateway.resonate.promises.resolve("order/1:@first", 1)
        response = answer.result(15)
    assert response.status == 200
    assert [step["status"] for step in document(response)["steps"] if step["name"] == "first"] == ["succeeded"]
    assert document(response)["done"] is False


def test_without_patience_or_a_place_nobody_waits(gateway: Gateway) -> None:
    """Where waiting would hold the only thread, or all places are taken, the answer comes at once."""
    assert ask(gateway, 0, Prefer="wait=9").header("preference-applied") is None
    streams = [stream(gateway), stream(gateway)]
    for each in streams:
        assert [next(each).keys(), next(each)["event"]] == [{"retry"}, "status"]
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(lambda each=each: next(each, None)) for each in streams]  # type: ignore[misc]
        assert ask(gateway, Prefer="wait=9").header("preference-applied") is None
        assert [set(event) for event in stream(gateway)] == [{"retry"}, {"event", "id", "data"}]
        gateway.resonate.promises.resolve("order/1:@first", 1)
        assert all(each.result(15)["event"] == "status" for each in waiting)  # type: ignore[index]
    for each in streams:
        each.close()  # type: ignore[attr-defined]
    assert ask(gateway, 10, Prefer="wait=9").header("preference-applied") == "wait"


def test_a_stream_tells_every_change_until_the_end(gateway: Gateway) -> None:
    """One event for each change with the whole document, then `done`; ids are those of the documents."""
    events = stream(gateway)
    assert next(events) == {"retry": "2000"}
    first = next(events)
    assert first["event"] == "status"
    assert f'"{first["id"]}"' == ask(gateway).header("etag")
    gateway.resonate.promises.resolve("order/1:@first", 1)
    gateway.resonate.promises.resolve("order/1:@second", 2)
    rest = list(events)
    assert [event["event"] for event in rest][-2:] == ["status", "done"]
    assert json.loads(rest[-2]["data"])["result"] == [1, 2]
    assert len({event["id"] for event in [first, *rest[:-1]]}) == len(rest)


def test_who_comes_back_gets_what_has_changed(gateway: Gateway) -> None:
    """The last id that was seen is not sent again; after the end there is nothing to come back for."""
    events = stream(gateway)
    next(events)
    seen = next(events)["id"]
    events.close()  # type: ignore[attr-defined]
    assert [set(event) for event in stream(gateway, 0, Last_Event_ID=seen)] == [{"retry"}]
    gateway.resonate.promises.resolve("order/1:@first", 1)
    gateway.resonate.promises.resolve("order/1:@second", 2)
    ended = list(stream(gateway, Last_Event_ID=seen))
    assert [event.get("event") for event in ended][-2:] == ["status", "done"]
    response = ask(gateway, Accept="text/event-stream", Last_Event_ID=ended[-1]["id"])
    assert (response.status, response.body) == (204, b"")


def test_a_stream_ends_when_the_server_wants_its_thread(gateway: Gateway) -> None:
    """After the server's time for streams it ends without `done`, and the client comes back."""
    assert [event.get("event") for event in stream(gateway, 30)][:2] == [None, "status"]


def test_a_browser_gets_a_page(gateway: Gateway) -> None:
    """The page refreshes itself as long as the run goes on, unless it was asked to be still."""
    page = ask(gateway, Accept="text/html")
    assert page.header("content-type") == "text/html; charset=utf-8"
    assert page.header("cache-control") == "no-store"
    assert "frame-ancestors 'none'" in (page.header("content-security-policy") or "")
    assert isinstance(page.body, bytes)
    assert b"order/1" in page.body
    assert b'http-equiv="refresh"' in page.body


def test_a_head_starts_no_stream(gateway: Gateway) -> None:
    """HEAD of a stream has its fields and no body."""
    response = ask(gateway, method="HEAD", Accept="text/event-stream")
    assert (response.status, response.body) == (200, b"")


def test_nobody_is_kept_in_mind(gateway: Gateway) -> None:
    """Whoever gave up waiting, or closed a stream, leaves nothing behind in the server."""
    ask(gateway, 10, Prefer="wait=1")
    ask(gateway, 10, Prefer="wait=1", If_None_Match=ask(gateway).header("etag") or "")
    list(stream(gateway, 10))
    server = gateway.resonate.runtime.server
    assert server.watched() == []
    assert server.followers.runs() == []


def test_a_wait_that_was_cut_is_not_begun_again(core: Resonate, gateway: Gateway) -> None:
    """A server that wants to end lets nobody wait: a poll that looked again and again would hold it up."""
    flow = changed(core, Request(method="GET", path="/", patience_ms=LONG_MS), "order/1", LONG_MS, lambda: True)
    wanted = next(flow)
    while not isinstance(wanted, Until):
        wanted = flow.send(wanted.call() if isinstance(wanted, Read) else True)
    with pytest.raises(StopIteration) as ended:
        flow.send(False)
    assert ended.value.value is True
