"""The pages: values in, HTML out, and the header fields that every page has.

Templates and assets are files of this package, read at first use. An application puts its own in their place by
having a template of the same name where its framework looks for templates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

from resonate_web.gateway import wording
from resonate_web.gateway.messages import Response, answer
from resonate_web.gateway.shown import Shown

BASE = "resonate/base.html"
"""The template around every page."""

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

Override = Callable[[str, dict[str, Any]], str | None]
"""Renders a template of the application, given its name and what it may use; None if there is no such template."""

_TYPES = {
    "resonate.css": "text/css; charset=utf-8",
    "resonate.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_FOR_EVER = "public, max-age=31536000, immutable"


class Parts:
    """The blocks of one page, each rendered when it is asked for: what an own template puts where it likes.

    `title` is text, `head` is for the inside of `<head>`, `content` for that of `<main>`, `footer` for the end.
    """

    def __init__(self, block: Callable[[str], Markup]) -> None:
        self._block = block

    @property
    def title(self) -> Markup:
        """Return the title, escaped."""
        return self._block("title")

    @property
    def head(self) -> Markup:
        """Return the icon, the style sheet, the script, and what else the page needs in its head."""
        return self._block("head")

    @property
    def content(self) -> Markup:
        """Return the page itself, from its `<h1>` on."""
        return self._block("content")

    @property
    def footer(self) -> Markup:
        """Return the note on the zone of times."""
        return self._block("footer")


class Pages:
    """Renders pages below one mount point; cheap to make, so that each request may have its own."""

    def __init__(self, assets: str, override: Override | None = None) -> None:
        """Set where the assets are mounted (a path without a slash at its end); nothing is read."""
        self._assets = assets
        self._override = override

    def render(self, page: Shown) -> bytes:
        """Return the HTML of a page.

        The application's template of the page's name comes first, then its `resonate/base.html`, then ours. Its
        templates get `page` (see `shown`), `parts` (see `Parts`) and `asset_url(name)`.
        """
        context = {"page": page, "asset_url": self.asset_url}
        html = self._overridden(page.template, context) or _environment().get_template(page.template).render(context)
        return html.encode("utf-8", "replace")  # another SDK may have stored half a surrogate pair

    def asset_url(self, name: str) -> str:
        """Return the URL of an asset, which changes with its content."""
        return f"{self._assets}/{_asset(name).versioned}"

    def _overridden(self, name: str, context: dict[str, Any]) -> str | None:
        if self._override is None:
            return None
        given = {**context, "parts": Parts(partial(self._block, name, context))}
        for candidate in (name, BASE):
            html = self._override(candidate, given)
            if html is not None:
                return html
        return None

    def _block(self, name: str, context: dict[str, Any], block: str) -> Markup:
        """Render one block of a page as the whole template would: the page's own, above that of the base."""
        template, base = (_environment().get_template(found) for found in (name, BASE))
        bound = template.new_context(context)
        for each, render in base.blocks.items():
            bound.blocks.setdefault(each, []).append(render)
        return Markup("".join(bound.blocks[block][0](bound)).strip())


def page(status: int, body: bytes, headers: Iterable[tuple[str, str]] = (), *, forms: bool = False) -> Response:
    """Return a page as an answer, with the fields that keep it private; say `forms` if it has any.

    A browser that is told to send no referrer sends `Origin: null` with a form too, and then nobody can tell that
    the form was ours. `same-origin` keeps the URL, in which the token is, from every other origin as well.
    """
    fixed = (
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "same-origin" if forms else "no-referrer"),
        ("X-Robots-Tag", "noindex, nofollow"),
        ("X-Frame-Options", "DENY"),
        ("Content-Security-Policy", POLICY),
    )
    return answer(status, body, media_type="text/html; charset=utf-8", headers=(*fixed, *headers))


def asset(name: str) -> Response | None:
    """Return an asset by its versioned or its plain name, None for an unknown one.

    Only the versioned name may be kept for ever: a page of an older process may name a version that this one does
    not have, and gets what there is.
    """
    plain = _plain(name)
    if plain not in _TYPES:
        return None
    found = _asset(plain)
    caching = _FOR_EVER if name == found.versioned else "no-cache"
    headers = (
        ("Cache-Control", caching),
        ("ETag", f'"{found.digest}"'),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    )
    return answer(200, found.body, media_type=_TYPES[plain], headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asset:
    versioned: str
    digest: str
    body: bytes


@cache
def _asset(name: str) -> _Asset:
    body = files("resonate_web.gateway").joinpath("assets", name).read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:16]
    stem, _, suffix = name.rpartition(".")
    return _Asset(versioned=f"{stem}.{digest}.{suffix}", digest=digest, body=body)


def _plain(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{stem.partition('.')[0]}.{suffix}"


@cache
def _environment() -> Environment:
    """Return the templates; compiled once in a process, since every request may have pages of its own."""
    made = Environment(
        loader=PrefixLoader({"resonate": PackageLoader("resonate_web.gateway", "templates")}),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    named = (wording.moment, wording.clock, wording.duration, wording.pretty, wording.person, wording.people)
    made.globals.update({function.__name__: function for function in named})
    made.globals.update(kinds=wording.KINDS, step_state=wording.step_state)
    made.globals.update(approval_state=partial(wording.state_of, wording.APPROVALS))
    return made
