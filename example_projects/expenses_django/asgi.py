"""For ASGI servers: `uvicorn asgi:app`. The lifespan takes up interrupted runs before any request."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from resonate_web.django.asgi import ResonateLifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "expenses.settings")

app = ResonateLifespan(get_asgi_application())
