"""What `pip install resonate-web[flask]` adds to a Flask app, and what the first use costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import median
from benchmarks.processes import ROOT, Failed
from benchmarks.report import Result

_FIRST_USE = """
import sys, time
from flask import Flask
app = Flask("app", instance_path=sys.argv[1])
began = time.perf_counter()
from resonate_web.flask import Resonate
imported = time.perf_counter()
Resonate(app)
app.test_client().get("/status/nothing")
print(imported - began, time.perf_counter() - began)
"""


def measure(folder: Path, *, quick: bool) -> Iterator[Result]:
    """Count packages, then time imports; the former asks the package index."""
    runs = 3 if quick else 7
    samples = [_first_use(folder / str(i)) for i in range(runs + 1)][1:]  # the first one compiles
    yield Result(
        bench="install",
        case="import",
        values={"median_s": median([s[1] for s in samples]), "import_only_s": median([s[0] for s in samples])},
    )
    flask, ours = _packages("flask"), _packages(".[flask]")
    added = sorted(ours - flask)
    yield Result(bench="install", case="packages", values={"added": len(added), "names": " ".join(added)})


def _first_use(folder: Path) -> tuple[float, float]:
    folder.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", _FIRST_USE, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    if run.returncode:
        raise Failed(run.stderr[-2000:])
    import_only, whole = map(float, run.stdout.split())
    return import_only, whole


def _packages(requirement: str) -> set[str]:
    """Return the names of all that pip would install for this, ours included."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run = subprocess.run(
        [*pip, "--dry-run", "--ignore-installed", "--report", "-", requirement],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if run.returncode:
        raise Failed(run.stderr[-2000:])
    return {found["metadata"]["name"].lower() for found in json.loads(run.stdout)["install"]}
