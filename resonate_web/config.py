"""The settings, each documented at its field.

Sources, strongest first: the framework's configuration, the environment (`RESONATE_*`), the default.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from resonate_web.errors import ConfigError

PREFIX = "RESONATE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one `Resonate` behaves. Build it with `from_mapping`; it never changes afterwards."""

    store: str = field(default="sqlite:///resonate.db", repr=False)
    """Where promises rest: `sqlite:///path`, `memory://`. Adapters default to the framework's usual place."""

    group: str = "default"
    """The worker group: runs of this process are addressed to `poll://any@<group>`."""

    worker: bool = True
    """Whether this process executes runs; without it, it only starts and answers."""

    threads: int = 16
    """How many steps run at once in this process."""

    max_runs: int = 1000
    """How many runs this process holds at once; further ones wait in the store."""

    lease_ms: int = 15_000
    """How long a silent process keeps its runs before others on other hosts take them over."""

    retry_interval_ms: int = 5_000
    """How long an offered run may stay untaken before it is offered again."""

    cache_size: int = 10_000
    """How many suspended generators are kept; 0 replays every run from the store."""

    announce_ms: int = 100
    """A step that runs longer gets its pending row, so that a person can see it."""

    crash_limit: int = 5
    """A run whose owners died this often without a new checkpoint is blocked."""

    poll_ms: int = 500
    """How often another process's work is looked for."""

    owner_check_ms: int = 500
    """How often dead owners on this host are looked for."""

    grace_ms: int = 5_000
    """How long a shutdown waits for steps in flight."""

    sqlite_synchronous: str = "FULL"
    """`FULL` survives power loss; `NORMAL` may lose the last commits to it (never to a killed process)."""

    allow_network_fs: bool = False
    """Whether SQLite may live on a network file system, where its locks are known to fail."""

    migrate: str = "auto"
    """`auto` creates the schema when absent and upgrades it on SQLite; `off` forbids both."""

    autostart: str = "lazy"
    """`lazy` starts with the first request, `eager` when the process serves, `off` only by `ensure_started()`."""

    prefix: str = ""
    """URL prefix of the mounted routes, such as `/durable`."""

    status_access: str | Callable[..., bool] = "link"
    """Who may read a run's status: `link` (signed URL), `public`, or `(request, promise) -> bool`."""

    cancel_access: str | Callable[..., bool] = "link"
    """Who may cancel a run: `link` (a signed URL of its own), `public`, or `(request, promise) -> bool`."""

    webhook_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys of machines that settle promises (Standard Webhooks), oldest first: all verify. Without any, none can."""

    principal: Callable[..., str | None] | None = None
    """`(request) -> str | None`: who is asking; the default depends on the framework."""

    signing_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys for links, oldest first: all verify, the last signs. Default: derived from the framework's secret."""

    max_waits: int = 4
    """How many requests wait or stream at once in a WSGI process; gunicorn's hook makes it a quarter of the threads."""

    openapi: bool = False
    """Whether `<prefix>/resonate/openapi.json` describes the mounted routes."""

    base_url: str | None = None
    """Origin of absolute links in mails, such as `https://shop.example`."""

    login_url: str | None = None
    """Where people log in, such as `/login/`; approvals that need a login link there, with `?next=` to come back."""

    max_body: int = 1_048_576
    """Largest request body and largest encoded argument list, in bytes."""

    max_stored_response: int = 262_144
    """Largest response that an idempotent handler's key remembers, in bytes; a larger one is passed on unstored."""

    idempotent_lease_ms: int = 60_000
    """How long an idempotent handler may take before a retry runs it again: longer than your slowest one."""

    request_key_ttl_ms: int = 86_400_000
    """How long a key of an idempotent handler is remembered; after that it is a new one."""

    run_dir: str | None = None
    """Folder of the files by which processes on one host see each other live; default: beside the SQLite file."""

    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where each set field came from: `config` or `env`; both when config hid an environment variable."""


_AT_LEAST_ONE = (
    "threads",
    "max_runs",
    "lease_ms",
    "retry_interval_ms",
    "crash_limit",
    "poll_ms",
    "owner_check_ms",
    "idempotent_lease_ms",
    "request_key_ttl_ms",
)
_NAMES = {f.name.upper(): f for f in fields(Settings) if f.name != "sources"}


def from_mapping(
    config: Mapping[str, Any], environ: Mapping[str, str], *, defaults: Mapping[str, Any] | None = None
) -> Settings:
    """Build the settings from `RESONATE_*` keys of `config`, then of `environ`, then `defaults` (field names).

    Raises: ConfigError for an unknown key in `config` (naming the nearest known one) or a value of the wrong kind.
    Warns once for unknown environment variables.
    """
    values: dict[str, Any] = dict(defaults or {})
    sources: dict[str, str] = {}
    for name, text in _ours(environ).items():
        values[name] = _parse(name, text)
        sources[name] = "env"
    for key in sorted(k for k in config if k.startswith(PREFIX)):
        name = _known(key)
        values[name] = _checked(name, config[key])
        sources[name] = "config and env" if name in sources else "config"
    settings = Settings(**values, sources=sources)
    _validate(settings)
    return settings


def _ours(environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    unknown: list[str] = []
    for key in sorted(k for k in environ if k.startswith(PREFIX)):
        name = key.removeprefix(PREFIX)
        if name in _NAMES:
            found[name.lower()] = environ[key]
        else:
            unknown.append(key)
    if unknown:
        warnings.warn(f"unknown environment variables are ignored: {', '.join(unknown)}", stacklevel=4)
    return found


def _known(key: str) -> str:
    name = key.removeprefix(PREFIX)
    if name in _NAMES:
        return name.lower()
    near = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.0)
    raise ConfigError(f"unknown setting {key}: did you mean {PREFIX}{near[0]}?")


def _parse(name: str, text: str) -> Any:
    kind = str(_NAMES[name.upper()].type)
    try:
        if kind.startswith("bool"):
            return {
                "1": True,
                "true": True,
                "yes": True,
                "on": True,
                "0": False,
                "false": False,
                "no": False,
                "off": False,
            }[text.strip().lower()]
        if kind.startswith("int"):
            return int(text)
        if kind.startswith("tuple"):
            return tuple(part.strip() for part in text.split(",") if part.strip())
    except (KeyError, ValueError):
        raise ConfigError(f"{PREFIX}{name.upper()}={text!r} is not a valid {kind}") from None
    if kind.startswith("Callable"):
        raise ConfigError(f"{PREFIX}{name.upper()} can only be set in code")
    return text


def _checked(name: str, value: Any) -> Any:
    kind = str(_NAMES[name.upper()].type)
    if kind == "int" and (isinstance(value, bool) or not isinstance(value, int)):
        raise ConfigError(f"{PREFIX}{name.upper()} must be a whole number, not {value!r}")
    if kind == "bool" and not isinstance(value, bool):
        raise ConfigError(f"{PREFIX}{name.upper()} must be True or False, not {value!r}")
    if kind.startswith("tuple"):
        return (value,) if isinstance(value, str) else tuple(value)
    return value


def _validate(settings: Settings) -> None:
    choices = {
        "migrate": ("auto", "off"),
        "autostart": ("lazy", "eager", "off"),
        "sqlite_synchronous": ("FULL", "NORMAL"),
    }
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise ConfigError(f"{PREFIX}{name.upper()} must be one of {', '.join(allowed)}")
    if not callable(settings.status_access) and settings.status_access not in ("link", "public"):
        raise ConfigError("RESONATE_STATUS_ACCESS must be 'link', 'public' or a callable (request, promise) -> bool")
    if not callable(settings.cancel_access) and settings.cancel_access not in ("link", "public"):
        raise ConfigError("RESONATE_CANCEL_ACCESS must be 'link', 'public' or a callable (request, promise) -> bool")
    for name in _AT_LEAST_ONE:
        if getattr(settings, name) < 1:
            raise ConfigError(f"{PREFIX}{name.upper()} must be at least 1")
    if settings.prefix and (not settings.prefix.startswith("/") or settings.prefix.endswith("/")):
        raise ConfigError("RESONATE_PREFIX must start with '/' and not end with one")
