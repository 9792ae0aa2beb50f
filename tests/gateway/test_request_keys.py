"""The Idempotency-Key field, and the promise that remembers a key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonate_web.errors import InvalidKey
from resonate_web.gateway.messages import Headers, Request
from resonate_web.gateway.problems import problem_of
from resonate_web.gateway.request_keys import concrete_path, key_of, promise_id

UUID = "8e03978e-40d5-43dd-bc93-6894a57f9324"
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))

KEYS = [
    (UUID, UUID),
    (f'"{UUID}"', UUID),
    (f'  "{UUID}"\t', UUID),
    ("a", "a"),
    ('"a,b"', "a,b"),
    (r'"a\"b\\c"', r"a\"b\\c".replace(r"\"", '"').replace(r"\\", "\\")),
    ("base64+/==", "base64+/=="),
    ("order:42/retry?x=[1]", "order:42/retry?x=[1]"),
    ("k" * 255, "k" * 255),
    (f'"{"k" * 255}"', "k" * 255),
    ('"' + r"\\" * 255 + '"', "\\" * 255),
]

MALFORMED = [
    "",
    " ",
    '""',
    '"',
    '"a',
    'a"',
    'a"b',
    '"a"b"',
    r'"a\"',
    r'"a\b"',
    r"a\b",
    "a b",
    '"a b"',
    "a,b",
    "a, a",
    '"a", "a"',
    '"a";q=1',
    "a\x00",
    "a\x7f",
    '"a\nb"',
    "a\n",
    "é",
    '"é"',
    "٣",
    "k" * 256,
    f'"{"k" * 256}"',
    '"' + r"\\" * 256 + '"',
]


def asked(*fields: str) -> Request:
    return Request(method="POST", path="/pay", headers=Headers(("Idempotency-Key", field) for field in fields))


@pytest.mark.parametrize(("field", "key"), KEYS)
def test_a_key_is_taken_quoted_or_bare(field: str, key: str) -> None:
    """Both forms mean the same key; in quotes a backslash stands before a quote or another backslash."""
    assert key_of(asked(field)) == key


def test_no_field_is_no_key() -> None:
    """A request without the field has no key."""
    assert key_of(asked()) is None


@pytest.mark.parametrize("field", MALFORMED)
def test_what_is_no_key_is_refused(field: str) -> None:
    """Anything else is 400 and says what a key looks like, without repeating what was sent."""
    with pytest.raises(InvalidKey) as caught:
        key_of(asked(field))
    problem = problem_of(caught.value)
    assert problem.status == 400
    assert b'"urn:resonate-web:problem:idempotency-key-invalid"' in bytes(problem.body)  # type: ignore[arg-type]
    assert b"Idempotency-Key has 1 to" in problem.body or b"visible ASCII" in problem.body


def test_two_fields_are_no_key() -> None:
    """Which of two keys counts is not guessed, whether they are equal or not."""
    with pytest.raises(InvalidKey):
        key_of(asked("a", "a"))


@given(st.text(VISIBLE, min_size=1, max_size=255))
def test_every_visible_text_can_be_a_key(key: str) -> None:
    """What a client quotes by the rules is read as what it meant."""
    quoted = key.replace("\\", "\\\\").replace('"', '\\"')
    assert key_of(asked(f'"{quoted}"')) == key


@given(st.text())
def test_no_field_breaks_the_parser(field: str) -> None:
    """Whatever is sent is a key or a InvalidKey, never another error."""
    try:
        key = key_of(asked(field))
    except InvalidKey:
        return
    assert key is not None
    assert set(key) <= set(VISIBLE)


def test_the_promise_of_a_key_is_reserved_and_tells_nothing() -> None:
    """Its id begins with `~`, is short whatever the key, and is the same for every process."""
    id = promise_id("idem", "user:7", "POST", "/pay", "secret-key")
    assert id == promise_id("idem", "user:7", "post", "/pay", "secret-key")
    assert id.startswith("~idem/")
    assert len(id) == len(promise_id("idem", "u" * 500, "POST", "/p" * 500, "k" * 255)) == 70
    assert not {"secret-key", "user:7", "/pay"} & {id[i:j] for i in range(len(id)) for j in range(i, len(id) + 1)}


def test_a_key_counts_for_one_principal_method_and_path() -> None:
    """The same key of somebody else, or sent elsewhere, is another key; no value can pose as a neighbour."""
    scopes = [
        ("idem", "user:7", "POST", "/pay", "k"),
        ("start", "user:7", "POST", "/pay", "k"),
        ("idem", "user:8", "POST", "/pay", "k"),
        ("idem", None, "POST", "/pay", "k"),
        ("idem", "None", "POST", "/pay", "k"),
        ("idem", "null", "POST", "/pay", "k"),
        ("idem", "", "POST", "/pay", "k"),
        ("idem", "user:7", "PATCH", "/pay", "k"),
        ("idem", "user:7", "POST", "/pay/", "k"),
        ("idem", "user:7", "POST", "/pay", "K"),
        ("idem", "user:7", "POST", "/pa", "yk"),
        ("idem", 'user:7","POST', "POST", "/pay", "k"),
        ("idem", "user:7", "POST", '/pay","k', "k"),
    ]
    assert len({promise_id(*scope) for scope in scopes}) == len(scopes)


def test_the_path_is_the_one_that_the_client_sees() -> None:
    """Two apps mounted side by side over one store do not share keys."""
    assert concrete_path(Request(method="POST", path="/pay", root="/shop")) == "/shop/pay"


def test_a_path_may_hold_any_text() -> None:
    """Bytes that were no UTF-8 arrive as surrogates and still give an id."""
    assert promise_id("idem", None, "POST", "/\udcff", "k").startswith("~idem/")
