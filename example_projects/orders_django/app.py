"""A shop whose orders survive any crash: `python manage.py runserver`, or `gunicorn -c gunicorn.conf.py app:app`."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
app = get_wsgi_application()
