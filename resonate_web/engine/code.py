"""A fingerprint of the app's code: a blocked run is tried again by a process whose code differs."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from resonate_web.workflow.registry import Registry


def fingerprint(registry: Registry) -> str:
    """Return 16 hex digits over the loaded source files beside the registered functions' modules."""
    roots = {root for entry in registry.entries() if (root := _root(entry.fn.__module__)) is not None}
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(_loaded(roots)):
        try:
            digest.update(path.read_bytes())
        except OSError:
            continue
        digest.update(str(path).encode())
    return digest.hexdigest()


def _root(module: str) -> Path | None:
    top = sys.modules.get(module.partition(".")[0])
    file = getattr(top, "__file__", None)
    return Path(file).resolve().parent if file else None


def _loaded(roots: set[Path]) -> set[Path]:
    found: set[Path] = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or "site-packages" in file:
            continue
        path = Path(file).resolve()
        if any(root in path.parents for root in roots):
            found.add(path)
    return found
