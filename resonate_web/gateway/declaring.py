"""What an application declares before anything runs: workflows, error classes, dependencies, idempotent handlers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar, overload

from resonate_web.gateway.idempotency import Rules
from resonate_web.workflow.codec import Codec
from resonate_web.workflow.registry import Registry
from resonate_web.workflow.retry import RetryPolicy

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=Exception)


class Declarations(ABC):
    """The part of an adapter's object that opens nothing and needs no setting."""

    def __init__(self, registry: Registry, codec: Codec, dependencies: dict[str, object]) -> None:
        self.registry = registry
        self.codec = codec
        self._dependencies = dependencies

    @overload
    def register(self, fn: F) -> F: ...

    @overload
    def register(
        self,
        *,
        name: str | None = None,
        version: int = 1,
        on_cancel: Callable[..., Any] | str | None = None,
        retry: RetryPolicy | None = None,
    ) -> Callable[[F], F]: ...

    def register(self, fn: F | None = None, **options: Any) -> F | Callable[[F], F]:
        """Register a workflow or step; call or decorator. Returns the function unchanged. Raises: AlreadyRegistered."""

        def add(fn: F) -> F:
            self.registry.add(fn, **options)
            return fn

        return add if fn is None else add(fn)

    @overload
    def idempotent(self, handler: F) -> F: ...

    @overload
    def idempotent(
        self,
        *,
        required: bool = False,
        allow_anonymous: bool = False,
        headers: tuple[str, ...] = (),
        fingerprint: Callable[[Any], Any] | None = None,
    ) -> Callable[[F], F]: ...

    def idempotent(self, handler: F | None = None, **rules: Any) -> F | Callable[[F], F]:
        """Let a POST or PATCH handler run once per Idempotency-Key and replay its answer; goes below the route's.

        `required`: a request without a key is refused. `allow_anonymous`: clients that nobody identifies share keys.
        `headers`: fields to store beside the usual ones. `fingerprint`: what makes two requests the same one, a
        function of the framework's request.
        """
        checked = Rules(**rules)

        def decorate(handler: F) -> F:
            return self._decorated(handler, checked)

        return decorate if handler is None else decorate(handler)

    def register_error(self, class_: type[E]) -> type[E]:
        """Let this exception class cross the boundary as itself; also a decorator."""
        self.codec.register_error(class_)
        return class_

    def set_dependency(self, name: str, value: object) -> None:
        """Give `ctx.get_dependency(name)` a value, in clients that exist and in later ones."""
        self._dependencies[name] = value

    @abstractmethod
    def _decorated(self, handler: F, rules: Rules) -> F:
        """Return a handler of this framework that keeps to the rules."""
