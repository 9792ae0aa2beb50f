"""Links and principals."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from resonate_web.config import Settings
from resonate_web.errors import ConfigError
from resonate_web.gateway.access import Access, bearer, principal
from resonate_web.gateway.messages import Request
from resonate_web.gateway.signing import Signer

ODD_IDS = [
    "order/42",
    "a/b/c d",
    "50%",
    "50%25 off",
    "%2F%2e%2e",
    "ü/日本語/😀",
    "a?b#c&d=e;f+g",
    "quote\"'<>\\^`{|}",
    "-_.!*'()",
    "...",
    "x" * 200,
    "ä" * 200,
]


def access(**given: Any) -> Access:
    return Access(Settings(**given), Signer(lambda: [b"k" * 32]))


def asking(url: str) -> Request:
    """What a server makes of a link: the path decoded once, the query raw."""
    parts = urlsplit(url)
    return Request(method="GET", path=unquote(parts.path), query=parts.query)


@pytest.mark.parametrize("id", ODD_IDS)
def test_a_link_leads_back_to_its_id(id: str) -> None:
    """Whatever an id holds, its link is plain ASCII, is decoded once to the id, and opens only that."""
    url = access().status_url(id, "")
    request = asking(url)
    assert url.isascii()
    assert " " not in url
    assert request.path == f"/status/{id}"
    assert access().opens(request, id)
    assert not access().opens(request, id + "x")


@pytest.mark.parametrize(
    ("settings", "root", "expected"),
    [
        ({}, "", "/status/a%20b"),
        ({}, "/", "/status/a%20b"),
        ({}, "/shöp", "/sh%C3%B6p/status/a%20b"),
        ({"prefix": "/durable"}, "/shop", "/shop/durable/status/a%20b"),
        ({"base_url": "https://x.example"}, "/shop", "https://x.example/shop/status/a%20b"),
        ({"base_url": "https://x.example/"}, "", "https://x.example/status/a%20b"),
        ({"base_url": "https://x.example/app", "prefix": "/d"}, "/shop", "https://x.example/app/d/status/a%20b"),
    ],
)
def test_where_a_link_begins(settings: dict[str, Any], root: str, expected: str) -> None:
    """A path below the mount point, absolute only with RESONATE_BASE_URL; a path in that replaces the mount point."""
    assert access(status_access="public", **settings).status_url("a b", root) == expected


@pytest.mark.parametrize("rule", ["public", lambda request, promise: True])
def test_only_links_that_give_access_are_signed(rule: Any) -> None:
    """With other rules the plain URL is the link, and every request may ask."""
    found = access(status_access=rule)
    assert found.status_url("a", "") == "/status/a"
    assert found.opens(asking("/status/a"), "a")


@pytest.mark.parametrize("query", ["", "?sig", "?sig=", "?sig=AAAA", "?signature=x", "?sig=%FF"])
def test_without_a_genuine_signature_nothing_opens(query: str) -> None:
    """No signature, an empty one and a wrong one are the same."""
    assert not access().opens(asking(f"/status/a{query}"), "a")


def asked_by(who: object) -> Request:
    def identify() -> Any:
        return who

    return Request(method="GET", path="/", identify=identify)


def test_a_principal_is_a_text_or_nobody() -> None:
    """An empty text is nobody; anything else is a mistake in the configuration, named."""
    assert principal(asked_by("alice")) == "alice"
    assert principal(asked_by("")) is None
    assert principal(asked_by(None)) is None
    with pytest.raises(ConfigError, match="RESONATE_PRINCIPAL must return a text or None, not int"):
        principal(asked_by(7))


def test_a_bearer_is_known_again_but_not_stored() -> None:
    """The same credentials give the same name; the name holds nothing of them, and no key is asked without them."""
    first = bearer("Bearer s3cret", lambda: b"k")
    assert first == bearer("Bearer s3cret", lambda: b"k")
    assert first != bearer("Bearer other", lambda: b"k")
    assert first != bearer("Bearer s3cret", lambda: b"j")
    assert first is not None
    assert "s3cret" not in first
    assert bearer(None, lambda: pytest.fail("asked")) is None
    assert bearer("", lambda: pytest.fail("asked")) is None
