"""What the hooks of servers share: they know nothing but the WSGI callable, and find the clients in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from resonate_web.config import Settings
from resonate_web.errors import ResonateError

logger = logging.getLogger(__name__)

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

    def served_by(self, threads: int, stopping: Callable[[], bool]) -> None:
        """Learn how many threads the server has, and how it tells that it wants to end."""
        ...

    def close(self) -> None:
        """Stop the engine in this process."""
        ...


class Holder(Protocol):
    """What an application has of Resonate."""

    @property
    def core(self) -> Client:
        """Return the client."""
        ...


_HOLDERS: dict[type, Holder] = {}


def held_by(application: type, holder: Holder) -> None:
    """Say where the client of applications of a class is; for frameworks whose applications keep no extensions."""
    _HOLDERS[application] = holder


def clients(application: object) -> list[Client]:
    """Return the clients of an application and of all that it wraps or mounts, as far as attributes lead."""
    found: list[Client] = []
    seen: set[int] = set()
    layer = [application]
    for _ in range(_DEPTH):
        layer = [thing for thing in layer if thing is not None and id(thing) not in seen]
        seen.update(map(id, layer))
        for thing in layer:
            client = _client(thing)
            if client is not None and client not in found:
                found.append(client)
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


def _client(thing: object) -> Client | None:
    for application, holder in _HOLDERS.items():
        if isinstance(thing, application):
            try:
                return holder.core
            except ResonateError as error:
                logger.error("%r has no client: %s", thing, error)
    extensions = _attribute(thing, "extensions")
    state = extensions.get("resonate") if isinstance(extensions, Mapping) else None
    return None if state is None else cast(Holder, state).core


def _inside(thing: object) -> list[object]:
    mounts = _attribute(thing, "mounts")  # werkzeug's dispatcher
    mounted = list(mounts.values()) if isinstance(mounts, Mapping) else []
    return [_attribute(thing, name) for name in _INNER] + mounted


def _attribute(thing: object, name: str) -> object:
    try:
        return getattr(thing, name, None)
    except Exception:  # a proxy without its context
        return None
