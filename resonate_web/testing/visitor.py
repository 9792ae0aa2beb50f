"""Somebody who talks with a gateway, without a server: keeps cookies, sends forms as browsers do, may be logged in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from resonate_web.gateway.messages import Headers, Request, Response
from resonate_web.gateway.routes import Gateway

FORM = "application/x-www-form-urlencoded"
PAGE = "text/html,application/xhtml+xml"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with its body read."""

    status: int
    response: Response
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()

    def header(self, name: str) -> str | None:
        """Return the first header field of that name."""
        return self.response.header(name)


@dataclass
class Visitor:
    """One client of a gateway. `principal` is who is logged in, `origin` where the framework thinks that it is."""

    gateway: Gateway
    principal: str | None = None
    origin: str = "https://shop.example"
    root: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, url: str, body: bytes = b"", **fields: str) -> Reply:
        """Send a request; `fields` are header fields with `_` for `-`."""
        parts = urlsplit(url)
        headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
        if self.cookies:
            headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        request = Request(
            method=method,
            path=unquote(parts.path).removeprefix(self.root),
            query=parts.query,
            headers=Headers(headers),
            root=self.root,
            origin=self.origin,
            read=lambda: body,
            identify=lambda: self.principal,
            native=self,
        )
        flow = self.gateway.handle(request)
        assert flow is not None, f"{url} is no path of ours"
        response = self.gateway.resonate.on_thread.perform(flow)
        assert isinstance(response.body, bytes)
        self._keep(response)
        return Reply(response.status, response, response.body)

    def get(self, url: str, **fields: str) -> Reply:
        """Ask as a program does."""
        return self.ask("GET", url, b"", **fields)

    def page(self, url: str, **fields: str) -> Reply:
        """Ask as a browser does."""
        return self.ask("GET", url, b"", **{"Accept": PAGE, **fields})

    def post(self, url: str, document: object, **fields: str) -> Reply:
        """Send JSON."""
        return self.ask("POST", url, json.dumps(document).encode(), **{"Content_Type": "application/json", **fields})

    def send(self, url: str, inputs: dict[str, str] | list[tuple[str, str]], **fields: str) -> Reply:
        """Send a form as it is given."""
        return self.ask("POST", url, urlencode(inputs).encode(), **{"Content_Type": FORM, "Accept": PAGE, **fields})

    def submit(self, url: str, inputs: dict[str, str], action: str | None = None) -> Reply:
        """Load a page, fill in its form and send it."""
        return self.send(action or url, {"nonce": nonce_of(self.page(url)), **inputs}, Origin=self.origin)

    def _keep(self, response: Response) -> None:
        for name, value in response.headers:
            if name == "Set-Cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]


def nonce_of(page: Reply) -> str:
    """Return the nonce of the form on a page. Raises: AssertionError when there is none."""
    found = re.search(r'name="nonce" value="([^"]+)"', page.text)
    assert found is not None, f"no form: {page.status} {page.text[:500]}"
    return found[1]
