"""What an idempotent handler does under every framework, as functions that take a `Shop`.

@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_my_framework(case, shop):
    case(shop)

A framework's test builds one route per entry of `HANDLERS`, `POST` and `PATCH` and `GET /<name>/<number>`, decorated
with the entry's rules. The principal is the field `X-User`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from resonate_web.gateway.messages import Headers

PIECE = b"piece\n"


class Missing(Exception):
    """Raised by a handler: its framework's own 404 is to be raised instead."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers: several pieces stand for a stream."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    pieces: Sequence[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What a client got."""

    status: int
    headers: Headers
    body: bytes

    @property
    def slug(self) -> str:
        """Return the last part of a problem's type."""
        return str(json.loads(self.body)["type"]).rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class Handler:
    """One route of the shop: the decorator's arguments, and what it answers the n-th time to a body."""

    answer: Callable[[int, bytes], Reply]
    rules: Mapping[str, Any] = field(default_factory=lambda: {"allow_anonymous": True})


class Shop(Protocol):
    """An application of one framework."""

    runs: list[str]
    """The names of the handlers that ran, in order."""

    def ask(self, method: str, path: str, body: bytes = b"{}", /, **fields: str) -> Answered:
        """Send a request; `Idempotency_Key=` and the like are its fields, by default its type is JSON."""
        ...


def _paid(number: int, body: bytes) -> Reply:
    """Answer with what is different each time, so that a second run cannot pass for a replay."""
    told = json.dumps({"run": number, "got": body.decode()}).encode()
    fields = (("Content-Type", "application/json"), ("Location", f"/paid/{number}"), ("X-Receipt", f"r{number}"))
    return Reply(201, told, (*fields, ("Set-Cookie", f"visit={number}")))


def _then_fine(first: int) -> Callable[[int, bytes], Reply]:
    return lambda number, body: Reply(first if number == 1 else 200, b"run %d" % number)


def _broken(number: int, body: bytes) -> Reply:
    if number == 1:
        raise RuntimeError("as the test asked for")
    return Reply(200, b"run %d" % number)


def _missing(number: int, body: bytes) -> Reply:
    raise Missing


HANDLERS: Mapping[str, Handler] = {
    "pay": Handler(_paid),
    "receipt": Handler(_paid, {"allow_anonymous": True, "headers": ("X-Receipt",)}),
    "strict": Handler(_paid, {"allow_anonymous": True, "required": True}),
    "guarded": Handler(_paid, {}),
    "binary": Handler(lambda number, body: Reply(200, bytes(range(256)) + b"%d" % number)),
    "empty": Handler(lambda number, body: Reply(204)),
    "refused": Handler(lambda number, body: Reply(409, b"run %d" % number)),
    "missing": Handler(_missing),
    "broken": Handler(_broken),
    "limited": Handler(_then_fine(429)),
    "failing": Handler(_then_fine(503)),
    "large": Handler(lambda number, body: Reply(200, b"%d" % number + b"x" * 262_144)),
    "stream": Handler(lambda number, body: Reply(200, pieces=[b"%d" % number, PIECE, PIECE])),
    "endless": Handler(lambda number, body: Reply(200, pieces=[b"%d" % number] + [b"x" * 65_536] * 8)),
}

KEY: Mapping[str, Any] = {"Idempotency_Key": "k"}


def a_handler_runs_once(shop: Shop) -> None:
    """The second answer is the first one, marked as a replay; the handler did not run."""
    first, second = shop.ask("POST", "/pay/1", b'{"a":1}', **KEY), shop.ask("POST", "/pay/1", b'{"a":1}', **KEY)
    assert (first.status, json.loads(first.body)) == (201, {"run": 1, "got": '{"a":1}'})
    assert (second.status, second.body) == (first.status, first.body)
    assert shop.runs == ["pay"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-stored" not in first.headers


def a_replay_has_the_allowed_fields(shop: Shop) -> None:
    """Type and location come again; the cookie and the application's own fields do not."""
    first, second = shop.ask("POST", "/pay/1", **KEY), shop.ask("POST", "/pay/1", **KEY)
    assert first.headers["x-receipt"] == "r1"
    assert first.headers["set-cookie"].startswith("visit=1")
    assert second.headers["content-type"] == first.headers["content-type"] == "application/json"
    assert second.headers["location"] == first.headers["location"]
    assert "set-cookie" not in second.headers
    assert "x-receipt" not in second.headers


def a_rule_adds_fields(shop: Shop) -> None:
    """What `headers=` names comes again."""
    shop.ask("POST", "/receipt/1", **KEY)
    assert shop.ask("POST", "/receipt/1", **KEY).headers["x-receipt"] == "r1"


def quoted_and_bare_are_one_key(shop: Shop) -> None:
    """Clients of either habit may share it."""
    shop.ask("POST", "/pay/1", Idempotency_Key='"k"')
    assert shop.ask("POST", "/pay/1", Idempotency_Key="k").headers["idempotency-replayed"] == "true"


def patch_is_kept_too(shop: Shop) -> None:
    """And apart from POST."""
    for method in ("PATCH", "POST", "PATCH", "POST"):
        shop.ask(method, "/pay/1", **KEY)
    assert shop.runs == ["pay", "pay"]


def get_ignores_a_key(shop: Shop) -> None:
    """Even one that is none, and where a key is required."""
    for _ in range(2):
        assert shop.ask("GET", "/strict/1", b"", Idempotency_Key="not a key").status == 201
    assert shop.runs == ["strict", "strict"]


def without_a_key_it_runs(shop: Shop) -> None:
    """Each time, also for nobody."""
    for _ in range(2):
        assert "idempotency-stored" not in shop.ask("POST", "/guarded/1").headers
    assert shop.runs == ["guarded", "guarded"]


def a_required_key_is_asked_for(shop: Shop) -> None:
    """400, and the handler does not run."""
    answer = shop.ask("POST", "/strict/1")
    assert (answer.status, answer.slug, shop.runs) == (400, "idempotency-key-missing", [])
    assert answer.headers["content-type"] == "application/problem+json"
    assert shop.ask("POST", "/strict/1", **KEY).status == 201


def a_malformed_key_is_refused(shop: Shop) -> None:
    """400, and the handler does not run."""
    answer = shop.ask("POST", "/pay/1", Idempotency_Key="a b")
    assert (answer.status, answer.slug, shop.runs) == (400, "idempotency-key-invalid", [])


def nobody_has_no_key(shop: Shop) -> None:
    """Where strangers may not share keys, it is an error of the application: 500."""
    assert shop.ask("POST", "/guarded/1", **KEY).status == 500
    assert shop.ask("POST", "/guarded/1", X_User="ada", **KEY).status == 201
    assert shop.runs == ["guarded"]


def another_body_is_refused(shop: Shop) -> None:
    """422 for another body, another query and another type; the first answer is still there."""
    shop.ask("POST", "/pay/1", b'{"a":1}', **KEY)
    others = [
        shop.ask("POST", "/pay/1", b'{"a":2}', **KEY),
        shop.ask("POST", "/pay/1?x=1", b'{"a":1}', **KEY),
        shop.ask("POST", "/pay/1", b'{"a":1}', Content_Type="text/plain", **KEY),
    ]
    assert [(other.status, other.slug) for other in others] == [(422, "idempotency-key-reused")] * 3
    assert shop.runs == ["pay"]
    assert shop.ask("POST", "/pay/1", b'{"a":1}', **KEY).status == 201


def one_key_of_two_people(shop: Shop) -> None:
    """Neither reads the other's answer, nor learns that there is one."""
    ada, bob = (shop.ask("POST", "/pay/1", who.encode(), X_User=who, **KEY) for who in ("ada", "bob"))
    assert json.loads(ada.body)["got"] == "ada"
    assert json.loads(bob.body)["got"] == "bob"
    assert shop.runs == ["pay", "pay"]


def one_key_at_two_paths(shop: Shop) -> None:
    """The concrete path counts, not the route."""
    for path in ("/pay/1", "/pay/2", "/receipt/1"):
        assert "idempotency-replayed" not in shop.ask("POST", path, **KEY).headers
    assert shop.runs == ["pay", "pay", "receipt"]


def bytes_come_again_as_they_were(shop: Shop) -> None:
    """Whatever they are."""
    first, second = shop.ask("POST", "/binary/1", **KEY), shop.ask("POST", "/binary/1", **KEY)
    assert first.body == second.body == bytes(range(256)) + b"1"


def an_empty_answer_comes_again(shop: Shop) -> None:
    """204 has no body and no length."""
    first, second = shop.ask("POST", "/empty/1", **KEY), shop.ask("POST", "/empty/1", **KEY)
    assert (first.status, second.status, second.body) == (204, 204, b"")
    assert second.headers["idempotency-replayed"] == "true"
    assert shop.runs == ["empty"]


def a_refusal_is_an_outcome(shop: Shop) -> None:
    """A 409 of the handler is stored."""
    first, second = shop.ask("POST", "/refused/1", **KEY), shop.ask("POST", "/refused/1", **KEY)
    assert (first.status, second.status, second.body) == (409, 409, b"run 1")
    assert shop.runs == ["refused"]


def a_raised_404_is_an_outcome(shop: Shop) -> None:
    """What the framework makes of its own exception is stored."""
    first, second = shop.ask("POST", "/missing/1", **KEY), shop.ask("POST", "/missing/1", **KEY)
    assert (first.status, second.status) == (404, 404)
    assert first.body == second.body
    assert shop.runs == ["missing"]


def an_error_frees_the_key(shop: Shop) -> None:
    """The next request runs the handler again, at once."""
    assert shop.ask("POST", "/broken/1", **KEY).status == 500
    assert shop.ask("POST", "/broken/1", **KEY).body == b"run 2"
    assert shop.ask("POST", "/broken/1", **KEY).body == b"run 2"
    assert shop.runs == ["broken", "broken"]


def what_may_be_over_soon_frees_the_key(shop: Shop) -> None:
    """429 and 503 are passed on, say that they are not stored, and the next request runs the handler again."""
    for name, status in (("limited", 429), ("failing", 503)):
        first = shop.ask("POST", f"/{name}/1", **KEY)
        assert (first.status, first.body, first.headers["idempotency-stored"]) == (status, b"run 1", "false")
        second, third = shop.ask("POST", f"/{name}/1", **KEY), shop.ask("POST", f"/{name}/1", **KEY)
        assert (second.status, second.body, third.body) == (200, b"run 2", b"run 2")


def a_key_stays_with_its_request(shop: Shop) -> None:
    """Also when the first try was not stored."""
    shop.ask("POST", "/limited/1", b"one", **KEY)
    assert shop.ask("POST", "/limited/1", b"two", **KEY).status == 422


def a_large_answer_is_passed_on(shop: Shop) -> None:
    """Whole, and saying that it is not stored; a retry runs the handler again."""
    for number in (b"1", b"2"):
        answer = shop.ask("POST", "/large/1", **KEY)
        assert (answer.body, answer.headers["idempotency-stored"]) == (number + b"x" * 262_144, "false")


def a_stream_is_passed_on(shop: Shop) -> None:
    """In all its pieces, and saying that it is not stored; a retry runs the handler again."""
    for name, rest in (("stream", PIECE * 2), ("endless", b"x" * 65_536 * 8)):
        for number in (b"1", b"2"):
            answer = shop.ask("POST", f"/{name}/1", **KEY)
            assert (answer.body, answer.headers["idempotency-stored"]) == (number + rest, "false")


def a_large_request_is_refused(shop: Shop) -> None:
    """413, and the handler does not run; one byte less is taken. Without a key nobody looks."""
    answer = shop.ask("POST", "/pay/1", b"x" * 1_048_577, **KEY)
    assert (answer.status, answer.slug, shop.runs) == (413, "too-large", [])
    assert shop.ask("POST", "/pay/1", b"x" * 1_048_576, **KEY).status == 201
    assert shop.ask("POST", "/pay/1", b"x" * 1_048_577).status == 201


CASES: Sequence[Callable[[Shop], None]] = (
    a_handler_runs_once,
    a_replay_has_the_allowed_fields,
    a_rule_adds_fields,
    quoted_and_bare_are_one_key,
    patch_is_kept_too,
    get_ignores_a_key,
    without_a_key_it_runs,
    a_required_key_is_asked_for,
    a_malformed_key_is_refused,
    nobody_has_no_key,
    another_body_is_refused,
    one_key_of_two_people,
    one_key_at_two_paths,
    bytes_come_again_as_they_were,
    an_empty_answer_comes_again,
    a_refusal_is_an_outcome,
    a_raised_404_is_an_outcome,
    an_error_frees_the_key,
    what_may_be_over_soon_frees_the_key,
    a_key_stays_with_its_request,
    a_large_answer_is_passed_on,
    a_stream_is_passed_on,
    a_large_request_is_refused,
)
