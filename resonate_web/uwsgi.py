"""Hook for uWSGI: `start_in_workers(app)` as the last line of the module that uWSGI loads.

Each worker then takes up interrupted runs when it is forked, before any request. Elsewhere the call does nothing,
so the module can be served by other servers too. uWSGI needs `enable-threads` (or `threads`).
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from typing import Any

from resonate_web.gateway.wsgi import start_clients

logger = logging.getLogger(__name__)


def start_in_workers(application: object) -> None:
    """Start the engine of an application in each uWSGI worker, with `lazy-apps` or without."""
    try:
        uwsgi: Any = importlib.import_module("uwsgi")  # exists only inside of uWSGI
    except ImportError:
        return
    if not threaded(uwsgi.opt):
        logger.error("resonate_web.uwsgi: nothing can run here without threads; start uWSGI with --enable-threads")
    elif uwsgi.worker_id():  # lazy-apps: this is a worker already
        _start(application)
    elif uwsgi.masterpid():
        importlib.import_module("uwsgidecorators").postfork(lambda: _start(application))
    else:  # the decorators refuse to work without a master
        uwsgi.post_fork_hook = lambda: _start(application)


def threaded(options: Mapping[str, Any]) -> bool:
    """Tell whether uWSGI's options let Python threads run beside requests."""
    given = options.get("enable-threads", False)
    return given is True or given in (b"true", b"1") or int(options.get("threads", 1)) > 1


def _start(application: object) -> None:
    start_clients(application, lambda message: logger.error("resonate_web.uwsgi: %s", message))
