"""The same shop for ASGI servers: `uvicorn asgi:app`. The wrapper takes up interrupted orders before any request."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from resonate_web.django.asgi import ResonateLifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
app = ResonateLifespan(get_asgi_application())
