"""The setting `RESONATE`: a dict of settings in upper case, without prefix, such as `{"STORE": "django://default"}`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from django.conf import settings as project
from django.core import mail
from django.db import connections
from django.utils.connection import ConnectionDoesNotExist

from resonate_web.config import PREFIX, Settings, from_mapping
from resonate_web.errors import ConfigError

ALIAS = "django://"
"""How a store begins that is one of the project's databases."""


def configured() -> Settings:
    """Return the settings as they are written, a `django://` store unresolved; nothing is opened.

    Raises: ConfigError for an unknown key or a wrong value.
    """
    given = getattr(project, "RESONATE", {})
    if not isinstance(given, Mapping):
        raise ConfigError(f"the setting RESONATE must be a dict such as {{'STORE': ...}}, not {given!r}")
    found = from_mapping({f"{PREFIX}{key}": value for key, value in given.items()}, os.environ)
    if found.sources.get("prefix", "").startswith("config"):
        raise ConfigError(
            "RESONATE['PREFIX'] has no meaning here: the routes are where the URLconf includes "
            "resonate_web.django.urls, as in path('durable/', include('resonate_web.django.urls'))"
        )
    return found if "store" in found.sources else replace(found, store=_default_store())


def current() -> Settings:
    """Return the settings with the store that they lead to now: a test database, where the test runner has made one.

    Raises: ConfigError also for a database that cannot hold promises.
    """
    found = configured()
    alias = alias_of(found)
    return found if alias is None else replace(found, store=store_in(alias))


def alias_of(settings: Settings) -> str | None:
    """Return the alias of the database that holds the store, None if the store is none of Django's."""
    return settings.store.removeprefix(ALIAS) if settings.store.startswith(ALIAS) else None


def store_in(alias: str) -> str:
    """Return the store in the database of that alias. Raises: ConfigError when it can hold none."""
    setting = f"RESONATE['STORE'] = '{ALIAS}{alias}'"
    try:
        connection = connections[alias]
    except ConnectionDoesNotExist:
        known = ", ".join(sorted(connections.settings))
        raise ConfigError(f"{setting}: DATABASES has no alias {alias!r}; known are {known}") from None
    if connection.vendor == "postgresql":
        raise ConfigError(f"{setting}: PostgreSQL is not available in this version of resonate-web")
    if connection.vendor != "sqlite":
        raise ConfigError(f"{setting}: a {connection.vendor} database cannot hold promises; SQLite can")
    name = str(connection.settings_dict["NAME"])
    if in_memory(name):
        raise ConfigError(
            f"{setting}: this database is in memory, where only its own connection sees it. In tests give it a file, "
            f"DATABASES['{alias}']['TEST'] = {{'NAME': BASE_DIR / 'test.sqlite3'}}, or set RESONATE['STORE'] = 'memory://'"
        )
    if name.startswith("file:"):
        raise ConfigError(f"{setting}: its NAME must be a path, not the URI {name!r}")
    return f"sqlite:///{os.path.abspath(name)}"


def in_memory(name: str) -> bool:
    """Tell whether an SQLite database of that NAME has no file."""
    return name == ":memory:" or "mode=memory" in name


def tested() -> bool:
    """Tell whether Django's test environment is set up, by its test runner or by pytest-django."""
    return hasattr(mail, "outbox")  # the one public thing that setup_test_environment() leaves


def _default_store() -> str:
    if tested():
        return "memory://"
    folder = getattr(project, "BASE_DIR", None)
    if folder is None:
        raise ConfigError("set RESONATE['STORE'], such as 'sqlite:////var/lib/shop/resonate.db': there is no BASE_DIR")
    return f"sqlite:///{os.path.join(os.path.abspath(folder), 'resonate.db')}"
