"""Requests and answers, from Django's to the gateway's and back, and who is asking."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import Morsel, SimpleCookie

from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from resonate_web.config import Settings
from resonate_web.errors import TooLarge
from resonate_web.gateway.access import bearer
from resonate_web.gateway.messages import Headers, Request, Response
from resonate_web.resonate.performing import OnLoop, OnThread

ON_LOOP = 25_000, 300_000
"""How long a request may wait, and how long a stream may last, in ms, where neither holds a thread."""
ON_THREAD = 5_000, 20_000
"""The same under WSGI, where each holds one."""


class Cookie(Morsel[str]):
    """A cookie that is sent as the gateway wrote it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        [(name, parsed)] = SimpleCookie(text).items()
        self.set(name, parsed.value, parsed.coded_value)
        self.update(parsed)
        self._text = text

    def OutputString(self, attrs: object = None) -> str:  # noqa: N802  (the name is Python's)
        """Return what stands behind `Set-Cookie:`."""
        return self._text


class Bare(HttpResponse):
    """An answer without a body whose length is not 0: a 204, a 304, or the HEAD of a stream."""

    def has_header(self, header: str) -> bool:
        """Tell a middleware that wants to add the length that there is one."""
        return header.lower() == "content-length" or super().has_header(header)


def message(request: HttpRequest, settings: Settings, key: Callable[[], bytes]) -> Request:
    """Return Django's request as the gateway's. `key` keys the hash of an Authorization header."""
    patience, stream = _patience(request)
    return Request(
        method=request.method or "GET",
        path=request.path_info,
        query=request.META.get("QUERY_STRING", ""),
        headers=Headers(request.headers.items()),
        root=request.path.removesuffix(request.path_info),
        origin=_origin(request),
        read=lambda: _body(request),
        identify=lambda: identified(request, settings, key),
        native=request,
        patience_ms=patience,
        stream_ms=stream,
    )


def identified(request: HttpRequest, settings: Settings, key: Callable[[], bytes]) -> str | None:
    """Return who a request comes from: as configured, else Django's user, else a hash of Authorization."""
    if settings.principal is not None:
        return settings.principal(request)
    user = getattr(request, "user", None)  # there only with AuthenticationMiddleware
    if user is not None and user.is_authenticated:
        return f"user:{user.pk}"
    return bearer(request.headers.get("Authorization"), key)


def rendered(response: Response, driver: OnThread | OnLoop) -> HttpResponseBase:
    """Return the gateway's response as Django's; a stream is driven as the server drives the request."""
    found: HttpResponseBase
    if isinstance(response.body, bytes):
        bare = not response.body and response.header("Content-Length") is None
        found = (Bare if bare else HttpResponse)(response.body, status=response.status)
    else:
        found = StreamingHttpResponse(driver.chunks(response.body), status=response.status)
    del found.headers["Content-Type"]  # Django's default, untrue for an empty body
    for name, value in response.headers:
        if name.lower() == "set-cookie":
            name, _, _ = value.partition("=")
            found.cookies[name] = Cookie(value)  # where Django's test client looks for it
        else:
            found.headers[name] = value
    return found


def _origin(request: HttpRequest) -> str:
    try:
        return f"{request.scheme}://{request.get_host()}"
    except DisallowedHost:
        return ""  # whoever lies about the host gets no say in where forms come from


def _body(request: HttpRequest) -> bytes:
    try:
        return request.body
    except RequestDataTooBig as error:  # a length that was not told; Django's own answer is a page
        raise TooLarge(str(error)) from None


def _patience(request: HttpRequest) -> tuple[int, int]:
    if hasattr(request, "scope"):
        return ON_LOOP
    return ON_THREAD if request.META.get("wsgi.multithread") else (0, 0)
