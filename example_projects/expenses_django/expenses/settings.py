"""The project's settings; what differs between places comes from the environment."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from expenses.people import address

BASE_DIR = Path(__file__).parents[1]
SECRET_KEY = os.environ.get("SECRET_KEY", "known to everybody: for your own machine only")

# Runs live beside the accounts, in Django's database; the links in mails begin where `runserver` serves.
os.environ.setdefault("RESONATE_STORE", "django://default")
BASE_URL = os.environ.setdefault("RESONATE_BASE_URL", "http://127.0.0.1:8000")

RESONATE = {
    "AUTOSTART": "eager",  # `runserver` takes up interrupted runs by itself; other servers do by their hooks
    "LOGIN_URL": "/login/",
    "PRINCIPAL": address,
}

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "resonate_web.django",
    "expenses",
]
MIDDLEWARE = [
    "resonate_web.django.middleware.Middleware",
    "expenses.middleware.strict",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "expenses.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("EXPENSES_DATABASE", BASE_DIR / "expenses.sqlite3"),
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},  # several processes write to the file
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/approvals"
LOGOUT_REDIRECT_URL = "/login/"

ALLOWED_HOSTS = ["127.0.0.1", "localhost", urlsplit(BASE_URL).hostname or ""]
CSRF_TRUSTED_ORIGINS = [BASE_URL]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BASE_URL.startswith("https://")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"mail": {"level": "INFO"}},  # mail that is not sent is shown where the server runs
}
