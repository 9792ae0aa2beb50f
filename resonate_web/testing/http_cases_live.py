"""Cases of watching a run: long polls, streams of events, pages and their assets."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from resonate_web.testing.http_driver import Event, Site

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

PRIVATE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
}


def a_long_poll_answers_at_the_end(site: Site) -> None:
    """`Prefer: wait` on a run that ends meanwhile: the finished document."""
    link = site.start("held", told=False, order={"gate": "long-poll"}).headers["Location"]
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(site.ask, "GET", link, told=False, Prefer="wait=4")
        site.open_gate("long-poll")
        answer = polled.result(30)
    # Whichever was quicker: the end of the run, which nobody has to wait for then, or on a slow machine the clock.
    assert answer.json["done"] or answer.headers["Preference-Applied"] == "wait"
    assert site.reached(link).json["status"] == "succeeded"


def a_long_poll_ends_in_time(site: Site) -> None:
    """A run that goes on is shown as it is when the time is over."""
    link = site.start("waits", told=False).headers["Location"]
    site.reached(link, "waiting", told=False)
    answer = site.ask("GET", link, Prefer="wait=1")
    assert (answer.status, answer.headers["Preference-Applied"], answer.json["status"]) == (200, "wait", "waiting")


def a_long_poll_of_what_is_done_does_not_wait(site: Site) -> None:
    """A run that has ended is answered at once, as without the preference."""
    link = site.reached(site.start("orders", told=False).headers["Location"], told=False).json["links"]["self"]
    answer = site.ask("GET", link, Prefer="wait=20")
    assert (answer.status, answer.json["status"]) == (200, "succeeded")


def a_long_poll_with_a_validator_waits_for_a_change(site: Site) -> None:
    """`If-None-Match` and `wait`: 304 when nothing changed in time, the new document at once when it has."""
    link = site.start("waits", told=False).headers["Location"]
    tag = site.reached(link, "waiting", told=False).headers["ETag"]
    same = site.ask("GET", link, If_None_Match=tag, Prefer="wait=1")
    assert (same.status, same.body, same.headers["Preference-Applied"]) == (304, b"", "wait")
    other = site.ask("GET", link, If_None_Match='"of-something-else"', Prefer="wait=20")
    assert (other.status, other.json["status"]) == (200, "waiting")


def a_stream_shows_every_change_to_the_end(site: Site) -> None:
    """`retry`, one event per document, each with the document's validator as its id, and `done`."""
    link = site.start("held", told=False, order={"gate": "stream"}).headers["Location"]
    with site.stream(link) as stream:
        assert (stream.status, stream.headers["X-Accel-Buffering"]) == (200, "no")
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["Cache-Control"] == "no-store"
        assert stream.headers["Content-Length"] is None
        first = stream.event()
        assert first is not None
        assert first.retry is not None
        site.open_gate("stream")
        events = [event for event in stream.events() if event.comment is None]
    _is_a_story(events)
    assert events[-2].json["status"] == "succeeded"
    got = site.ask("GET", link, told=False)
    assert (events[-2].data.encode(), f'"{events[-2].id}"') == (got.body, got.headers["ETag"])


def a_stream_continues_where_it_was(site: Site) -> None:
    """Last-Event-ID: what was seen is not sent again; 204 when there is nothing left to see."""
    link = site.start("held", told=False, order={"gate": "continues"}).headers["Location"]
    with site.stream(link) as stream:
        seen = next(event for event in stream.events() if event.event == "status")
    site.open_gate("continues")
    site.reached(link, told=False)
    with site.stream(link, Last_Event_ID=str(seen.id)) as stream:
        events = [event for event in stream.events() if event.comment is None and event.retry is None]
    assert [event.event for event in events] == ["status", "done"]
    again = site.ask("GET", link, Accept="text/event-stream", Last_Event_ID=str(events[-1].id), told=False)
    assert (again.status, again.body) == (204, b"")


def a_stream_of_what_is_done_ends_at_once(site: Site) -> None:
    """A finished run is one event and `done`."""
    link = site.reached(site.start("orders", told=False).headers["Location"], told=False).json["links"]["self"]
    answer = site.ask("GET", link, Accept="text/event-stream")
    assert answer.body.count(b"event: ") == 2
    assert site.ask("HEAD", link, Accept="text/event-stream").body == b""


def streams_are_as_private_as_documents(site: Site) -> None:
    """An unsigned link has the same 404 as ever."""
    link = site.start("waits", told=False).headers["Location"].partition("?")[0]
    answer = site.ask("GET", link, Accept="text/event-stream")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")


def the_page_of_a_run(site: Site) -> None:
    """Browsers get a page that nobody keeps, frames or indexes, and that runs no code of others."""
    link = site.reached(site.start("orders", told=False).headers["Location"], told=False).json["links"]["self"]
    answer = site.ask("GET", link, Accept=BROWSER)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for name, value in PRIVATE.items():
        assert answer.headers[name] == value, name
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    html = answer.body.decode()
    assert site.id() in html
    assert "<script>" not in html
    assert not re.search(r"\son\w+=|style=", html)
    assert '<html lang="en"' in html


def the_page_shows_texts_as_texts(site: Site) -> None:
    """An id with markup in it is escaped."""
    started = site.post("/waits", {"id": f"{site.id()}/<script>alert(1)</script>"}, told=False)
    page = site.ask("GET", started.headers["Location"], Accept=BROWSER, told=False)
    assert b"<script>alert" not in page.body
    assert b"&lt;script&gt;" in page.body


def assets_may_be_kept(site: Site) -> None:
    """The page's style sheet and script are ours, and may be kept for ever under their versioned names."""
    link = site.start("waits", told=False).headers["Location"]
    page = site.ask("GET", link, Accept=BROWSER, told=False).body.decode()
    assets = re.findall(r'(?:href|src)="([^"]*/resonate/assets/[^"]+)"', page)
    assert {name.rpartition(".")[2] for name in assets} >= {"css", "js"}
    for asset in assets:
        answer = site.ask("GET", asset, told=False)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
    assert site.ask("GET", "/resonate/assets/../../messages.py").status == 404
    assert site.ask("GET", "/resonate/assets/messages.py").status == 404


def _is_a_story(events: list[Event]) -> None:
    told = [event for event in events if event.retry is None]
    assert [event.event for event in told] == ["status"] * (len(told) - 1) + ["done"]
    ids = [event.id for event in told[:-1]]
    assert len(set(ids)) == len(ids)
    moments = [event.json["updated_at"] for event in told[:-1]]
    assert moments == sorted(moments)


LIVE_CASES: tuple[Callable[[Site], None], ...] = (
    a_long_poll_answers_at_the_end,
    a_long_poll_ends_in_time,
    a_long_poll_of_what_is_done_does_not_wait,
    a_long_poll_with_a_validator_waits_for_a_change,
    a_stream_shows_every_change_to_the_end,
    a_stream_continues_where_it_was,
    a_stream_of_what_is_done_ends_at_once,
    streams_are_as_private_as_documents,
    the_page_of_a_run,
    the_page_shows_texts_as_texts,
    assets_may_be_kept,
)
