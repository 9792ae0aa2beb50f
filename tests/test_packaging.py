"""What a user installs and imports: the wheel, its extras, quiet imports, the public names, one version everywhere."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import resonate_web

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

MAX_ADDED_PACKAGES = 12
"""How many packages `resonate-web[flask]` may add to an environment that has Flask, itself included."""

# A change of this list is a change of the public API: it belongs in CHANGELOG.md.
PUBLIC_NAMES = {
    "AlreadyRegistered",
    "ApplicationError",
    "Approval",
    "Blocked",
    "CallerError",
    "Canceled",
    "ConfigError",
    "Constant",
    "Context",
    "Decision",
    "Exponential",
    "Field",
    "Future",
    "Handle",
    "IdInUse",
    "InvalidAnswer",
    "InvalidId",
    "InvalidKey",
    "KeyInUse",
    "KeyMissing",
    "KeyReused",
    "Launch",
    "Linear",
    "Never",
    "NonDeterminism",
    "NotAllowed",
    "NotFound",
    "NotRegistered",
    "Options",
    "PlatformError",
    "Resonate",
    "ResonateError",
    "RetryPolicy",
    "RunError",
    "SchemaMismatch",
    "Settings",
    "StepContext",
    "Stopped",
    "StoreError",
    "StoreUnavailable",
    "TimedOut",
    "TooLarge",
    "Unserializable",
    "Vote",
    "Winner",
    "WrongCall",
}

QUIET_IMPORT = """
import importlib, json, os, sys, threading

def open_files():
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            pass  # the descriptor of this very listing
    return found

before = open_files()
importlib.import_module(sys.argv[1])
after = open_files()
print(json.dumps({
    "frameworks": sorted({"flask", "werkzeug", "django", "starlette", "apscheduler"} & sys.modules.keys()),
    "threads": threading.active_count(),
    "opened": sorted(set(after.items()) - set(before.items())),
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshEnvironment:
    """A virtual environment with only `resonate-web[flask]`, installed from a wheel."""

    python: Path
    wheel: Path
    added: set[str]
    """What the installation added to an environment that had Flask."""


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    """Build the wheel from a copy of the sources and install it beside Flask."""
    place = tmp_path_factory.mktemp("fresh")
    source = place / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("resonate_web", "contrib"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    venv.create(place / "venv", with_pip=True)
    python = place / "venv/bin/python"
    _pip(python, "wheel", "--no-deps", "--wheel-dir", str(place), str(source))
    (wheel,) = place.glob("*.whl")
    _pip(python, "install", "flask")
    had = _installed(python)
    _pip(python, "install", f"{wheel}[flask]")
    return FreshEnvironment(python=python, wheel=wheel, added=_installed(python) - had)


def _pip(python: Path, *args: str) -> str:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *args]
    for _ in range(3):  # an index may fail for a moment
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode == 0:
            return run.stdout
    raise AssertionError(f"{' '.join(command)}\n{run.stdout}{run.stderr}")


def _installed(python: Path) -> set[str]:
    return {package["name"] for package in json.loads(_pip(python, "list", "--format=json"))}


def _import_quietly(python: str | Path, module: str) -> dict[str, Any]:
    run = subprocess.run([python, "-I", "-c", QUIET_IMPORT, module], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


IMPORTS = [("resonate_web", []), ("resonate_web.flask", ["flask", "werkzeug"])]


@pytest.mark.parametrize(("module", "frameworks"), IMPORTS)
def test_an_import_does_nothing(module: str, frameworks: list[str]) -> None:
    """Importing loads no foreign framework, starts no thread and leaves no file open."""
    seen = _import_quietly(sys.executable, module)
    assert seen == {"frameworks": frameworks, "threads": 1, "opened": []}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("fresh")
@pytest.mark.parametrize(("module", "frameworks"), IMPORTS)
def test_an_import_does_nothing_with_only_flask_installed(
    fresh: FreshEnvironment, module: str, frameworks: list[str]
) -> None:
    """The same holds for the wheel in an environment with only the `flask` extra."""
    seen = _import_quietly(fresh.python, module)
    assert seen == {"frameworks": frameworks, "threads": 1, "opened": []}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("fresh")
def test_a_flask_app_gets_few_packages(fresh: FreshEnvironment) -> None:
    """`resonate-web[flask]` adds at most 12 packages to an environment that has Flask."""
    assert len(fresh.added) <= MAX_ADDED_PACKAGES, sorted(fresh.added)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("fresh")
def test_the_wheel_holds_everything(fresh: FreshEnvironment) -> None:
    """The wheel has every module, the type marker, the pages' files and the add-ons, and nothing else."""
    with zipfile.ZipFile(fresh.wheel) as wheel:
        files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    kinds = ("*.py", "*.html", "*.css", "*.js", "*.svg", "py.typed")
    package = {str(p.relative_to(ROOT)) for kind in kinds for p in ROOT.glob(f"resonate_web/**/{kind}")}
    add_ons = {f"resonate_web/{p.relative_to(ROOT)}" for p in ROOT.glob("contrib/**/*.py")}
    assert files == package | add_ons


@pytest.mark.parametrize("python", [sys.executable])
def test_add_ons_are_importable_from_a_checkout(python: str) -> None:
    """An editable installation knows `resonate_web.contrib` too."""
    subprocess.run([python, "-I", "-c", "import resonate_web.contrib"], check=True)


def test_every_folder_is_packaged() -> None:
    """pyproject.toml lists each package folder, since no finder can see the add-ons beside the package."""
    folders = {".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("resonate_web/**/__init__.py")}
    add_ons = {
        ".".join(("resonate_web", *p.parent.relative_to(ROOT).parts)) for p in ROOT.glob("contrib/**/__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders | add_ons


def test_the_public_names_are_these() -> None:
    """`resonate_web` exports exactly the names listed here, and each of them is there."""
    assert set(resonate_web.__all__) == PUBLIC_NAMES
    assert all(hasattr(resonate_web, name) for name in PUBLIC_NAMES)


def test_there_is_one_version() -> None:
    """pyproject.toml, the installed package and the newest entry of the changelog agree."""
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["project"]["version"] == importlib.metadata.version("resonate-web")


def test_the_lowest_versions_are_tested() -> None:
    """`tox -e lowest` pins exactly the lower bounds that pyproject.toml promises."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    lines = tox["testenv:lowest"]["deps"].split()
    pins = {r.name: {s.version for s in r.specifier} for r in map(Requirement, lines)}
    promised = [*PROJECT["project"]["dependencies"]]
    for extra, requirements in PROJECT["project"]["optional-dependencies"].items():
        promised += requirements if extra != "all" else []
    bounds = {r.name: {s.version for s in r.specifier} for r in map(Requirement, promised)}
    assert pins == bounds
