"""Which form of an answer a client gets, and how long it is ready to wait."""

from __future__ import annotations

import pytest

from resonate_web.gateway.messages import Headers
from resonate_web.gateway.negotiation import Preference, preference, preferred, prefers_html

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SAFARI = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

FORMS = [
    (None, "json"),
    ("", "json"),
    ("*/*", "json"),
    (CHROMIUM, "html"),
    (FIREFOX, "html"),
    (SAFARI, "html"),
    ("application/json", "json"),
    ("application/json, text/plain, */*", "json"),
    ("application/problem+json", "json"),
    ("application/problem+json, text/html;q=0.9", "json"),
    ("application/json; charset=utf-8", "json"),
    ("text/event-stream", "events"),
    ("text/event-stream, application/json;q=0.5", "events"),
    ("text/html", "html"),
    ("TEXT/HTML", "html"),
    ("text/html;level=1", "html"),
    ("text/html, */*", "html"),
    ("*/*, text/html", "html"),
    ("text/html, application/json", "html"),
    ("application/json, text/html", "json"),
    ("text/html;q=0.5, application/json;q=0.9", "json"),
    ("text/html;q=0.9, application/json;q=0.5", "html"),
    ("application/json;q=0.1, text/html ; q=0.2", "html"),
    ("text/html;q=0.2, */*;q=0.8", "json"),
    ("text/*", "html"),
    ("text/*;q=0.5, */*;q=0.1", "html"),
    ("text/html;q=0, text/*", "events"),
    ("application/json;q=0, */*", "html"),
    ("application/*", "json"),
    ("image/png", "json"),
    ("text/html;q=0", "json"),
    ("text/html;q=0.000", "json"),
    ("text/html;q=1.000", "html"),
    ("text/html;q=2", "json"),
    ("text/html;q=high, application/json;q=0.1", "json"),
    ("text/html;q=-1", "json"),
    ('text/html;profile="a,b;q=0";q=1, application/json;q=0.5', "html"),
    ('text/html;profile="a, application/json', "html"),
    ("html", "json"),
    (",,;;,=,/", "json"),
    ("tëxt/html", "json"),
]


@pytest.mark.parametrize(("accept", "form"), FORMS)
def test_a_client_gets_the_form_that_it_likes_best(accept: str | None, form: str) -> None:
    """Quality decides, then exactness, then order; JSON for whoever does not care or asks in vain."""
    assert preferred(accept) == form
    assert prefers_html(accept) is (form == "html")


PREFERENCES = [
    ((), Preference()),
    (("",), Preference()),
    (("wait=10",), Preference(wait_ms=10_000)),
    (("wait=0",), Preference(wait_ms=0)),
    (("Wait=10",), Preference(wait_ms=10_000)),
    (("WAIT = 10",), Preference(wait_ms=10_000)),
    (('wait="10"',), Preference(wait_ms=10_000)),
    (('wait="1\\0"',), Preference(wait_ms=10_000)),
    (("wait=007",), Preference(wait_ms=7_000)),
    (("respond-async",), Preference(respond_async=True)),
    (("Respond-Async",), Preference(respond_async=True)),
    (('respond-async=""',), Preference(respond_async=True)),
    (("respond-async=no",), Preference()),
    (("respond-async, wait=5",), Preference(wait_ms=5_000, respond_async=True)),
    (("respond-async", "wait=5"), Preference(wait_ms=5_000, respond_async=True)),
    (("wait=5", "wait=9"), Preference(wait_ms=5_000)),
    (("wait=5, WAIT=9",), Preference(wait_ms=5_000)),
    (("wait=x, wait=9",), Preference()),
    (('return=minimal; foo="a, wait=9"; bar, wait=3',), Preference(wait_ms=3_000)),
    (("wait=3; note=soon",), Preference(wait_ms=3_000)),
    (("handling=lenient, return=representation",), Preference()),
    (("wait",), Preference()),
    (("wait=",), Preference()),
    (("wait=-1",), Preference()),
    (("wait=1.5",), Preference()),
    (("wait=٣",), Preference()),
    (("wait=" + "9" * 5000,), Preference(wait_ms=31_536_000_000)),
    (('"wait=3', "respond-async"), Preference()),
    ((",;=, ;wait=3,, wait=4",), Preference(wait_ms=4_000)),
]


@pytest.mark.parametrize(("fields", "found"), PREFERENCES)
def test_preferences_are_read_as_rfc_7240_says(fields: tuple[str, ...], found: Preference) -> None:
    """Names in any case, values bare or quoted, several fields; the first counts and garbage is ignored."""
    assert preference(Headers(("Prefer", field) for field in fields)) == found


@pytest.mark.parametrize("field", ['"\\' * 20_000, '"' * 40_001, ",;" * 20_000, "a=" * 20_000])
def test_a_hostile_field_is_read_in_one_pass(field: str) -> None:
    """Long garbage asks for nothing."""
    assert preference(Headers([("Prefer", field)])) == Preference()
    assert preferred(field) == "json"
