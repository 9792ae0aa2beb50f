"""Views under WSGI and ASGI: starting, joining, errors, methods, odd ids."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import workflows
from bookshop.models import Order
from django.core.handlers.asgi import ASGIRequest
from django.test import AsyncClient, Client

from resonate_web.config import Settings
from resonate_web.django import messages, resonate, site
from resonate_web.errors import TooLarge

Ask = Callable[..., Any]


@pytest.fixture(params=["wsgi", "asgi"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Return how to send one request, through Django's handler of each kind."""

    def sync(method: str, path: str, document: Any = None, **fields: str) -> Any:
        given: dict[str, Any] = {}
        if document is not None:
            given = {"data": json.dumps(document), "content_type": "application/json"}
        return Client(raise_request_exception=False).generic(method, path, headers=fields, **given)

    def on_loop(method: str, path: str, document: Any = None, **fields: str) -> Any:
        given: dict[str, Any] = {}
        if document is not None:
            given = {"data": json.dumps(document), "content_type": "application/json"}

        async def asked() -> Any:
            return await AsyncClient(raise_request_exception=False).generic(method, path, headers=fields, **given)

        return asyncio.run(asked())

    return sync if request.param == "wsgi" else on_loop


@pytest.mark.parametrize("route", ["start", "astart"])
def test_a_start_is_answered_with_a_link(ask: Ask, route: str) -> None:
    """A sync and an async view answer 202 under both handlers; the link leads to the result."""
    started = ask("POST", f"/{route}/quick", {"id": "order/1"})
    assert (started.status_code, started.json()["id"]) == (202, "order/1")
    assert resonate.get("order/1").result(5) == {"order": {"id": "order/1"}}
    shown = ask("GET", started["Location"])
    assert (shown.status_code, shown.json()["status"]) == (200, "succeeded")
    again = ask("POST", f"/{route}/quick", {"id": "order/1"})
    assert (again.status_code, again["Idempotency-Replayed"]) == (200, "true")
    assert ask("POST", f"/{route}/quick", {"id": "order/1", "other": 1}).status_code == 409


@pytest.mark.parametrize("route", ["start", "astart"])
def test_errors_of_clients_become_problems(ask: Ask, route: str) -> None:
    """An id that breaks the rules is a 400 problem document, from a sync view as from an async one."""
    answer = ask("POST", f"/{route}/quick", {"id": "a//b"})
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert answer.json()["type"] == "urn:resonate-web:problem:invalid-id"


@pytest.mark.parametrize("route", ["/unknown", "/aunknown"])
def test_an_error_of_ours_in_any_view_becomes_a_problem(ask: Ask, route: str) -> None:
    """Not only `start` raises them."""
    answer = ask("GET", route)
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_every_method_reaches_the_gateway(ask: Ask) -> None:
    """HEAD is GET without a body, OPTIONS is 204, others are 405 problems; Django's CSRF check is not asked."""
    location = ask("POST", "/start/asking", {"id": "a"})["Location"]
    head, got = ask("HEAD", location), ask("GET", location)
    assert (head.status_code, head.content, int(head["Content-Length"]) > 0) == (200, b"", True)
    assert got.status_code == 200
    options = ask("OPTIONS", location)
    assert (options.status_code, options["Allow"], options.content) == (204, "GET, HEAD, OPTIONS", b"")
    for method in ("DELETE", "BREW", "POST"):
        assert ask(method, location).status_code == 405


def test_what_is_not_ours_is_the_projects(ask: Ask) -> None:
    """A path with two slashes at its beginning, or beside our routes, is Django's 404 or ours, never an error."""
    assert ask("GET", "/status").status_code == 404
    assert ask("GET", "/status/").status_code == 404
    assert ask("GET", "/nothing").status_code == 404
    assert ask("GET", "/status//a").status_code == 404


def test_a_blocking_start_on_an_event_loop_is_refused() -> None:
    """The error names the call that is meant."""
    with pytest.raises(RuntimeError, match="astart"):
        asyncio.run(AsyncClient().get("/start-on-loop"))


def test_the_engine_starts_with_the_first_request_of_any_path(ask: Ask) -> None:
    """Even one that finds nothing."""
    assert not site.started
    ask("GET", "/nothing")
    assert site.started
    assert site.core.runtime.started


def test_autostart_off_starts_nothing(ask: Ask, configure: Ask) -> None:
    """Then only `ensure_started()` does."""
    configure(RESONATE={"AUTOSTART": "off"})
    ask("GET", "/nothing")
    assert not site.core.runtime.started


def test_a_store_that_is_away_does_not_take_the_project_down(ask: Ask, configure: Ask, tmp_path: Any) -> None:
    """Other routes answer; a start is 503 with a time to come again."""
    (tmp_path / "file").write_text("")
    configure(RESONATE={"STORE": f"sqlite:///{tmp_path}/file/resonate.db"})
    assert ask("GET", "/pid").status_code == 200
    answer = ask("POST", "/start/quick", {"id": "a"})
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")


def test_a_stream_is_an_iterator_of_its_handler(ask: Ask) -> None:
    """Events come as a streaming response, synchronous under WSGI, asynchronous under ASGI."""
    location = ask("POST", "/start/quick", {"id": "a"})["Location"]
    resonate.get("a").result(5)
    client = Client()
    answer: Any = client.get(location, headers={"accept": "text/event-stream"})
    assert answer["Content-Type"].startswith("text/event-stream")
    assert not answer.is_async
    assert b"succeeded" in b"".join(answer.streaming_content)

    async def streamed() -> bytes:
        answer: Any = await AsyncClient().get(location, headers={"accept": "text/event-stream"})
        assert answer.is_async
        return b"".join([chunk async for chunk in answer.streaming_content])

    assert b"succeeded" in asyncio.run(streamed())


def test_steps_see_the_database(ask: Ask) -> None:
    """The ORM works in a step and in an async step."""
    Order.objects.create(name="one")
    assert resonate.run("a", workflows.counting) == [1, 1]


def test_a_body_in_chunks_that_django_refuses_is_too_large() -> None:
    """Django has a limit of its own for what is read into memory; ours is the answer for it, too."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/start/quick",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")],
    }
    request = ASGIRequest(scope, io.BytesIO(b"x" * 3_000_000))
    with pytest.raises(TooLarge):
        messages.message(request, Settings(), bytes).read()
