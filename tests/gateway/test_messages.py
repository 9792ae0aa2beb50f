"""The request and response values."""

from __future__ import annotations

import pytest

from resonate_web.gateway.messages import Headers, Request, Response, answer, encoded


def test_header_names_have_no_case() -> None:
    """A field is found however it is written."""
    headers = Headers([("If-None-Match", '"a"')])
    assert headers["if-none-match"] == headers["IF-NONE-MATCH"] == '"a"'
    assert "iF-nOnE-mAtCh" in headers
    assert headers.get("accept") is None
    assert [name for name in (object(), "accept") if name in headers] == []
    assert (list(headers), len(headers)) == (["if-none-match"], 1)


def test_a_field_sent_twice_is_a_list() -> None:
    """Repeated fields are joined by a comma, in order."""
    assert Headers([("Accept", "a"), ("accept", "b")])["Accept"] == "a, b"


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("sig=a", "a"),
        ("x=1&sig=a&sig=b", "a"),
        ("sig=a%2Bb", "a+b"),
        ("sig=", ""),
        ("sig", ""),
        ("", None),
        ("x=1", None),
    ],
)
def test_an_argument_is_the_first_of_its_name(query: str, value: str | None) -> None:
    """Query parameters are decoded once; an empty one is there, an absent one is None."""
    assert Request(method="GET", path="/", query=query).argument("sig") == value


def test_a_request_without_body_and_identity() -> None:
    """What an adapter does not give reads as nothing."""
    request = Request(method="GET", path="/")
    assert (request.read(), request.identify(), request.root, dict(request.headers)) == (b"", None, "", {})


def test_an_answer_carries_what_every_body_needs() -> None:
    """Type, length in bytes, no sniffing; then the fields of the caller."""
    response = answer(200, "ü".encode(), headers=[("ETag", '"x"')])
    assert response.headers == (
        ("Content-Type", "application/json"),
        ("Content-Length", "2"),
        ("X-Content-Type-Options", "nosniff"),
        ("ETag", '"x"'),
    )
    assert response.header("etag") == '"x"'
    assert Response(status=204).header("etag") is None


def test_json_is_compact_utf8_in_the_order_given() -> None:
    """The same document is the same bytes; half a surrogate pair does not break the answer."""
    assert encoded({"b": 1, "a": "ü"}) == '{"b":1,"a":"ü"}'.encode()
    assert encoded({"a": "\ud800"}) == b'{"a":"?"}'
