"""A process that does nothing but execute runs, until it is told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import replace

from resonate_web.resonate.client import Resonate


def work(core: Resonate, say: Callable[[str], object]) -> None:
    """Execute runs until SIGTERM or SIGINT, whatever the setting `worker` says of the processes that serve.

    `say` is told when it begins. Only for the main thread, and before the client was used.
    """
    told = threading.Event()
    core.settings = replace(core.settings, worker=True)
    before = {number: signal.signal(number, lambda *_: told.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        core.ensure_started()
        say(f"executing runs of {core.settings.store}, group {core.settings.group!r}")
        told.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        core.close()
