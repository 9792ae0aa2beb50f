"""Resonate for Django: `"resonate_web.django"` in INSTALLED_APPS, then `from resonate_web.django import resonate`.

One object serves the project. It holds what is registered; the client and the gateway are made at first use, from
the setting `RESONATE`, and again when a test overrides it.
"""

from __future__ import annotations

try:
    import django  # noqa: F401
except ImportError as error:
    raise ImportError("resonate_web.django needs Django: pip install 'resonate-web[django]'") from error

from resonate_web.django.site import Site, site
from resonate_web.django.verbs import Resonate

__all__ = ["Resonate", "Site", "resonate", "site"]

resonate = Resonate(site)
"""What views, commands and workflows of the project import."""
