"""`resonate` as the project's own: what it declares, what its client does, and the options given so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeVar, cast

from resonate_web.django import idempotent
from resonate_web.django.site import Site
from resonate_web.gateway.declaring import Declarations
from resonate_web.gateway.idempotency import Rules
from resonate_web.resonate import Options
from resonate_web.resonate import Resonate as Core
from resonate_web.resonate.calls import Calls

F = TypeVar("F", bound=Callable[..., Any])

OURS = frozenset({"allow_in_atomic", "using"})
"""Options that are about Django's transactions, beside those of `Options`."""


class Bound(Declarations, Calls):
    """What can be declared and done for the project of a site, under given options."""

    def __init__(self, site: Site, **options: Any) -> None:
        Declarations.__init__(self, site.registry, site.codec, site.dependencies)
        self._site = site
        self._options = options

    def options(self, **options: Any) -> Self:
        """Return the same verbs under options: those of `Options` such as `timeout=`, `tags=`, `version=`, `target=`,
        `on_failed=`; for starts in views also `allow_in_atomic=True`, for `start_on_commit` the database `using=`.
        """
        return type(self)(self._site, **{**self._options, **options})

    def ensure_started(self) -> None:
        """Start the engine in this process, which serves; idempotent. Only servers without a hook need this call."""
        self._core().ensure_started()

    def close(self) -> None:
        """Stop the engine in this process; a later use starts it afresh, with `memory://` on an empty store."""
        self._site.forget()

    def _decorated(self, handler: F, rules: Rules) -> F:
        return cast(F, idempotent.decorated(self._site, handler, rules))

    def _core(self) -> Core:
        core = self._site.core
        return core.options(**self._without_ours()) if self._options else core

    def _given(self) -> Options:
        return Options().with_(**self._without_ours())

    def _without_ours(self) -> dict[str, Any]:
        return {name: value for name, value in self._options.items() if name not in OURS}
