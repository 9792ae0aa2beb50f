"""What an adapter hands in and gets back: one request and one response, as values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

from resonate_web.flow import Stream

JSON = "application/json"
PROBLEM = "application/problem+json"

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Headers(Mapping[str, str]):
    """Header fields by name in any case; fields sent twice are joined by a comma (RFC 9110, 5.3)."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, str] = {}
        for name, value in fields:
            key = name.lower()
            self._fields[key] = f"{self._fields[key]}, {value}" if key in self._fields else value

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields


def nobody() -> str | None:
    """Identify a request that carries no identity."""
    return None


def no_body() -> bytes:
    """Read the body of a request that has none."""
    return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request below the mount point of the application.

    `path` is percent-decoded exactly once and begins with `/`; `root` is where the application is mounted
    (WSGI's SCRIPT_NAME), decoded too; `origin` is scheme and host as the framework sees them (`https://shop.example`);
    `query` is raw. `read` and `identify` are called only when an answer depends on the body or on who asks. `native`
    is the framework's own request, for the user's callables.
    `patience_ms` is how long the server lets a request wait at most, `stream_ms` how long it lets one stream.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = field(default_factory=Headers)
    root: str = ""
    origin: str = ""
    read: Callable[[], bytes] = no_body
    identify: Callable[[], str | None] = nobody
    native: object = None
    patience_ms: int = 0
    stream_ms: int = 0

    def argument(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return next((value for key, value in parse_qsl(self.query, keep_blank_values=True) if key == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer: status, header fields in order, and the body as bytes or as a stream."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Stream = b""

    def header(self, name: str) -> str | None:
        """Return the first field of that name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        """Return a copy with more fields."""
        return replace(self, headers=(*self.headers, *headers))


def encoded(document: Mapping[str, Any]) -> bytes:
    """Return a document as UTF-8 JSON; the same document is always the same bytes."""
    return _ENCODER.encode(document).encode("utf-8", "replace")  # another SDK may have stored half a surrogate pair


def answer(status: int, body: bytes, *, media_type: str = JSON, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return a response with a body and what every body needs: type, length, no sniffing."""
    fixed = (("Content-Type", media_type), ("Content-Length", str(len(body))), ("X-Content-Type-Options", "nosniff"))
    return Response(status=status, headers=(*fixed, *headers), body=body)
