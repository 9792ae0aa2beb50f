"""Install all that the checks need and run every one of them: `python3 scripts/check.py [step ...]`.

Needs only Python 3.11 and pip; makes `.venv` in the checkout. Browser and database server come from Debian's packages
when this machine can install them; otherwise the tests that need them say that they did not run. With CI=true whatever
cannot be installed is a failure. The last line printed is pytest's closing line of the whole suite.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
STRICT = os.environ.get("CI") == "true"
LIMIT_S = 40 * 60
"""The whole run ends within this time, whatever hangs."""
TRIES = 3
"""How often an installation is tried: an index may fail for a moment."""

# The rooms that never read the cache size. Everything else runs a second time without the cache of suspended workflows.
CACHE_FREE = ["tests/machine", "tests/protocol", "tests/store", "tests/test_architecture.py", "tests/test_docs.py"]
CACHE_FREE += ["tests/test_packaging.py", "tests/gateway/test_pages.py", "tests/gateway/test_pages_browser.py"]
CACHE_FREE += ["tests/http"]  # half of its servers have no cache
NO_CACHE = {"RESONATE_CACHE_SIZE": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One check: a name, a command of the virtual environment, and what it adds to the environment."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


EXAMPLES = ["pytest", "example_projects", "-n", "2", "--dist", "loadfile"]

STEPS = [
    Step(name="lint", command=["ruff", "check", "."]),
    Step(name="format", command=["ruff", "format", "--check", "."]),
    Step(name="types", command=["mypy"]),
    Step(name="layers", command=["lint-imports"]),
    Step(name="docs", command=["sphinx-build", "-q", "-W", "--fresh-env", "docs", ".venv/docs"]),
    Step(name="examples", command=EXAMPLES),
    Step(name="examples-nocache", command=[*EXAMPLES, "-m", "not pages"], env=NO_CACHE),
    Step(
        name="tests-nocache",
        command=["pytest", "tests", "-n", "2", *(f"--ignore={path}" for path in CACHE_FREE)],
        env=NO_CACHE,
    ),
    Step(name="tests", command=["pytest", "tests", "-n", "2"]),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a step ended; `closing` is pytest's last line, if it printed one."""

    step: Step
    code: int
    seconds: float
    closing: str | None


def main() -> int:
    """Install, run the chosen steps, report; return the exit status."""
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="step", help=f"some of: {', '.join(names)} (default: all)")
    chosen: list[str] = parser.parse_args().steps
    if unknown := set(chosen) - set(names):
        parser.error(f"no such step: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    ends_at = time.monotonic() + LIMIT_S
    install_python_packages()
    missing = install_system_packages()
    outcomes = [run(step, ends_at) for step in STEPS if not chosen or step.name in chosen]
    return report(outcomes, missing)


def install_python_packages() -> None:
    """Make `.venv` and install the package with all extras and the groups that the checks use."""
    if not (BIN / "python").exists():
        say("making .venv")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ROOT / ".venv")], check=True)
    pip = [str(BIN / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    say("installing Python packages")
    for args in (["pip>=25.1"], ["--editable", ".[all]", "--group", "docs", "--group", "lint", "--group", "tests"]):
        if not attempt([*pip, *args]):
            raise SystemExit("could not install the Python packages that the checks need")


def install_system_packages() -> list[str]:
    """Install the browser and the database server where this machine allows it; return what is missing."""
    present: dict[str, Callable[[], bool]] = {
        "chromium": lambda: shutil.which("chromium") is not None,
        "postgresql": lambda: any(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
    }
    wanted = [name for name, here in present.items() if not here()]
    if wanted and shutil.which("apt-get") and os.geteuid() == 0:
        say(f"installing {' and '.join(wanted)}")
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        if attempt(["apt-get", "update", "-qq"], env):
            attempt(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted], env)
    missing = [name for name in wanted if not present[name]()]
    if missing and STRICT:
        raise SystemExit(f"could not install {' and '.join(missing)}, and CI=true leaves nothing out")
    return missing


def attempt(command: Sequence[str], env: Mapping[str, str] | None = None) -> bool:
    """Run an installation until it succeeds, a few times at most; show what it printed only if it fails."""
    for n in range(TRIES):
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if done.returncode == 0:
            return True
        print(done.stdout)
        say(f"try {n + 1} of {TRIES} failed: {' '.join(command)}")
        time.sleep(5 * n)  # noqa: TID251  (nothing announces that an index answers again)
    return False


def run(step: Step, ends_at: float) -> Outcome:
    """Run one step, showing what it prints; kill it when the time of the whole run is over."""
    say(f"{step.name}: {' '.join([*(f'{k}={v}' for k, v in step.env.items()), *step.command])}")
    began = time.monotonic()
    process = subprocess.Popen(
        [str(BIN / step.command[0]), *step.command[1:]],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"} | dict(step.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    closings: list[str] = []
    # A thread, because a process that a test left behind may hold the pipe open after the step has ended.
    reader = threading.Thread(target=show, args=(process, closings), daemon=True)
    reader.start()
    try:
        code = process.wait(max(1.0, ends_at - time.monotonic()))
    except subprocess.TimeoutExpired:
        say(f"{step.name}: killed, the run has taken {LIMIT_S // 60} minutes")
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    reader.join(5)
    return Outcome(step=step, code=code, seconds=time.monotonic() - began, closing=closings[-1] if closings else None)


def show(process: subprocess.Popen[str], closings: list[str]) -> None:
    """Pass on what a step prints and keep pytest's closing lines."""
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if re.match(r"=+ .*\b(passed|failed|skipped|errors?|no tests ran|deselected)\b.* in [\d.]+s.* =+$", line):
            closings.append(line.strip())


def report(outcomes: Sequence[Outcome], missing: Sequence[str]) -> int:
    """Print one line per step, then what was left out, then pytest's closing line; return the exit status."""
    say("summary")
    for outcome in outcomes:
        verdict = "ok    " if outcome.code == 0 else "FAILED"
        note = (outcome.closing or "").strip("= ")
        print(f"{verdict} {outcome.step.name:<17} {outcome.seconds:6.1f} s  {note}".rstrip())
    for name in missing:
        print(f"NOT INSTALLED: {name}: the tests that need it did not run")
    failed = [outcome.step.name for outcome in outcomes if outcome.code != 0]
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    if outcomes and outcomes[-1].closing:
        print(outcomes[-1].closing)
    return 1 if failed else 0


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n--- {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
