"""What the project has of Resonate: the registry, and lazily the client, the gateway and the driver of its flows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings as project

from resonate_web.config import Settings
from resonate_web.django import conf, mount, pages
from resonate_web.django.transactions import World
from resonate_web.gateway.routes import Gateway
from resonate_web.resonate import Resonate as Core
from resonate_web.resonate.performing import OnLoop
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.registry import Registry

logger = logging.getLogger(__name__)


class Site:
    """One per process. Workflows, error classes and dependencies stay when the settings change, the client does not."""

    def __init__(self, read: Callable[[], Settings] = conf.current) -> None:
        self.registry = Registry()
        self.codec = Codec()
        self.dependencies: dict[str, object] = {}
        self.changes: dict[str, Any] = {}
        """What the command that runs in this process sets differently, by field of `Settings`."""
        self._read = read
        self._lock = threading.RLock()
        self._core: Core | None = None
        self._gateway: Gateway | None = None
        self._on_loop: OnLoop | None = None

    @property
    def core(self) -> Core:
        """Return the client. Raises: ConfigError when the settings are wrong."""
        if self._core is None:
            with self._lock:
                if self._core is None:
                    self._core = Core(
                        replace(self._read(), **self.changes),
                        registry=self.registry,
                        codec=self.codec,
                        dependencies=self.dependencies,
                        around_step=World,
                    )
        return self._core

    @property
    def gateway(self) -> Gateway:
        """Return the gateway, mounted where the URLconf includes our routes."""
        if self._gateway is None:
            with self._lock:
                if self._gateway is None:
                    mounted = self.core.options()  # a copy, which shares what is open
                    mounted.settings = replace(self.core.settings, prefix=mount.prefix())
                    self._gateway = Gateway(mounted, secrets=secrets, override=pages.override)
        return self._gateway

    @property
    def on_loop(self) -> OnLoop:
        """Return what drives flows under ASGI; Django's own code runs where Django runs it."""
        if self._on_loop is None:
            with self._lock:
                if self._on_loop is None:
                    self._on_loop = OnLoop(self.core, call=_in_django)
        return self._on_loop

    @property
    def opened(self) -> Core | None:
        """Return the client if there is one already."""
        return self._core

    @property
    def started(self) -> bool:
        """Tell whether nothing is left to be started here."""
        core = self._core
        return core is not None and (core.ready or core.settings.autostart == "off")

    def start(self) -> None:
        """Start the engine; a store that is away must not take the project down, so the next request tries again."""
        if self.core.settings.autostart == "off":
            return
        try:
            self.core.ensure_started()
        except Exception as error:
            logger.warning("the engine could not be started: %r", error, extra={"action": "ensure_started"})

    def remount(self) -> None:
        """Make the gateway anew at its next use: the routes or the keys have changed."""
        self._gateway = None

    def forget(self) -> None:
        """Stop the client, and make a new one at the next use."""
        with self._lock:
            core, self._core = self._core, None
            loop, self._on_loop = self._on_loop, None
            self._gateway = None
        if loop is not None:
            loop.close()
        if core is not None:
            core.close()


def _in_django(call: Callable[[], Any]) -> Awaitable[Any]:
    return sync_to_async(call, thread_sensitive=True)()


def secrets() -> list[str | bytes]:
    """Return the project's secrets, oldest first: Django lists its fallbacks newest first."""
    return [*reversed(project.SECRET_KEY_FALLBACKS), project.SECRET_KEY]


site = Site()
"""The site of this process."""
