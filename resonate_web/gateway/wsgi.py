"""What the hooks of servers share: they know nothing but the WSGI callable, and find the clients in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def start_clients(application: object, complain: Callable[[str], object]) -> None:
    """Start the engine of every client of an application in this process, which serves it.

    Nothing is raised: a worker that dies of it would be started again and again, so it serves and says why.
    """
    found = clients(application)
    if not found:
        complain(f"no Resonate was found in {application!r}: is it behind a closure?")
    for client in found:
        if client.settings.autostart == "off":
            continue
        try:
            client.ensure_started()
        except Exception as error:
            complain(f"the engine could not be started: {error!r}")


def _inside(thing: object) -> list[object]:
    mounts = _attribute(thing, "mounts")  # werkzeug's dispatcher
    mounted = list(mounts.values()) if isinstance(mounts, Mapping) else []
    return [_attribute(thing, name) for name in _INNER] + mounted


def _attribute(thing: object, name: str) -> object:
    try:
        return getattr(thing, name, None)
    except Exception:  # a proxy without its context
        return None
