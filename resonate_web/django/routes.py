"""Where the project's own routes lie in the way of ours, or ours in theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve

from resonate_web.django import mount, views

ADVICE = "rename it, or include resonate_web.django.urls under another path"


def conflicts(prefix: str) -> Iterator[str]:
    """Say of each of our paths which route of the project's hides it, and of each route that ours hide it."""
    told: set[str] = set()
    for head, exact in mount.heads():
        ours, named = prefix + head, prefix + (head if exact else f"{head}<id>")
        route = _answering(ours if exact else f"{ours}x")
        if route is not None and route not in told:
            told.add(route)
            yield f"The project's route {route!r} answers {named} before resonate_web: {ADVICE}."
        for route in _routes(get_resolver()):
            meets = f"/{route}".rstrip("$") == ours if exact else f"/{route}".startswith(ours)
            if meets and route not in told:
                told.add(route)
                yield f"The project's route {route!r} lies where {named} of resonate_web is mounted: {ADVICE}."


def _answering(path: str) -> str | None:
    """Return the project's route that answers a path of ours, None where ours does."""
    try:
        match = resolve(path)
    except Resolver404:
        return None
    return None if match.func is views.answer else match.route


def _routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    """Return the project's routes as they are written, with what they are included under."""
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern, route)
        elif isinstance(pattern, URLPattern) and _callback(pattern) is not views.answer:
            yield route


def _callback(pattern: URLPattern) -> Any:
    return pattern.callback
