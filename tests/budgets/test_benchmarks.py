"""The benchmarks run: what nobody starts for a while must not rot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def benchmarks(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--folder", str(folder), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )


@pytest.mark.slow
def test_a_benchmark_prints_json_and_a_table(tmp_path):
    """Each case is a line of JSON; the table sets it beside its limit and its targets; no file stays behind."""
    run = benchmarks("fanout", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert [(line["bench"], line["case"]) for line in lines] == [
        ("limit", "1 row per commit"),
        ("limit", "64 rows per commit"),
        ("fanout", "1000 steps"),
        ("fanout", "1000 children"),
    ]
    assert [line.split()[0] for line in run.stdout.splitlines() if line.startswith("S")] == ["S8", "S8", "S9"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_process_is_part_of_a_benchmark(tmp_path):
    """Orders that a killed process left are finished and counted; what failed would be told by the exit status."""
    run = benchmarks("crash1000", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    crash = next(json.loads(line) for line in run.stdout.splitlines() if '"crash1000"' in line)
    assert crash["unfinished"] == 200
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_benchmark_is_refused(tmp_path):
    """A name that does not exist is an error that lists those that do."""
    run = benchmarks("oders", folder=tmp_path)
    assert run.returncode == 2
    assert "orders" in run.stderr
