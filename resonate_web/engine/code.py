"""A fingerprint of the app's code: a blocked run is tried again by a process whose code differs."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from resonate_web.workflow.registry import Registry


def fingerprint(registry: Registry) -> str:
    """Return 16 hex digits over what is registered and the loaded source files of, and beside, its modules."""
    digest = hashlib.blake2b(digest_size=8)
    packages: set[str] = set()
    for entry in registry.entries():
        digest.update(f"{entry.name}@{entry.version};".encode())
        packages.add(_package(entry.fn))
    for path in sorted(_loaded(packages)):
        try:
            digest.update(path.read_bytes())
        except OSError:
            continue
        digest.update(str(path).encode())
    return digest.hexdigest()


def _package(fn: Callable[..., Any]) -> str:
    while isinstance(fn, partial):
        fn = fn.func
    return str(getattr(fn, "__module__", None) or "").partition(".")[0]


def _loaded(packages: set[str]) -> set[Path]:
    """Return the files of these packages, wherever they are installed, and those of the app around them."""
    files = {name: path for name, module in list(sys.modules.items()) if (path := _file(module)) is not None}
    roots = {path.parent for name, path in files.items() if name in packages}
    own = {path for name, path in files.items() if name.partition(".")[0] in packages}
    return own | {p for p in files.values() if "site-packages" not in p.parts and not roots.isdisjoint(p.parents)}


def _file(module: object) -> Path | None:
    try:
        file = getattr(module, "__file__", None)
    except Exception:  # a module that is loaded lazily, and can't be
        return None
    return Path(file).resolve() if isinstance(file, str) and file.endswith(".py") else None
