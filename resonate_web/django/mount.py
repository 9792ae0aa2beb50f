"""Where the gateway is mounted in the URLconf, and the request that is being answered."""

from __future__ import annotations

from contextvars import ContextVar
from urllib.parse import unquote

from django.http import HttpRequest
from django.urls import NoReverseMatch, get_script_prefix, reverse

from resonate_web.errors import ConfigError
from resonate_web.gateway.routes import ROUTES

NAMESPACE = "resonate"
CURRENT: ContextVar[HttpRequest | None] = ContextVar("resonate_request", default=None)
"""The request that is being answered, as our middleware saw it."""


def heads() -> dict[tuple[str, bool], str]:
    """Return how our paths begin, and whether that is the whole path, each with the name of its URL pattern."""
    found: dict[tuple[str, bool], str] = {}
    for route in ROUTES:
        if not route.tail or (route.head, route.exact) not in found:
            found[route.head, route.exact] = route.name
    return found


def prefix() -> str:
    """Return the path, below SCRIPT_NAME, under which our routes are included. Raises: ConfigError for none."""
    head, name = next((head, name) for (head, exact), name in heads().items() if not exact)
    try:
        found = reverse(f"{NAMESPACE}:{name}", kwargs={"rest": "x"})
    except NoReverseMatch:
        raise ConfigError(
            "the routes are not mounted: add path('', include('resonate_web.django.urls')) to the URLconf; "
            "their prefix cannot have parameters"
        ) from None
    path = "/" + unquote(found).removeprefix(get_script_prefix())
    if not path.endswith(f"{head}x"):
        raise ConfigError(
            f"the routes are mounted at {path[:-1]!r}: the path before include('resonate_web.django.urls') must "
            "end with '/'"
        )
    return path.removesuffix(f"{head}x")


def script_name() -> str:
    """Return where the project is mounted in its server."""
    return get_script_prefix().rstrip("/")
