"""What every Django project has, and the two lines that name us; those are counted."""

from __future__ import annotations

SECRET_KEY = "a development key of some length"
ROOT_URLCONF = "django_app"
ALLOWED_HOSTS = ["*"]
BASE_DIR = "/nonexistent"
INSTALLED_APPS = ["resonate_web.django"]
MIDDLEWARE = ["resonate_web.django.middleware.Middleware"]
