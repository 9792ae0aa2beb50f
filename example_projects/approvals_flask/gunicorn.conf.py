"""Run with `gunicorn -c gunicorn.conf.py -w 2 app:app`."""

# Workers take up interrupted runs when they start, before any request, and hand theirs back when they end.
from resonate_web.gunicorn import post_worker_init, worker_exit  # noqa: F401

worker_class = "gthread"
threads = 8
