"""Hook for uWSGI: `start_in_workers(app)` as the last line of the module that uWSGI loads.

Each worker then takes up interrupted runs when it is forked, before any request. Elsewhere the call does nothing,
so the module can be served by other servers too. uWSGI needs `enable-threads` (or `threads`).
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from typing import Any

from resonate_web.gateway.wsgi import clients

logger = logging.getLogger(__name__)


def start_in_workers(application: object) -> None:
    """Start the engine of an application in each uWSGI worker, with `lazy-apps` or without."""
    try:
        uwsgi = importlib.import_module("uwsgi")  # exists only inside of uWSGI
    except ImportError:
        return
    if not threaded(uwsgi.opt):
        logger.error("resonate_web.uwsgi: nothing can run here without threads; start uWSGI with --enable-threads")
    elif uwsgi.worker_id():
        _start(application)
    else:
        importlib.import_module("uwsgidecorators").postfork(lambda: _start(application))


def threaded(options: Mapping[str, Any]) -> bool:
    """Tell whether uWSGI's options let Python threads run beside requests."""
    given = options.get("enable-threads", False)
    return given is True or given in (b"true", b"1") or int(options.get("threads", 1)) > 1


def _start(application: object) -> None:
    for client in clients(application):
        if client.settings.autostart == "off":
            continue
        try:
            client.ensure_started()
        except Exception as error:  # a worker that dies here is started again and again: serve, and say so
            logger.error("resonate_web.uwsgi: the engine could not be started: %s", error)
