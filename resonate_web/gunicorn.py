"""Hooks for gunicorn: `from resonate_web.gunicorn import post_worker_init, worker_exit` in gunicorn.conf.py.

Each worker then takes up interrupted runs when it is ready, before any request, and gives its own back when it
ends. Under `--preload` too: the application is imported in the master, but nothing is started there.
"""

from __future__ import annotations

import os
from typing import Any

from resonate_web.gateway.wsgi import clients, start_clients


def post_worker_init(worker: Any) -> None:
    """Start the engine in a worker that has loaded its application."""
    for client in clients(worker.wsgi):
        client.served_by(worker.cfg.threads, lambda: not worker.alive)
    start_clients(worker.wsgi, lambda message: worker.log.error("resonate_web.gunicorn: %s", message))


def worker_exit(server: Any, worker: Any) -> None:
    """Stop the engine of a worker that ends; its runs are free at once instead of after a look for dead owners."""
    if os.getpid() == worker.pid:  # the master calls this too, for a worker that it lost
        for client in clients(getattr(worker, "wsgi", None)):
            client.close()
