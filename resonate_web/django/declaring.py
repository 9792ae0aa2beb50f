"""Workflows that are found instead of declared: those of each app's `workflows.py`."""

from __future__ import annotations

from types import ModuleType

from resonate_web.django.site import Site
from resonate_web.workflow.registry import nature_of


def register_workflows(site: Site, module: ModuleType) -> None:
    """Register the generator functions of a module that take `ctx` first and are not registered already.

    An `async def` with `ctx` may be a step as well as a workflow: those are registered by hand.
    """
    for name, fn in list(vars(module).items()):
        if name.startswith("_") or not callable(fn) or getattr(fn, "__module__", None) != module.__name__:
            continue
        nature = nature_of(fn)
        if nature.generates and nature.takes_context and not site.registry.knows(fn):
            site.registry.add(fn)
