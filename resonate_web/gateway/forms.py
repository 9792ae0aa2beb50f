"""What is sent to us: bodies, and the one rule against forged requests.

A body is JSON or a form. A request from another site is refused whatever it holds. A form also carries a nonce that
is bound to what it is about and to a cookie of the browser: whoever sends it has loaded our page before.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from resonate_web.config import Settings
from resonate_web.errors import TooLarge
from resonate_web.flow import Call, Flow
from resonate_web.gateway.messages import JSON, Request
from resonate_web.gateway.problems import Refused, refusal
from resonate_web.gateway.signing import FORM, Signer

FORM_TYPE = "application/x-www-form-urlencoded"
COOKIE = "resonate_form"
NONCE = "nonce"
"""Input of a form; no field of an approval can have its name."""

MOST_INPUTS = 200
DEEPEST = 100
"""How deep lists and objects of a body may lie in each other: what is stored must be readable everywhere."""

_VISITOR = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
_DIGITS = 18
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a request said: an object, or the inputs of a form, of which the first of a name counts."""

    values: Mapping[str, Any]
    is_form: bool = False


class Forms:
    """Gives out nonces and checks what comes back."""

    def __init__(self, settings: Settings, signer: Signer) -> None:
        self._settings = settings
        self._signer = signer

    def nonce(self, request: Request, subject: str) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Return the nonce of a form about `subject` and the header fields of the page that has the form."""
        visitor = _visitor(request)
        if visitor is not None:
            return self._signed(subject, visitor), ()
        visitor = secrets.token_urlsafe(16)
        path = quote(request.root, safe="/").rstrip("/") + self._settings.prefix or "/"
        secure = "; Secure" if request.origin.startswith("https://") else ""
        cookie = f"{COOKIE}={visitor}; Path={path}; HttpOnly; SameSite=Lax{secure}"
        return self._signed(subject, visitor), (("Set-Cookie", cookie),)

    def body(self, request: Request, subject: str, *, empty: bool = False) -> Flow[Body]:
        """Read what a request says about `subject`; with `empty` it may say nothing.

        Raises: Refused with 400, 403 or 415, TooLarge.
        """
        self.check_site(request)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        bare = empty and not media_type
        if media_type not in (JSON, FORM_TYPE) and not bare:
            raise _unreadable()
        raw = yield from content(request, self._settings.max_body)
        if bare and raw:
            raise _unreadable()
        if media_type == FORM_TYPE:
            inputs = _inputs(raw)
            self._check_nonce(request, subject, inputs.pop(NONCE, ""))
            return Body(values=inputs, is_form=True)
        return Body(values={} if empty and not raw else json_object(raw))

    def check_site(self, request: Request) -> None:
        """Raise Refused (403) when a browser says that another site has made it send this."""
        if request.headers.get("sec-fetch-site", "").strip().lower() == "cross-site":
            raise _forged("the request comes from another site")
        origin = request.headers.get("origin")
        if origin is None:
            return
        ours = {_origin(request.origin), _origin(self._settings.base_url or "")} - {None}
        if _origin(origin) not in ours:
            hint = "" if self._settings.base_url else "; behind a proxy, set RESONATE_BASE_URL"
            raise _forged(f"the origin of the request is not that of this application{hint}")

    def _check_nonce(self, request: Request, subject: str, nonce: str) -> None:
        visitor = _visitor(request)
        if visitor is None:
            raise _forged("the form came without its cookie: allow cookies, load the page again, and send it anew")
        if not self._signer.verifies(FORM, f"{visitor}\n{subject}", nonce):
            raise _forged("the form is not one of ours, or too old: load the page again, and send it anew")

    def _signed(self, subject: str, visitor: str) -> str:
        return self._signer.signature(FORM, f"{visitor}\n{subject}")


def content(request: Request, limit: int) -> Flow[bytes]:
    """Read the body of a request. Raises: TooLarge."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and (len(told) > _DIGITS or int(told) > limit):
        raise TooLarge(f"the request's body is too large; at most {limit} bytes are taken")
    raw: bytes = yield Call(request.read)
    if len(raw) > limit:
        raise TooLarge(f"the request's body has {len(raw)} bytes; at most {limit} are taken")
    return raw


def json_object(raw: bytes) -> dict[str, Any]:
    """Return a body's JSON object. Raises: Refused (400) for anything else."""
    try:
        found = json.loads(raw, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or _too_deep(found):
        raise refusal(400, "bad-request", "The body cannot be read.", "send one JSON object, not nested too deeply")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    found = float(text)
    if found in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return found


def _too_deep(found: object) -> bool:
    layer = [found]
    for _ in range(DEEPEST):
        layer = [inner for thing in layer for inner in _inside(thing)]
        if not layer:
            return False
    return True


def _inside(thing: object) -> Iterator[object]:
    if isinstance(thing, dict):
        return iter(thing.values())
    return iter(thing) if isinstance(thing, list) else iter(())


def _inputs(raw: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_INPUTS, errors="replace")
    except ValueError:
        raise refusal(
            400, "bad-request", "The body cannot be read.", f"a form has at most {MOST_INPUTS} inputs"
        ) from None
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def _visitor(request: Request) -> str | None:
    for part in request.headers.get("cookie", "").replace(",", ";").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE and _VISITOR.fullmatch(value):
            return value
    return None


def _origin(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            return None
        return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]
    except ValueError:
        return None


def _unreadable() -> Refused:
    title = "The body must be JSON or a form."
    return refusal(415, "unsupported-media-type", title, f"send {JSON} or {FORM_TYPE}")


def _forged(detail: str) -> Refused:
    return refusal(403, "forged", "The request was not made from a page of this application.", detail)
