"""The shop's settings. No database, no session, no account: runs are kept in `resonate.db`, and nothing is migrated."""

from __future__ import annotations

import os
from pathlib import Path

from forms import LONGEST_BODY

BASE_DIR = Path(__file__).parent
SECRET_KEY = os.environ.get("SECRET_KEY", "a demo's key, known to everybody who reads this file")
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
DATA_UPLOAD_MAX_MEMORY_SIZE = LONGEST_BODY

INSTALLED_APPS = ["resonate_web.django", "shop.Shop"]
MIDDLEWARE = ["resonate_web.django.middleware.Middleware"]
ROOT_URLCONF = "urls"
WSGI_APPLICATION = "app.app"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {"environment": "shop.environment"},
    }
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

# A demo without accounts: anybody may read any order's status. `eager`: `runserver` takes up interrupted orders by
# itself; under gunicorn the hooks in gunicorn.conf.py do, under an ASGI server the wrapper in asgi.py.
RESONATE = {"STATUS_ACCESS": "public", "AUTOSTART": "eager"}
