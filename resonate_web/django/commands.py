"""What the command that runs this process says about it."""

from __future__ import annotations

import os
import sys

from resonate_web.django.site import site


def serving() -> bool:
    """Tell whether this is the process of `runserver` that serves: the reloader's parent loads no handler.

    Asked where a handler is made, so a parent is never asked; a test client inside of another command is no server.
    """
    if sys.argv[1:2] != ["runserver"]:
        return False
    return os.environ.get("RUN_MAIN") == "true" or "--noreload" in sys.argv


def start_eagerly() -> None:
    """Start the engine before any request, if the settings say so and this process is to serve."""
    if serving() and site.core.settings.autostart == "eager":
        site.start()
