"""One served application as a case sees it, and what an adapter's driver gives for it.

A driver starts a real server with the application that `http_flows` describes. The cases speak HTTP with it and
nothing else, over sockets of their own, so that a path reaches the server exactly as it is written.
"""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote, urlencode, urlsplit

from resonate_web.gateway.signing import APPROVAL, CANCEL, Signer, key_ring
from resonate_web.testing.http_flows import KEYS, WEBHOOK_KEY, mail_of
from resonate_web.testing.servers import Answer, Server, until

Variant = Literal["plain", "mounted"]
"""`plain`: at the root of the server. `mounted`: below `/shop`, our routes with the prefix `/durable` in it."""

ROOTS: Mapping[Variant, str] = {"plain": "", "mounted": "/shop"}
PREFIXES: Mapping[Variant, str] = {"plain": "", "mounted": "/durable"}


class Driver(Protocol):
    """How the application of one adapter is served."""

    @property
    def name(self) -> str:
        """Return the name under which its tests are listed."""
        ...

    @property
    def lacks(self) -> frozenset[str]:
        """Return the names of the cases that its framework cannot fulfil, such as bodies in chunks."""
        ...

    def serve(self, folder: Path, variant: Variant) -> Server:
        """Start a server with `environment(folder, variant)`, on a free port that it prints."""
        ...


def environment(folder: Path, variant: Variant) -> dict[str, str]:
    """Return what every driver's server gets: a store of its own, and what `http_flows.settings` reads."""
    return {
        "CASES_FOLDER": str(folder),
        "CASES_VARIANT": variant,
        "RESONATE_STORE": f"sqlite:///{folder / 'resonate.db'}",
        "RESONATE_SQLITE_SYNCHRONOUS": "NORMAL",
        "RESONATE_OPENAPI": "on",
        "RESONATE_POLL_MS": "50",
    }


FORM_TYPE = "application/x-www-form-urlencoded"
FAR = 4_102_444_800_000
"""An instant (ms) at which these cases are no longer asked."""

_SIGNER = Signer(lambda: key_ring(KEYS, (), bytes))
_LEFT_OUT = frozenset({"connection", "date", "keep-alive", "server", "transfer-encoding"})
"""Fields of the server, not of the application."""

_CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "<instant>"),
    (re.compile(r"(?<=/approvals/)[\w-]+\.\d+\.[\w-]{43}"), "<token>"),
    (re.compile(r"(?<=id: )[0-9a-f]{32}"), "<etag>"),
    (re.compile(r'(?<=")[0-9a-f]{32}(?=")'), "<etag>"),
    (re.compile(r"(?<=request/)[0-9a-f]{32}\?sig=[\w-]{43}"), "<random>?sig=<signature>"),
    (re.compile(r"(?<=request/)[0-9a-f]{32}\b"), "<random>"),
    (re.compile(r"ch_[0-9a-f]{16}"), "<charge>"),
    (re.compile(r"(?<=Webhook-Timestamp: )\d+"), "<now>"),
    (re.compile(r"(?<=Webhook-Signature: v1,)\S+"), "<signature>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<server>"),
    (re.compile(r"(?<=resonate_form=)[\w-]{22}"), "<nonce>"),
)
"""What differs from one run of the tests to the next."""


@dataclass
class Transcript:
    """What was asked and answered in a case: the same text whoever answers."""

    lines: list[str] = field(default_factory=list)

    def add(self, asked: str, fields: Mapping[str, str], document: object, answer: Answer) -> None:
        """Write down one exchange; a document that is no JSON is left out."""
        lines = [asked, *(f"{name}: {value}" for name, value in sorted(fields.items()))]
        lines += ["", json.dumps(document)] if isinstance(document, dict) else []
        page = answer.headers.get("content-type", "").startswith("text/html")
        told = sorted((name.lower(), value) for name, value in answer.headers.items())
        left_out = _LEFT_OUT | {"content-length"} if page else _LEFT_OUT
        fields_told = [f"{name}: {value}" for name, value in told if name not in left_out]
        body = _title(answer.body.decode()) if page else answer.body.decode()
        lines += ["", str(answer.status), *fields_told, "", *([body, ""] if body else []), "---"]
        self.lines.append(_steady("\n".join(lines)))

    @property
    def text(self) -> str:
        """Return all of it."""
        return "\n".join(self.lines) + "\n"


def _steady(text: str) -> str:
    for pattern, name in _CHANGING:
        text = pattern.sub(name, text)
    return text


def _title(html: str) -> str:
    found = re.search(r"<title>(.*?)</title>", html, re.DOTALL)
    return f"[a page: {' '.join(found[1].split()) if found else 'without a title'}]"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream; a comment is in `comment`."""

    event: str = "message"
    id: str | None = None
    data: str = ""
    retry: str | None = None
    comment: str | None = None

    @property
    def json(self) -> Any:
        """Return the data's document."""
        return json.loads(self.data)


class Stream:
    """An answer whose body comes in pieces."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response

    def event(self) -> Event | None:
        """Return the next event, None at the end of the stream."""
        found: dict[str, str] = {}
        while line := self._response.readline():
            text = line.decode().rstrip("\n")
            if not text:
                return Event(**found)
            name, _, value = text.partition(": ")
            found[name or "comment"] = value
        return None

    def events(self) -> Iterator[Event]:
        """Iterate over the events to the end."""
        while (found := self.event()) is not None:
            yield found


class Site:
    """The application as one case sees it: the case's name is in its ids, so that cases do not meet."""

    def __init__(self, server: Server, variant: Variant, folder: Path, case: str) -> None:
        self.server = server
        self.root = ROOTS[variant]
        self.mount = ROOTS[variant] + PREFIXES[variant]
        self.transcript = Transcript()
        self._folder = folder
        self._case = case.replace("_", "-")

    def id(self, tail: str = "1") -> str:
        """Return an id of this case."""
        return f"{self._case}/{tail}"

    def ask(self, method: str, target: str, document: object = None, *, told: object = True, **fields: str) -> Answer:
        """Send a request and return its answer, which goes into the transcript if it is `told`.

        `target` is a path or a link, sent as it is. `document` is sent as JSON, bytes as they are, an iterable of bytes
        in chunks. Fields are named like `X_User=`.
        """
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        path = path_of(target)
        with self._sent(method, path, document, headers) as response:
            answer = Answer(response.status, response.headers, response.read())
        if told:
            self.transcript.add(f"{method} {path}", headers, document, answer)
        return answer

    def post(self, path: str, document: object = None, **fields: Any) -> Answer:
        """Post a document to a route of the application itself."""
        return self.ask("POST", f"{self.root}{path}", document, **fields)

    def start(self, flow: str, tail: str = "1", *, told: object = True, order: Any = None, **fields: str) -> Answer:
        """Start a run under an id of this case; `order` goes with the id."""
        return self.post(f"/{flow}", {"id": self.id(tail), **(order or {})}, told=told, **fields)

    def reached(self, link: str, *states: str, told: object = True, **fields: str) -> Answer:
        """Wait until a run's status is one of `states`, by default an end; return the answer that says so."""
        wanted = states or ("succeeded", "failed", "canceled", "timedout")
        seen: list[Any] = []

        def there() -> bool:
            answer = self.ask("GET", link, told=False, **fields)
            assert answer.status == 200, (answer.status, answer.body)
            seen[:] = [answer.json["status"]]
            return answer.json["status"] in wanted

        until(there, what=f"{' or '.join(wanted)} of {link}")
        assert seen
        return self.ask("GET", link, told=told, **fields)

    @contextmanager
    def stream(self, link: str, **fields: str) -> Iterator[Stream]:
        """Open a stream of events; it is closed at the end of the block."""
        headers = {"Accept": "text/event-stream", **{name.replace("_", "-"): v for name, v in fields.items()}}
        with self._sent("GET", path_of(link), None, headers) as response:
            yield Stream(response)

    def mailed(self, id: str, to: str = "") -> str:
        """Wait for the mail of an approval to somebody; return the link that is in it."""
        link: str = until(lambda: mail_of(self._folder, id), what=f"the mail of {id}")[to]
        return link

    def cancel_link(self, id: str, purpose: str = CANCEL) -> str:
        """Return the link that cancels a run."""
        signature = _SIGNER.signature(purpose, id)
        return f"{self.mount}/status/{quote(id, safe='/')}/cancel?sig={signature}"

    def approval_link(
        self, id: str, approver: str = "", expires_at: int = FAR, key: str = KEYS[-1], purpose: str = APPROVAL
    ) -> str:
        """Return a link to an approval as another key, end (ms) or purpose would have made it."""
        said = json.dumps([id, approver], ensure_ascii=False, separators=(",", ":"))
        signer = Signer(lambda: key_ring([key], (), bytes))
        return f"{self.mount}/approvals/{signer.token(purpose, said, expires_at)}"

    def signed(
        self,
        id: str,
        action: str,
        document: object = None,
        *,
        about: str | None = None,
        key: str = WEBHOOK_KEY,
        age_s: int = 0,
        sent: object = None,
    ) -> Answer:
        """Settle a promise as a machine does, by a signed message.

        `about`, `key`, `age_s` and what is `sent` instead are for messages that are not as they should be.
        """
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        webhook_id = (about or f"{id}:{action}").encode().decode("latin-1")
        timestamp = int(time.time()) - age_s
        text = f"{about or f'{id}:{action}'}.{timestamp}.".encode() + body
        digest = hmac.digest(base64.b64decode(key.removeprefix("whsec_")), text, "sha256")
        return self.ask(
            "POST",
            f"{self.mount}/promises/{quote(id, safe='/:@')}/{action}",
            body if sent is None else sent,
            Content_Type="application/json",
            Webhook_Id=webhook_id,
            Webhook_Timestamp=str(timestamp),
            Webhook_Signature=f"v1,{base64.b64encode(digest).decode()}",
        )

    def form(self, link: str, **fields: str) -> tuple[str, dict[str, str]]:
        """Open a page as a browser does; return the nonce of its form, and the fields with which that is sent."""
        page = self.ask("GET", link, told=False, Accept="text/html", **fields)
        nonce = re.search(r'name="nonce" value="([^"]*)"', page.body.decode())
        assert nonce is not None, page.body.decode()
        cookie = page.headers.get("Set-Cookie", "").partition(";")[0]
        return nonce[1], {"Cookie": cookie, "Content_Type": FORM_TYPE, "Accept": "text/html", **fields}

    def at_gate(self, name: str) -> None:
        """Wait for a handler to come to a gate."""
        until(lambda: (self._folder / f"at-{name}").exists(), what=f"a handler at {name}")

    def open_gate(self, name: str) -> None:
        """Let a step or a handler go on that waits at a gate."""
        (self._folder / f"gate-{name}").touch()

    @contextmanager
    def _sent(
        self, method: str, path: str, document: object, fields: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        headers, body = dict(fields), document
        if document is not None and not isinstance(document, bytes | list):
            headers.setdefault("Content-Type", "application/json")
            body = json.dumps(document).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=40)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            if isinstance(body, list):
                headers.setdefault("Content-Type", "application/json")
                headers["Transfer-Encoding"] = "chunked"
            elif isinstance(body, bytes) or method in ("POST", "PATCH", "PUT"):
                headers["Content-Length"] = str(len(body or b""))  # type: ignore[arg-type]
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None, encode_chunked=isinstance(body, list))  # type: ignore[arg-type]
            yield connection.getresponse()
        finally:
            connection.close()


def encoded(**inputs: str) -> bytes:
    """Return the body of a form."""
    return urlencode(inputs).encode()


def path_of(link: str) -> str:
    """Return a link without its origin, untouched otherwise."""
    parts = urlsplit(link)
    return link.removeprefix(f"{parts.scheme}://{parts.netloc}") if parts.netloc and parts.scheme else link
