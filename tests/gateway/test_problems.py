"""Problem documents: the type of each error is a promise to clients."""

from __future__ import annotations

import json

import pytest

from resonate_web import errors
from resonate_web.gateway.messages import Response
from resonate_web.gateway.problems import ANSWERED, method_not_allowed, not_found, problem_of


def body(response: Response) -> dict[str, object]:
    assert isinstance(response.body, bytes)
    found: dict[str, object] = json.loads(response.body)
    return found


@pytest.mark.parametrize(
    ("error", "status", "type_", "tells"),
    [
        (errors.InvalidId("no '~'"), 400, "invalid-id", True),
        (errors.TooLarge("12 bytes"), 413, "too-large", True),
        (errors.IdInUse("of alice"), 409, "id-in-use", False),
        (errors.NotFound("order/42"), 404, "not-found", False),
        (errors.StoreUnavailable("/srv/db"), 503, "store-unavailable", False),
        (errors.Stopped("pid 7"), 503, "stopped", False),
        (errors.SchemaMismatch("/srv/db"), 500, "internal", False),
    ],
)
def test_each_error_has_its_problem(error: errors.ResonateError, status: int, type_: str, tells: bool) -> None:
    """Status and type follow the class; only what the client can act on is told."""
    response = problem_of(error)
    document = body(response)
    assert response.status == document["status"] == status
    assert response.header("content-type") == "application/problem+json"
    assert response.header("cache-control") == "no-store"
    assert document["type"] == f"urn:resonate-web:problem:{type_}"
    assert document["title"]
    assert document.get("detail") == (str(error) if tells else None)
    assert (response.header("retry-after") is not None) == (status == 503)


def test_the_answered_errors_are_the_clients() -> None:
    """No error that means a mistake in the server's code is turned into an answer."""
    assert {class_.status for class_ in ANSWERED} == {400, 403, 404, 409, 413, 422, 503}


def test_every_404_is_the_same() -> None:
    """What is unknown, forged and somebody else's can't be told apart."""
    assert problem_of(errors.NotFound("a")) == problem_of(errors.NotFound("b")) == not_found()


def test_a_default_message_is_not_repeated() -> None:
    """The title says it already."""
    assert "detail" not in body(problem_of(errors.TooLarge()))


def test_405_lists_the_methods() -> None:
    """A client learns what it may do."""
    response = method_not_allowed("GET, OPTIONS")
    assert (response.status, response.header("allow")) == (405, "GET, OPTIONS")
