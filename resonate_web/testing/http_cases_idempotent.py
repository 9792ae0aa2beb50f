"""Cases of `@resonate.idempotent`: one key, one execution of a handler that is no workflow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from resonate_web.testing.http_driver import Site
from resonate_web.testing.http_flows import MAX_BODY, MAX_STORED
from resonate_web.testing.servers import Answer

STORED = "Idempotency-Stored"


def an_answer_is_replayed(site: Site) -> None:
    """The same key and request: the very bytes of the first answer, marked, and the handler ran once."""
    first = paid(site, amount=5)
    again = paid(site, amount=5)
    assert (first.status, first.headers["Idempotency-Replayed"]) == (201, None)
    assert (again.status, again.headers["Idempotency-Replayed"], again.body) == (201, "true", first.body)
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    quoted = paid(site, f'"{site.id()}"', amount=5)
    assert quoted.body == first.body


def without_a_key_the_handler_just_runs(site: Site) -> None:
    """Each request is a charge of its own."""
    answers = [site.post("/payments/1", {"amount": 5}, X_User="ada") for _ in range(2)]
    assert answers[0].body != answers[1].body
    assert all(answer.headers["Idempotency-Replayed"] is answer.headers[STORED] is None for answer in answers)


def another_request_with_the_key_is_422(site: Site) -> None:
    """Another body, another query, another content type: refused, and nothing of the first is told."""
    paid(site, amount=5)
    answers = [
        paid(site, amount=6),
        paid(site, path="/payments/1?currency=usd", amount=5),
        site.post("/payments/1", b'{"amount":5}', **_fields(site.id()), Content_Type="application/json"),
    ]
    for answer in answers:
        assert (answer.status, answer.json["type"]) == (422, "urn:resonate-web:problem:idempotency-key-reused")
        assert b"ch_" not in answer.body


def keys_of_others_are_independent(site: Site) -> None:
    """Another person, path or method: the same key is another one."""
    answers = [
        paid(site, amount=5),
        paid(site, user="bob", amount=5),
        paid(site, path="/payments/2", amount=5),
        site.ask("PATCH", f"{site.root}/payments/1", {"amount": 5}, **_fields(site.id())),
    ]
    assert [answer.status for answer in answers] == [201] * 4
    assert len({answer.body for answer in answers}) == 4


def a_request_in_flight_is_409(site: Site) -> None:
    """While the first is answered the second is told to come back; then it gets the answer."""
    document = {"gate": "in-flight"}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(paid, site, told=False, **document)
        site.at_gate("in-flight")
        second = paid(site, **document)
        site.open_gate("in-flight")
        answer = first.result(30)
    assert (second.status, second.json["type"]) == (409, "urn:resonate-web:problem:idempotency-key-in-use")
    assert second.headers["Retry-After"].isdecimal()
    assert answer.status == 201
    assert paid(site, **document).body == answer.body


def refusals_that_may_be_over_are_not_stored(site: Site) -> None:
    """401, 403, 408, 413, 429 and every 5xx: the next request runs the handler again."""
    for status in (401, 403, 408, 413, 429, 500, 503):
        answers = [paid(site, site.id(str(status)), status=status) for _ in range(2)]
        assert [(answer.status, answer.headers[STORED]) for answer in answers] == [(status, "false")] * 2
        assert answers[0].body != answers[1].body, status


def other_refusals_are_stored(site: Site) -> None:
    """What the handler made of the request is its answer, 404 and 422 too; so are redirects."""
    for status, fields in ((400, {}), (404, {}), (409, {}), (422, {}), (303, {"Location": "/payments/7"})):
        answers = [paid(site, site.id(str(status)), status=status, fields=fields) for _ in range(2)]
        assert (answers[0].status, answers[0].body) == (status, answers[1].body)
        assert answers[1].headers["Location"] == fields.get("Location")
        assert answers[1].headers["Idempotency-Replayed"] == "true"


def only_some_fields_are_replayed(site: Site) -> None:
    """Cookies and what belongs to one moment are not; what describes the answer is."""
    fields = {
        "Set-Cookie": "session=secret",
        "X-Receipt": "r-1",
        "X-Request-Id": "once",
        "ETag": '"v1"',
        "Location": "/payments/7",
        "Content-Language": "de",
        "Link": "</payments/7>; rel=self",
        "Content-Type": "application/vnd.payment+json",
    }
    first, again = (paid(site, fields=fields) for _ in range(2))
    assert first.headers["Set-Cookie"] == "session=secret"
    assert [again.headers[name] for name in ("Set-Cookie", "X-Receipt", "X-Request-Id")] == [None] * 3
    for name in ("ETag", "Location", "Content-Language", "Link", "Content-Type"):
        assert again.headers[name] == fields[name], name


def an_answer_that_is_too_large_is_not_stored(site: Site) -> None:
    """It is passed on and says that it is not remembered; one that just fits is."""
    large = [paid(site, told=False, size=MAX_STORED + 1) for _ in range(2)]
    assert [(answer.status, answer.headers[STORED]) for answer in large] == [(201, "false")] * 2
    assert large[0].body != large[1].body
    fits = [paid(site, site.id("fits"), told=False, size=MAX_STORED) for _ in range(2)]
    assert (len(fits[0].body), fits[0].body) == (MAX_STORED, fits[1].body)


def a_streamed_answer_is_not_stored(site: Site) -> None:
    """It passes through, and says that it is not remembered."""
    answers = [paid(site, stream=True) for _ in range(2)]
    assert [(answer.status, answer.headers[STORED]) for answer in answers] == [(201, "false")] * 2
    assert answers[0].json != answers[1].json


def a_handler_that_breaks_frees_its_key(site: Site) -> None:
    """An exception is no answer: the next request runs the handler."""
    broken = paid(site, told=False, breaks=site.id())
    assert broken.status == 500
    assert paid(site, breaks=site.id()).status == 201


def strangers_are_refused(site: Site) -> None:
    """A handler that does not know who asks takes no key, unless it says so; without a key it runs."""
    refused = site.post("/payments/1", {"amount": 5}, told=False, Idempotency_Key=site.id())
    assert (refused.status, b"ch_" in refused.body) == (500, False)
    assert site.post("/payments/1", {"amount": 5}).status == 201
    first, again = (site.post("/tips", {"amount": 1}, Idempotency_Key=site.id()) for _ in range(2))
    assert (first.status, again.body) == (201, first.body)


def a_key_may_be_required(site: Site) -> None:
    """400 without one; the handler's own fields are replayed as it says."""
    missing = site.post("/tips", {"amount": 1})
    assert (missing.status, missing.json["type"]) == (400, "urn:resonate-web:problem:idempotency-key-missing")
    document = {"fields": {"X-Receipt": "r-1", "X-Other": "x"}}
    again = [site.post("/tips", document, Idempotency_Key=site.id()) for _ in range(2)][1]
    assert (again.headers["X-Receipt"], again.headers["X-Other"]) == ("r-1", None)


def malformed_keys_of_handlers_are_400(site: Site) -> None:
    """As for starts."""
    for key in ("", '""', "x" * 256, "a b", '"a", "b"'):
        answer = paid(site, key, amount=5)
        assert (answer.status, answer.json["type"]) == (400, "urn:resonate-web:problem:idempotency-key-invalid"), key


def large_requests_with_a_key_are_413(site: Site) -> None:
    """What does not fit into memory has no fingerprint; the handler does not run."""
    large = b'{"note": "%s"}' % (b"x" * MAX_BODY)
    answer = site.post("/payments/1", large, **_fields(site.id()), Content_Type="application/json")
    assert (answer.status, answer.json["type"]) == (413, "urn:resonate-web:problem:too-large")
    assert paid(site, amount=5).status == 201


def paid(
    site: Site,
    key: str | None = None,
    *,
    path: str = "/payments/1",
    user: str = "ada",
    told: object = True,
    **document: Any,
) -> Answer:
    """Post a payment under a key, by default the one of this case."""
    return site.post(path, document, told=told, **_fields(site.id() if key is None else key, user))


def _fields(key: str, user: str = "ada") -> dict[str, str]:
    return {"Idempotency_Key": key, "X_User": user}


IDEMPOTENT_CASES: tuple[Callable[[Site], None], ...] = (
    an_answer_is_replayed,
    without_a_key_the_handler_just_runs,
    another_request_with_the_key_is_422,
    keys_of_others_are_independent,
    a_request_in_flight_is_409,
    refusals_that_may_be_over_are_not_stored,
    other_refusals_are_stored,
    only_some_fields_are_replayed,
    an_answer_that_is_too_large_is_not_stored,
    a_streamed_answer_is_not_stored,
    a_handler_that_breaks_frees_its_key,
    strangers_are_refused,
    a_key_may_be_required,
    malformed_keys_of_handlers_are_400,
    large_requests_with_a_key_are_413,
)
