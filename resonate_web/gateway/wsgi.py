"""Find the clients of a WSGI application, for the hooks of servers, which know nothing but the callable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from resonate_web.config import Settings

_INNER = ("app", "application", "wsgi_app", "_app", "wrapped", "__wrapped__", "__self__")
"""Where middlewares keep what they wrap."""

_DEPTH = 10


class Client(Protocol):
    """What a server's hook does with a client."""

    @property
    def settings(self) -> Settings:
        """Return the settings of the application."""
        ...

    def ensure_started(self) -> None:
        """Start the engine in this process."""
        ...

    def close(self) -> None:
        """Stop the engine in this process."""
        ...


def clients(application: object) -> list[Client]:
    """Return the clients of an application and of all that it wraps or mounts, as far as attributes lead."""
    found: list[Client] = []
    seen: set[int] = set()
    layer = [application]
    for _ in range(_DEPTH):
        layer = [thing for thing in layer if thing is not None and id(thing) not in seen]
        seen.update(map(id, layer))
        for thing in layer:
            extensions = _attribute(thing, "extensions")
            state = extensions.get("resonate") if isinstance(extensions, Mapping) else None
            if state is not None and state.core not in found:
                found.append(cast(Client, state.core))
        layer = [inner for thing in layer for inner in _inside(thing)]
    return found


def _inside(thing: object) -> list[object]:
    mounts = _attribute(thing, "mounts")  # werkzeug's dispatcher
    mounted = list(mounts.values()) if isinstance(mounts, Mapping) else []
    return [_attribute(thing, name) for name in _INNER] + mounted


def _attribute(thing: object, name: str) -> object:
    try:
        return getattr(thing, name, None)
    except Exception:  # a proxy without its context
        return None
