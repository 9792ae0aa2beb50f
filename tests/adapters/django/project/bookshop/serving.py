"""What servers load: `application` for WSGI, `asgi` and `bare_asgi` for ASGI with and without our lifespan."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
bare_asgi = get_asgi_application()

from resonate_web.django.asgi import ResonateLifespan  # noqa: E402  (after the setup)

asgi = ResonateLifespan(bare_asgi)
