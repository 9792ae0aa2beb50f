"""System checks: what `manage.py check` says before a request goes wrong. Their ids are stable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings as project
from django.core.checks import CheckMessage, Error, Warning
from django.db.backends.sqlite3 import base
from django.utils.module_loading import import_string

from resonate_web.config import Settings
from resonate_web.django import conf, mount, routes
from resonate_web.django.middleware import Middleware
from resonate_web.errors import ConfigError
from resonate_web.gateway.signing import MIN_KEY, checked_keys

MIDDLEWARE = f"{Middleware.__module__}.{Middleware.__name__}"


def check(**given: Any) -> list[CheckMessage]:
    """Check what every command needs."""
    return [*_settings(), *_middleware(), *_routes()]


def check_deployed(**given: Any) -> list[CheckMessage]:
    """Check what only matters in production (`check --deploy`)."""
    try:
        settings = conf.configured()
    except ConfigError:
        return []  # told by the other check
    if settings.base_url is not None:
        return []
    hint = "Set RESONATE['BASE_URL'], such as 'https://shop.example'."
    return [Warning("Links in mails cannot be absolute.", hint=hint, id="resonate.W002")]


def _settings() -> Iterator[CheckMessage]:
    try:
        settings = conf.configured()
        checked_keys(settings.signing_keys)
    except ConfigError as error:
        yield Error(str(error), id="resonate.E001")
        return
    alias = conf.alias_of(settings)
    try:
        store = settings.store if alias is None else conf.store_in(alias)
    except ConfigError as error:
        if not conf.tested():  # a project's tests may never come near the store
            yield Error(str(error), id="resonate.E002")
        return
    yield from _keys(settings)
    yield from _library(store)


def _keys(settings: Settings) -> Iterator[CheckMessage]:
    if not settings.signing_keys and len(project.SECRET_KEY) < MIN_KEY:
        yield Error(
            f"SECRET_KEY has fewer than {MIN_KEY} characters: whoever guesses it can sign links to runs.",
            hint="Set a longer SECRET_KEY, or RESONATE['SIGNING_KEYS'].",
            id="resonate.E006",
        )


def _library(store: str) -> Iterator[CheckMessage]:
    if not store.startswith("sqlite:"):
        return
    from resonate_web.store.sqlite_open import library_warning  # SQLAlchemy comes with it

    warning = library_warning(base.Database.sqlite_version_info)  # type: ignore[attr-defined]
    if warning is not None:
        yield Warning(warning, id="resonate.W001")


def _middleware() -> Iterator[CheckMessage]:
    for path in project.MIDDLEWARE:
        try:
            found = import_string(path)
        except ImportError:
            continue  # Django says so itself
        if isinstance(found, type) and issubclass(found, Middleware):
            return
    yield Error(
        "The middleware is missing: resonate.start() would not know which request it answers.",
        hint=f"Add {MIDDLEWARE!r} to MIDDLEWARE, as near to the top as may be.",
        id="resonate.E003",
    )


def _routes() -> Iterator[CheckMessage]:
    if getattr(project, "ROOT_URLCONF", None) is None:
        return
    try:
        prefix = mount.prefix()
    except ConfigError as error:
        yield Error(str(error), id="resonate.E004")
        return
    for conflict in routes.conflicts(prefix):
        yield Error(conflict, id="resonate.E005")
