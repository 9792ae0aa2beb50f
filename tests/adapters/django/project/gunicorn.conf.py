"""Interrupted runs go on without a request."""

from resonate_web.gunicorn import post_worker_init, worker_exit

__all__ = ["post_worker_init", "worker_exit"]

control_socket_disable = True  # newer versions would have a thread for it in the master
