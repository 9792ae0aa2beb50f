"""The rules of the house, held by tests: sizes, layers, cycles, laws, and what a test looks like."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
FILE_LIMIT = 400
ADAPTER_LIMIT = 150
FUNCTION_LIMIT = 60

# Each pure room and the shell that runs it.
PURE_ROOMS = ("protocol", "machine", "workflow", "gateway")
ADAPTERS = ("flask", "starlette", "django")

SOURCES = sorted([*ROOT.glob("resonate_web/**/*.py"), *ROOT.glob("contrib/**/*.py")])
TESTS = sorted([*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("example_projects/*/test_*.py")])


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_longer_than_one_idea() -> None:
    """No file of the package or its add-ons has more than 400 lines."""
    assert {_name(p): n for p in SOURCES if (n := _lines(p)) > FILE_LIMIT} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    """No function of the package or its add-ons has more than 60 lines."""
    long = {
        f"{_name(path)}:{f.lineno} {f.name}": f.end_lineno - f.lineno + 1
        for path in SOURCES
        for f in _functions(path)
        if f.end_lineno is not None and f.end_lineno - f.lineno >= FUNCTION_LIMIT
    }
    assert long == {}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_file_is_short(adapter: str) -> None:
    """Each file of a framework adapter has fewer than 150 lines, or the gateway does too little."""
    files = [*ROOT.glob(f"resonate_web/{adapter}.py"), *ROOT.glob(f"resonate_web/{adapter}/**/*.py")]
    assert {_name(p): n for p in files if (n := _lines(p)) >= ADAPTER_LIMIT} == {}


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_a_pure_room_states_its_law(room: str) -> None:
    """The docstring of each pure folder says what may not happen in it."""
    docstring = ast.get_docstring(ast.parse((ROOT / "resonate_web" / room / "__init__.py").read_text()))
    assert "Law:" in (docstring or "")


def test_no_modules_import_each_other() -> None:
    """The import graph has no cycle, imports inside functions and for type checkers included."""
    graph = grimp.build_graph("resonate_web", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_imports_go_down_the_layers() -> None:
    """Every import contract of pyproject.toml is kept."""
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run = subprocess.run([sys.executable, "-c", lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_package_does_not_import_its_add_ons() -> None:
    """Nothing in the package names `resonate_web.contrib`, under which import-linter cannot see the add-ons."""
    package = [path for path in SOURCES if path.is_relative_to(ROOT / "resonate_web")]
    assert [_name(path) for path in package if "resonate_web.contrib" in _imported(path)] == []


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        names.update(".".join(module.split(".")[:2]) for module in modules)
    return names


def test_every_test_says_what_it_shows() -> None:
    """Every test has a docstring: one sentence on the behaviour."""
    silent = [
        f"{_name(path)}:{f.lineno} {f.name}"
        for path in TESTS
        for f in _functions(path)
        if f.name.startswith("test_") and not ast.get_docstring(f)
    ]
    assert silent == []


def test_tests_are_not_packages() -> None:
    """No test folder is a package: tests are imported by path and never import each other."""
    assert [_name(path) for path in ROOT.glob("tests/**/__init__.py")] == []
