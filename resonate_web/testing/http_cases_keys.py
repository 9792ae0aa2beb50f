"""Cases of starts whose id comes from the request's key."""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.testing.http_driver import Site


def a_key_names_the_run(site: Site) -> None:
    """The same key, quoted or bare, is the same run; the id tells nothing of the key."""
    order = {"quantity": 2}
    first = site.post("/keyed", order, Idempotency_Key=site.id())
    assert (first.status, first.headers["Idempotency-Replayed"]) == (202, None)
    site.reached(first.headers["Location"], told=False)
    for spelling in (site.id(), f'"{site.id()}"', f'  "{site.id()}" '):
        again = site.post("/keyed", order, Idempotency_Key=spelling)
        assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
        assert (again.headers["Location"], again.json["id"]) == (first.headers["Location"], first.json["id"])
    assert site.id() not in first.json["id"]


def a_key_with_another_body_is_422(site: Site) -> None:
    """The key of another order is refused and tells nothing."""
    site.post("/keyed", {"quantity": 1}, Idempotency_Key=site.id(), told=False)
    answer = site.post("/keyed", {"quantity": 2}, Idempotency_Key=site.id())
    assert (answer.status, answer.headers["Location"]) == (422, None)
    assert answer.json["type"] == "urn:resonate-web:problem:idempotency-key-reused"


def a_key_belongs_to_its_path(site: Site) -> None:
    """The same key at another path names another run."""
    order = {"quantity": 1}
    here = site.post("/keyed", order, Idempotency_Key=site.id())
    there = site.post("/keyed_too", order, Idempotency_Key=site.id())
    assert (here.status, there.status, there.headers["Idempotency-Replayed"]) == (202, 202, None)
    assert here.json["id"] != there.json["id"]


def a_key_belongs_to_its_person(site: Site) -> None:
    """One person's key means nothing to another: neither joined nor refused."""
    order = {"quantity": 1}
    ids = set()
    for fields in ({"X_User": "ada"}, {"X_User": "bob"}, {}):
        answer = site.post("/keyed", order, Idempotency_Key=site.id(), **fields)
        assert (answer.status, answer.headers["Idempotency-Replayed"]) == (202, None)
        ids.add(answer.json["id"])
    assert len(ids) == 3


def without_a_key_each_request_is_a_run(site: Site) -> None:
    """No key, a random id each time."""
    answers = [site.post("/keyed", {"quantity": 1}) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    assert answers[0].json["id"] != answers[1].json["id"]


def malformed_keys_are_400(site: Site) -> None:
    """Empty, too long, with blanks or commas, a list, an open quote: each is said to be malformed."""
    for key in (
        "",
        '""',
        "x" * 256,
        "a b",
        "a,b",
        '"a", "b"',
        '"open',
        'a"b',
        "é".encode().decode("latin-1"),
        '"a\\b"',
    ):
        answer = site.post("/keyed", {"quantity": 1}, Idempotency_Key=key)
        assert answer.status == 400, key
        assert answer.json["type"] == "urn:resonate-web:problem:idempotency-key-invalid"


def odd_keys_are_taken(site: Site) -> None:
    """255 characters, and in quotes also blanks, commas and escaped quotes."""
    ids = set()
    for key in (
        "x" * 255,
        '"a,b"',
        '"say:\\"hi\\""',
        '"back\\\\slash"',
        "a;b=c",
        "{8e03978e-40d5-43dd-bc93-6894a57f9324}",
    ):
        answer = site.post("/keyed", {"quantity": 1}, Idempotency_Key=key, X_User=site.id())
        assert (answer.status, answer.headers["Idempotency-Replayed"]) == (202, None), key
        ids.add(answer.json["id"])
    assert len(ids) == 6


KEY_CASES: tuple[Callable[[Site], None], ...] = (
    a_key_names_the_run,
    a_key_with_another_body_is_422,
    a_key_belongs_to_its_path,
    a_key_belongs_to_its_person,
    without_a_key_each_request_is_a_run,
    malformed_keys_are_400,
    odd_keys_are_taken,
)
