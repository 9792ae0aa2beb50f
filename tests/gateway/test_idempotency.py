"""A key's life: claimed, kept or given back, lost with its lease, forgotten; several processes over one store."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from resonate_web.errors import ConfigError, InvalidKey, KeyInUse, KeyMissing, KeyReused, TooLarge
from resonate_web.flow import Flow
from resonate_web.gateway import idempotency
from resonate_web.gateway.idempotency import Claim, Rules
from resonate_web.gateway.messages import Headers, Request, Response
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.protocol.requests import PromiseSearch
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation
from resonate_web.workflow.codec import from_data

TTL = 120_000
"""How long a key is remembered here, in ms."""
LEASE = 60_000
OPEN = Rules(allow_anonymous=True)


@pytest.fixture(params=["memory", "sqlite"])
def simulation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Simulation]:
    """Return a simulation over each kind of store."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/s.db"
    made = Simulation(store=url, sqlite_synchronous="NORMAL", request_key_ttl_ms=TTL, poll_ms=10_000)
    yield made
    made.close()


@pytest.fixture
def one(simulation: Simulation) -> Resonate:
    """Return the first process."""
    return simulation.client("one")


def asked(key: str | None = "k", body: bytes = b"{}", who: str | None = "ada", **changed: Any) -> Request:
    """Return a POST with a key."""
    fields = [("Content-Type", changed.pop("content_type", "application/json")), ("Content-Length", str(len(body)))]
    if key is not None:
        fields.append(("Idempotency-Key", key))
    defaults: dict[str, Any] = {"method": "POST", "path": "/pay", "read": lambda: body, "identify": lambda: who}
    return Request(headers=Headers(fields), **{**defaults, **changed})


def perform(resonate: Resonate, flow: Flow[Any]) -> Any:
    """Drive a flow on this thread."""
    return resonate.on_thread.perform(flow)


def claim(resonate: Resonate, request: Request | None = None, rules: Rules = OPEN) -> Any:
    """Claim the key of a request."""
    return perform(resonate, idempotency.claim(resonate, request or asked(), rules))


def claimed(resonate: Resonate, request: Request | None = None, rules: Rules = OPEN) -> Claim:
    """Claim the key of a request, which is free."""
    found = claim(resonate, request, rules)
    assert isinstance(found, Claim)
    return found


def keep(resonate: Resonate, held: Claim, response: Response | None, rules: Rules = OPEN) -> bool:
    """Store an answer."""
    return bool(perform(resonate, idempotency.keep(resonate, held, response, rules)))


def page(status: int = 201, body: bytes = b'{"id":1}', *headers: tuple[str, str]) -> Response:
    """Return an answer of a handler."""
    return Response(status=status, headers=(("Content-Type", "application/json"), *headers), body=body)


@dataclass
class Shop:
    """An application of one process whose handler counts how often it runs."""

    resonate: Resonate
    answer: Callable[[], Response] = page
    runs: list[Request] = field(default_factory=list)

    def ask(self, request: Request) -> Response:
        """Handle a request as an adapter does."""
        held = claim(self.resonate, request)
        if isinstance(held, Response):
            return held
        self.runs.append(request)
        response = self.answer()
        if held is not None:
            keep(self.resonate, held, response)
        return response


def stored(resonate: Resonate) -> list[Promise]:
    """Return every promise of the store."""
    return list(resonate.runtime.server.read(PromiseSearch(limit=1000))[0].promises)


def test_a_handler_runs_once_per_key(one: Resonate) -> None:
    """The second request gets the first one's status, body and type, and is told so."""
    shop = Shop(one)
    first, second = shop.ask(asked()), shop.ask(asked())
    assert len(shop.runs) == 1
    assert (second.status, second.body) == (first.status, first.body)
    assert second.headers == (
        ("Content-Type", "application/json"),
        ("Content-Length", "8"),
        ("Idempotency-Replayed", "true"),
    )


def test_the_answer_is_found_by_another_process(simulation: Simulation) -> None:
    """What one process stored, every other replays."""
    one, two = Shop(simulation.client("one")), Shop(simulation.client("two"))
    assert one.ask(asked()).body == two.ask(asked()).body
    assert (len(one.runs), len(two.runs)) == (1, 0)


OTHERS = [
    ({"key": "other"}, "another key"),
    ({"who": "bob"}, "another principal"),
    ({"who": None}, "nobody"),
    ({"method": "PATCH"}, "another method"),
    ({"path": "/pay/2"}, "another path"),
    ({"root": "/shop"}, "another mount point"),
]


@pytest.mark.parametrize("changed", [changed for changed, _ in OTHERS], ids=[name for _, name in OTHERS])
def test_a_key_counts_within_its_scope(one: Resonate, changed: dict[str, Any]) -> None:
    """The same key elsewhere, or of somebody else, is another one, whatever the body."""
    shop = Shop(one)
    shop.ask(asked())
    shop.ask(asked(**{"body": b"other", **changed}))
    assert len(shop.runs) == 2


REQUESTS = [({"body": b"{ }"}, "body"), ({"query": "a=1"}, "query"), ({"content_type": "text/plain"}, "content type")]


@pytest.mark.parametrize("changed", [changed for changed, _ in REQUESTS], ids=[name for _, name in REQUESTS])
def test_a_key_is_good_for_one_request(one: Resonate, changed: dict[str, Any]) -> None:
    """The same key with another request is refused while it runs, when it was answered, and when it was given back."""
    held = claimed(one)
    with pytest.raises(KeyReused):
        claim(one, asked(**changed))
    perform(one, idempotency.release(one, held))
    with pytest.raises(KeyReused):
        claim(one, asked(**changed))
    assert keep(one, claimed(one), page())
    with pytest.raises(KeyReused):
        claim(one, asked(**changed))


def test_parts_of_a_request_do_not_run_together(one: Resonate) -> None:
    """What moves from the query to the body makes another request."""
    keep(one, claimed(one, asked(query="ab", body=b"c")), page())
    with pytest.raises(KeyReused):
        claim(one, asked(query="a", body=b"bc"))


def test_the_application_may_say_what_makes_a_request(one: Resonate) -> None:
    """With `fingerprint=` bodies that differ in what does not matter are the same request."""
    rules = Rules(fingerprint=lambda native: json.loads(native)["order"])
    first = asked(body=b'{"order": "42", "sent": 1}', native=b'{"order": "42", "sent": 1}')
    again = asked(body=b'{"order": "42", "sent": 2}', native=b'{"order": "42", "sent": 2}')
    other = asked(body=b'{"order": "43", "sent": 1}', native=b'{"order": "43", "sent": 1}')
    keep(one, claimed(one, first, rules), page())
    assert isinstance(claim(one, again, rules), Response)
    with pytest.raises(KeyReused):
        claim(one, other, rules)


def test_a_fingerprint_is_a_text(one: Resonate) -> None:
    """Anything else is a mistake of the application and says so."""
    with pytest.raises(ConfigError, match="must return a text, not dict"):
        claim(one, asked(), Rules(fingerprint=lambda native: {}))


def test_a_request_in_flight_is_not_run_twice(simulation: Simulation) -> None:
    """While the first one runs, others are told to come again, in this process and in another."""
    one, two = simulation.client("one"), simulation.client("two")
    claimed(one)
    for resonate in (one, two):
        with pytest.raises(KeyInUse):
            claim(resonate)


def test_a_key_is_not_needed(one: Resonate) -> None:
    """Without one the handler just runs, also for nobody; nothing is stored."""
    assert claim(one, asked(None, who=None), Rules()) is None
    assert stored(one) == []


def test_a_key_may_be_required(one: Resonate) -> None:
    """Then a request without one is refused."""
    with pytest.raises(KeyMissing, match="Idempotency-Key"):
        claim(one, asked(None), Rules(required=True))


def test_a_malformed_key_is_refused(one: Resonate) -> None:
    """It is not ignored: the client believes that it may send the request again."""
    with pytest.raises(InvalidKey):
        claim(one, asked("a b"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_a_key_on_another_method_is_ignored(one: Resonate, method: str) -> None:
    """These are idempotent by themselves, even where keys are required."""
    assert claim(one, asked("not a key", method=method), Rules(required=True)) is None


def test_nobody_may_not_have_a_key(one: Resonate) -> None:
    """Without a principal one client could read another's answer; the error names both ways out."""
    with pytest.raises(ConfigError, match=r"RESONATE_PRINCIPAL.*allow_anonymous=True"):
        claim(one, asked(who=None), Rules())
    assert stored(one) == []


def test_a_body_over_the_limit_is_refused(simulation: Simulation) -> None:
    """Before anything is claimed; a body of unknown length is measured."""
    one = simulation.client("one", settings=simulation.settings)
    big = b"x" * (simulation.settings.max_body + 1)
    with pytest.raises(TooLarge):
        claim(one, asked(body=big))
    chunked = Request(
        method="POST",
        path="/pay",
        headers=Headers([("Idempotency-Key", "k"), ("Transfer-Encoding", "chunked")]),
        read=lambda: big,
    )
    with pytest.raises(TooLarge):
        claim(one, chunked)
    assert stored(one) == []


KEPT = [200, 201, 202, 204, 301, 303, 304, 400, 404, 405, 409, 410, 415, 422]
PASSED = [401, 403, 408, 413, 429, 500, 501, 502, 503, 504]


@pytest.mark.parametrize("status", KEPT)
def test_an_outcome_is_stored(one: Resonate, status: int) -> None:
    """A success, a redirection, and a refusal that the same request would get again."""
    body = b"" if status in (204, 304) else b"told"
    assert keep(one, claimed(one), page(status, body))
    replayed = claim(one)
    assert (replayed.status, replayed.body) == (status, body)
    assert replayed.header("content-length") == (None if status in (204, 304) else "4")


@pytest.mark.parametrize("status", PASSED)
def test_a_refusal_for_now_is_not_stored(one: Resonate, status: int) -> None:
    """The key is free at once, for the same request."""
    assert not keep(one, claimed(one), page(status))
    assert keep(one, claimed(one), page())


def test_what_is_stored_of_the_header(one: Resonate) -> None:
    """Fields that describe the answer, and those that the application adds; nothing of one client or one moment."""
    sent = [
        ("content-language", "en"),
        ("Location", "/pay/1"),
        ("Link", "</a>"),
        ("Link", "</b>"),
        ("ETag", '"1"'),
        ("Retry-After", "3"),
        ("X-Receipt", "7"),
        ("Set-Cookie", "a=b"),
        ("Date", "now"),
        ("Access-Control-Allow-Origin", "https://one.example"),
        ("X-RateLimit-Remaining", "3"),
        ("X-Request-ID", "1"),
    ]
    rules = Rules(allow_anonymous=True, headers=("x-receipt",))
    keep(one, claimed(one, rules=rules), page(201, b"{}", *sent), rules)
    assert claim(one, rules=rules).headers == (
        ("Content-Type", "application/json"),
        *sent[:7],
        ("Content-Length", "2"),
        ("Idempotency-Replayed", "true"),
    )


@pytest.mark.parametrize("name", ["Set-Cookie", "WWW-Authenticate", "Date", "Content-Length"])
def test_some_fields_are_never_replayed(name: str) -> None:
    """To ask for them is an error at once, not a leak later."""
    with pytest.raises(ConfigError, match=name.lower()):
        Rules(headers=("X-Receipt", name))


@pytest.mark.parametrize("body", [b"", b"plain", "ünï ✓".encode(), bytes(range(256)), b'{"__type":"error"}'])
def test_a_body_is_replayed_byte_for_byte(one: Resonate, body: bytes) -> None:
    """Whether it is text or not."""
    keep(one, claimed(one), page(200, body))
    assert claim(one).body == body


def test_an_answer_over_the_limit_is_not_stored(simulation: Simulation) -> None:
    """It is passed on, and the key is free; one byte less is stored."""
    one = simulation.client("one")
    limit = simulation.settings.max_stored_response
    assert not keep(one, claimed(one), page(200, b"x" * (limit + 1)))
    assert keep(one, claimed(one), page(200, b"x" * limit))


def test_a_stream_is_not_stored(one: Resonate) -> None:
    """It has no bytes to store; the key is free."""
    assert not keep(one, claimed(one), None)
    assert isinstance(claim(one), Claim)


def test_a_handler_that_failed_frees_its_key(one: Resonate) -> None:
    """The next request runs it again at once."""
    perform(one, idempotency.release(one, claimed(one)))
    assert isinstance(claim(one), Claim)


def test_a_dead_handler_frees_its_key_with_its_lease(simulation: Simulation) -> None:
    """One millisecond before the end it is still in use; then exactly one of those who ask runs it."""
    one, two, three = (simulation.client(name) for name in ("one", "two", "three"))
    two.ensure_started()
    claimed(one)
    simulation.freeze("one")
    simulation.pass_time(LEASE - 1)
    with pytest.raises(KeyInUse):
        claim(two)
    simulation.pass_time(1)
    assert isinstance(claim(three), Claim)
    with pytest.raises(KeyInUse):
        claim(two)


def test_a_killed_process_frees_its_keys_before(tmp_path: Path) -> None:
    """On one host its death is noticed: nobody waits for the lease."""
    simulation = Simulation(store=f"sqlite:///{tmp_path}/s.db", sqlite_synchronous="NORMAL")
    one, two = simulation.client("one"), simulation.client("two")
    two.ensure_started()
    claimed(one)
    simulation.kill("one")
    simulation.pass_time(simulation.settings.owner_check_ms)
    assert isinstance(claim(two), Claim)
    simulation.close()


def test_a_late_handler_stores_nothing(simulation: Simulation, caplog: pytest.LogCaptureFixture) -> None:
    """Its lease was over and another one runs: what that one answers is stored, and the log names the key's digest."""
    one, two = simulation.client("one"), simulation.client("two")
    late = claimed(one)
    simulation.pass_time(LEASE)
    second = claimed(two)
    assert (second.id, second.version) == (late.id, late.version + 1)
    with caplog.at_level(logging.WARNING):
        assert not keep(one, late, page(200, b"late"))
    assert late.id in caplog.text
    assert "RESONATE_IDEMPOTENT_LEASE_MS" in caplog.text
    assert keep(two, second, page(200, b"in time"))
    assert claim(one).body == b"in time"


def test_what_was_lost_with_its_lease_is_not_given_back(simulation: Simulation) -> None:
    """Also when nobody has taken the key meanwhile, a late handler neither stores nor frees it."""
    one = simulation.client("one")
    late = claimed(one)
    simulation.pass_time(LEASE)
    assert not keep(one, late, page())
    perform(one, idempotency.release(one, late))
    assert isinstance(claim(one), Claim)


def test_a_key_is_forgotten_after_its_time(simulation: Simulation) -> None:
    """Then the handler runs anew, for any request; before that the answer is replayed."""
    shop = Shop(simulation.client("one"))
    shop.ask(asked())
    simulation.pass_time(TTL - 1)
    shop.ask(asked())
    assert len(shop.runs) == 1
    simulation.pass_time(1)
    shop.ask(asked(body=b"another"))
    shop.ask(asked(body=b"another"))
    assert len(shop.runs) == 2
    simulation.pass_time(TTL)
    shop.ask(asked())
    shop.ask(asked())
    assert len(shop.runs) == 3


def test_a_key_whose_handler_never_answered_is_forgotten_too(simulation: Simulation) -> None:
    """That long after the first request, whatever became of it."""
    one = simulation.client("one")
    first = claimed(one)
    perform(one, idempotency.release(one, first))
    simulation.pass_time(TTL)
    second = claimed(one, asked(body=b"another"))
    assert second.id == f"{first.id}:2"
    assert not keep(one, first, page())


def test_the_next_key_is_of_the_tree_of_the_first(simulation: Simulation) -> None:
    """So pruning never removes the first promise of a key while a later one still counts."""
    one = simulation.client("one")
    keep(one, claimed(one), page())
    simulation.pass_time(TTL)
    held = claimed(one)
    ids = [promise.id for promise in stored(one)]
    assert ids == [held.id.removesuffix(":2"), held.id]
    assert {promise.tags["resonate:origin"] for promise in stored(one)} == {ids[0]}


def test_an_operator_can_free_a_key(one: Resonate) -> None:
    """To cancel its promise is to forget it."""
    held = claimed(one)
    assert one.promises.cancel(held.id).state is PromiseState.CANCELED
    assert claimed(one).id == f"{held.id}:2"


def test_nothing_of_the_key_is_in_the_store(one: Resonate) -> None:
    """Neither the key nor who sent it can be read there; the answer can."""
    keep(one, claimed(one, asked("secret-key", who="user:ada", body=b"secret-body")), page(201, b"told"))
    (promise,) = stored(one)
    assert promise.id.startswith("~idem/")
    assert not [word for word in ("secret", "ada", "/pay") if word in repr(promise)]
    assert "told" in from_data(promise.value.data or "")


def test_a_broken_store_does_not_take_the_answer_away(simulation: Simulation, caplog: pytest.LogCaptureFixture) -> None:
    """The handler has run, so its client gets the answer, unstored; a retry may run it again after the lease."""
    one = simulation.client("one")
    held = claimed(one)
    simulation.processes["one"].fault = lambda number: "unavailable"
    assert not keep(one, held, page())
    perform(one, idempotency.release(one, held))
    assert caplog.text.count(held.id) == 2
    simulation.processes["one"].fault = lambda number: None
    simulation.pass_time(LEASE)
    assert isinstance(claim(one), Claim)


def test_a_claim_of_unknown_outcome_runs_nothing_twice(simulation: Simulation) -> None:
    """If it was committed, the key is in use until the lease ends."""
    one = simulation.client("one")
    one.ensure_started()
    simulation.run_until_idle()
    process = simulation.processes["one"]
    process.fault = lambda number: "unknown"
    with pytest.raises(Exception, match="as the test asked for"):
        claim(one)
    process.fault = lambda number: None
    with pytest.raises(KeyInUse):
        claim(one)
    simulation.pass_time(LEASE)
    assert isinstance(claim(one), Claim)


@pytest.mark.parametrize("seed", range(20))
def test_one_of_many_runs(seed: int) -> None:
    """Whatever the order of things, with handlers that fail, die and are late: never two leases at once."""
    simulation = Simulation(seed=seed, idempotent_lease_ms=1_000)
    clients = [simulation.client(f"p{number}") for number in range(3)]
    dice = simulation.table.dice
    holders: list[tuple[Resonate, Claim, int]] = []
    answers: set[bytes] = set()
    for turn in range(60):
        resonate = dice.choice(clients)
        now = simulation.clock.now()
        try:
            found = claim(resonate)
        except KeyInUse:
            found = None
        if isinstance(found, Claim):
            assert not answers
            assert not [held for _, held, until in holders if until > now]
            holders.append((resonate, found, now + 1_000))
        elif isinstance(found, Response):
            answers.add(bytes(found.body))  # type: ignore[arg-type]
        if holders and dice.random() < 0.5:
            ended = dice.choice(holders)
            holders.remove(ended)
            who, held, until = ended
            if dice.random() < 0.6:
                perform(who, idempotency.release(who, held))
            elif keep(who, held, page(200, b"%d" % turn)):
                assert until > now
        simulation.pass_time(dice.choice([0, 100, 600]))
    assert len(answers) <= 1
    simulation.close()
