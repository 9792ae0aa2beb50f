"""The life of an app's engine: from the first request to the end of the app."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import flask

from resonate_web.flask import idempotent, mount
from resonate_web.flask.verbs import get_resonate
from resonate_web.resonate import Resonate as Core

logger = logging.getLogger(__name__)


def abandon(core: Core) -> None:
    """Stop the engine of an app that is gone; in a thread, because the collector may run under any lock."""
    threading.Thread(target=core.close, name="resonate-close", daemon=True).start()


def first_use(view: Callable[..., flask.Response]) -> None:
    """Start the engine with the first request of any path; a store that is away must not take the whole app down."""
    state = get_resonate()
    if not state.checked:
        mount.refuse_conflicts(flask.current_app, state.core.settings.prefix)
        idempotent.refuse_bypassed(flask.current_app)
        mount.exempt(flask.current_app, view)
        state.checked = True
    if state.core.settings.autostart == "off":
        return
    try:
        state.core.ensure_started()
    except Exception as error:
        logger.warning("the engine could not be started: %r", error, extra={"action": "ensure_started"})
