"""Functions by name and version, and what kind of function each is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from resonate_web.errors import AlreadyRegistered, NotRegistered
from resonate_web.workflow.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A function as registered: `on_cancel` is the name and version (`name@2`) of its cleanup workflow."""

    fn: Callable[..., Any]
    name: str
    version: int
    on_cancel: str | None = None
    retry: RetryPolicy | None = None


class Registry:
    """The functions of one app. Registering the same function again is harmless."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, int], Registered] = {}
        self._by_fn: dict[Any, Registered] = {}

    def add(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        version: int = 1,
        on_cancel: Callable[..., Any] | str | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Register `fn`. Raises: AlreadyRegistered when another function has that name and version."""
        if version < 1:
            raise ValueError(f"a version is at least 1, not {version}")
        entry = Registered(
            fn=fn, name=name or name_of(fn), version=version, on_cancel=self._cleanup(on_cancel), retry=retry
        )
        known = self._by_name.get((entry.name, version))
        if known is not None and known.fn is not fn:
            raise AlreadyRegistered(f"{entry.name!r} version {version} is already {_where(known.fn)}, not {_where(fn)}")
        self._by_name[entry.name, version] = entry
        self._by_fn[fn] = entry

    def find(self, name: str, version: int | None = None) -> Registered:
        """Return a function by name; without a version, the newest. Raises: NotRegistered."""
        if version is None:
            versions = [v for n, v in self._by_name if n == name]
            version = max(versions, default=1)
        entry = self._by_name.get((name, version))
        if entry is None:
            raise NotRegistered(f"no function {name!r} version {version} is registered in this process")
        return entry

    def of(self, fn: Callable[..., Any] | str, version: int | None = None) -> Registered:
        """Return the entry of a function or name. Raises: NotRegistered."""
        if isinstance(fn, str):
            return self.find(fn, version)
        entry = self._by_fn.get(fn)
        if entry is None:
            raise NotRegistered(f"{name_of(fn)!r} is not registered: call register({name_of(fn)}) at import time")
        return entry if version is None else self.find(entry.name, version)

    def knows(self, fn: Callable[..., Any]) -> bool:
        """Tell whether this very function is registered."""
        try:
            return fn in self._by_fn
        except TypeError:
            return False

    def entries(self) -> list[Registered]:
        """List all entries, by name and version."""
        return [self._by_name[key] for key in sorted(self._by_name)]

    def _cleanup(self, on_cancel: Callable[..., Any] | str | None) -> str | None:
        if on_cancel is None:
            return None
        entry = self.of(on_cancel)
        return f"{entry.name}@{entry.version}"


def name_of(fn: Callable[..., Any]) -> str:
    """Return a function's name as it is recorded; a partial has that of what it wraps."""
    while isinstance(fn, partial):
        fn = fn.func
    return getattr(fn, "__name__", type(fn).__name__)


def is_workflow(fn: Callable[..., Any], registry: Registry) -> bool:
    """Tell whether a call of `fn` yields commands: a generator function, or a registered `async def`."""
    nature = nature_of(fn)
    return nature.generates or (nature.awaited and registry.knows(fn))


@dataclass(frozen=True, slots=True)
class Nature:
    """How a function is called: as a generator, awaited, with a context first."""

    generates: bool
    awaited: bool
    takes_context: bool


def nature_of(fn: Callable[..., Any]) -> Nature:
    """Return how `fn` is called. `ctx` is handed over if the first parameter is named so or annotated `Context`."""
    try:
        return _remembered(fn)
    except TypeError:  # not hashable: looked at each time
        return _nature(fn)


def _nature(fn: Callable[..., Any]) -> Nature:
    plain = _unwrapped(fn)
    call = getattr(plain, "__call__", None)  # noqa: B004  (an object may have an async __call__)
    return Nature(
        generates=inspect.isgeneratorfunction(plain),
        awaited=inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(call),
        takes_context=_takes_context(fn),
    )


_remembered = lru_cache(maxsize=4096)(_nature)


def _takes_context(fn: Callable[..., Any]) -> bool:
    try:
        first = next(iter(inspect.signature(fn).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        return False
    annotation = first.annotation
    named = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return first.name == "ctx" or named.rpartition(".")[2] in ("Context", "StepContext")


def _unwrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(fn, partial):
        fn = fn.func
    return fn


def _where(fn: Callable[..., Any]) -> str:
    return f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', fn)}"
