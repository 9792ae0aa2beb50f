"""For WSGI servers: `gunicorn -c gunicorn.conf.py -w 2 app:app`."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "expenses.settings")

app = get_wsgi_application()
