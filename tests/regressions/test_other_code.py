"""A blocked run is continued by a process with other code, wherever that code is installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resonate_web.engine.code import fingerprint
from resonate_web.workflow.registry import Registry


@pytest.fixture
def modules() -> Iterator[None]:
    """Forget what a test imports."""
    before, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("folder", "file", "package"),
    [
        (".", "flat_flows.py", False),
        (".", "nested_flows/flows.py", True),
        (".", "bare_flows/flows.py", False),
        ("site-packages", "installed_flows.py", False),
        ("site-packages", "installed_nested_flows/flows.py", True),
    ],
)
def test_a_changed_workflow_changes_the_fingerprint(
    tmp_path: Path, modules: None, folder: str, file: str, package: bool
) -> None:
    """Also in a package without `__init__.py`, and in one that is installed."""
    source = tmp_path / folder / file
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("def flow(ctx): yield\n")
    if package:
        (source.parent / "__init__.py").touch()
    sys.path.insert(0, str(tmp_path / folder))
    importlib.invalidate_caches()
    registry = Registry()
    registry.add(importlib.import_module(file.removesuffix(".py").replace("/", ".")).flow)
    before = fingerprint(registry)
    assert fingerprint(registry) == before
    source.write_text("def flow(ctx): return (yield)\n")
    assert fingerprint(registry) != before


def test_what_is_registered_is_part_of_the_fingerprint() -> None:
    """A process that begins to register a function or version can continue what lacked it."""
    one, two, three = Registry(), Registry(), Registry()
    two.add(test_what_is_registered_is_part_of_the_fingerprint)
    three.add(test_what_is_registered_is_part_of_the_fingerprint, version=2)
    assert len({fingerprint(one), fingerprint(two), fingerprint(three)}) == 3


def test_a_builtin_has_a_fingerprint_too() -> None:
    """A function that belongs to no module is no obstacle."""
    registry = Registry()
    registry.add(str.upper)
    assert fingerprint(registry)
