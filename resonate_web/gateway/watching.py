"""The answers to whoever looks at a run: its document, a page, or a stream of events.

A stream's events are whole documents and their ids the documents' validators: whoever comes back with the last
one that they saw gets what has changed since, nothing twice and nothing out of order.
"""

from __future__ import annotations

from resonate_web.flow import Flow, Read, Seat, Stream, Until
from resonate_web.gateway.messages import JSON, Request, Response, answer, encoded
from resonate_web.gateway.negotiation import EVENTS, preference, preferred
from resonate_web.gateway.pages import Pages, page
from resonate_web.gateway.shown import Cancel, StatusPage
from resonate_web.gateway.status import document, entity_tag, retry_after
from resonate_web.gateway.waiting import changed, ended, notice
from resonate_web.resonate import Resonate
from resonate_web.resonate.view import RunView

RECONNECT_MS = 2_000
"""After how long a client whose stream has ended comes back."""

PING_MS = 15_000
"""How long a stream may be silent: proxies end connections on which nothing happens."""

REFRESH_S = 5
"""How often a browser without JavaScript loads the page of a run that goes on."""

STILL = "still"
"""Query parameter of a page that does not load itself again."""

_NO_STORE = ("Cache-Control", "no-store")


class Watched:
    """One run as one client may see it: `id` is the one it was started under, `link` where it is read."""

    def __init__(self, resonate: Resonate, request: Request, id: str, link: str) -> None:
        self.resonate = resonate
        self.request = request
        self.id = id
        self.link = link

    def look(self) -> RunView:
        """Return the run as last committed. Raises: NotFound when it was pruned meanwhile."""
        found = self.resonate.view(self.id)
        if found is None:
            self.resonate.record(self.id)
        assert found is not None
        return found

    def body(self, run: RunView) -> bytes:
        """Return the bytes of the run's document."""
        return encoded(document(run, self.id, self.link))

    def tag(self) -> str:
        """Return the validator of the run's document as last committed."""
        return entity_tag(self.body(self.look()))


def respond(watched: Watched, run: RunView, pages: Pages, cancel: Cancel | None) -> Flow[Response]:
    """Answer in the form that the client likes best."""
    form = preferred(watched.request.headers.get("accept"))
    if form == "html":
        return _page(watched, run, pages, cancel)
    if form == "events":
        return _events(watched, run)
    return (yield from _document(watched, run))


def _document(watched: Watched, run: RunView) -> Flow[Response]:
    """Answer a poll: 200 with the document, or 304 when the client has these very bytes.

    A client that prefers to wait is kept until the run has ended; if it names the document that it has, until that
    is no longer the newest.
    """
    resonate, request = watched.resonate, watched.request
    condition = request.headers.get("if-none-match")
    wait_ms = preference(request.headers).wait_ms
    applied = False
    if wait_ms is not None and not run.done:
        if condition is None:
            applied = yield from ended(resonate, request, run.promise.id, wait_ms)
        else:
            applied = yield from changed(
                resonate, request, watched.id, wait_ms, lambda: _matches(condition, watched.tag())
            )
        if applied:
            run = yield Read(watched.look)
    body = watched.body(run)
    etag = entity_tag(body)
    headers = [("ETag", etag), ("Vary", "Accept, Prefer"), ("Cache-Control", "private, no-cache"), *retry_after(run)]
    if applied:
        headers.append(("Preference-Applied", "wait"))
    if _matches(condition, etag):
        return Response(status=304, headers=tuple(headers))
    return answer(200, body, media_type=JSON, headers=headers)


def _page(watched: Watched, run: RunView, pages: Pages, cancel: Cancel | None) -> Response:
    query = watched.request.query
    still = watched.request.argument(STILL) is not None
    shown = StatusPage(
        run=document(run, watched.id, watched.link),
        events=watched.link,
        refresh=None if still else REFRESH_S,
        still=f"?{query}&{STILL}=1" if query else f"?{STILL}=1",
        cancel=None if run.done else cancel,
    )
    vary = ("Vary", "Accept, Prefer")
    return page(200, pages.render(shown), headers=(vary, *retry_after(run)), forms=shown.cancel is not None)


def _events(watched: Watched, run: RunView) -> Response:
    seen = watched.request.headers.get("last-event-id", "")
    if run.done and seen == _event_id(watched.body(run)):
        return Response(status=204, headers=(_NO_STORE,))  # tells an EventSource not to come back
    headers = (
        ("Content-Type", f"{EVENTS}; charset=utf-8"),
        _NO_STORE,
        ("Vary", "Accept, Prefer"),
        ("X-Accel-Buffering", "no"),
        ("X-Content-Type-Options", "nosniff"),
    )
    return Response(status=200, headers=headers, body=_stream(watched, seen))


def _stream(watched: Watched, seen: str) -> Stream:
    """Yield an event for each change, until the run has ended or the server wants its thread back."""
    resonate = watched.resonate
    yield f"retry: {RECONNECT_MS}\n\n".encode()
    lasts = watched.request.stream_ms > 0 and (yield Seat())
    deadline = resonate.now() + watched.request.stream_ms
    while True:
        change = yield from notice(resonate, watched.id)
        try:
            run = yield Read(watched.look)
            body = watched.body(run)
            if seen != _event_id(body):
                seen = _event_id(body)
                yield b"event: status\nid: %s\ndata: %s\n\n" % (seen.encode(), body)
            if run.done:
                yield b"event: done\nid: %s\ndata: {}\n\n" % seen.encode()
                return
            now = resonate.now()
            ms = min(PING_MS, deadline - now)
            if change is None or not lasts or ms <= 0:
                return
            if not (yield Until(change, ms)):
                if resonate.now() - now < ms // 2:  # the wait was cut: the server wants to end
                    return
                yield b": still here\n\n"
        finally:
            if change is not None:
                change.cancel()


def _event_id(body: bytes) -> str:
    return entity_tag(body).strip('"')


def _matches(condition: str | None, etag: str) -> bool:
    """Compare as If-None-Match asks: weakly, any of a list, `*` for whatever there is (RFC 9110, 13.1.2)."""
    if condition is None:
        return False
    candidates = [part.strip().removeprefix("W/") for part in condition.split(",")]
    return etag in candidates or candidates == ["*"]
