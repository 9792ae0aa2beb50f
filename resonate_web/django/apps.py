"""The app: what Django calls when the project is set up. Nothing is opened, no thread is started."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import register
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import setting_changed
from django.utils.module_loading import autodiscover_modules

from resonate_web.django.declaring import register_workflows
from resonate_web.django.site import site
from resonate_web.gateway import wsgi

MODULE = "workflows"
"""The module that is looked for in every installed app."""


class ResonateConfig(AppConfig):
    """`"resonate_web.django"` in INSTALLED_APPS."""

    name = "resonate_web.django"
    label = "resonate"
    verbose_name = "Durable workflows"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks and signals, tell the servers' hooks where the client is, and discover the workflows."""
        from resonate_web.django import checks

        register(checks.check, "resonate")
        register(checks.check_deployed, "resonate", deploy=True)
        setting_changed.connect(_setting_changed, dispatch_uid="resonate_web")
        for handler in (WSGIHandler, ASGIHandler):
            wsgi.held_by(handler, site)
        autodiscover_modules(MODULE)
        for app in apps.get_app_configs():
            module = sys.modules.get(f"{app.name}.{MODULE}")
            if module is not None:
                register_workflows(site, module)


def _setting_changed(*, setting: str, **rest: Any) -> None:
    if setting in ("RESONATE", "BASE_DIR"):
        site.forget()
    elif setting in ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "ROOT_URLCONF", "FORCE_SCRIPT_NAME"):
        site.remount()
