"""Child processes of a benchmark: started from the root of the checkout, ended by their own id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Failed(Exception):
    """A child did not end as it should; `printed` is what it had printed."""

    def __init__(self, message: str, printed: str = "") -> None:
        super().__init__(message)
        self.printed = printed


def run(*command: str, killed: bool = False, limit_s: float = 120) -> str:
    """Run `python -m <command>` to its end and return what it printed; `killed` tells that it ends by SIGKILL.

    Raises: Failed.
    """
    return run_with(sys.executable, *command, killed=killed, limit_s=limit_s)


def run_with(python: str, *command: str, killed: bool = False, limit_s: float = 120) -> str:
    """Do the same with another Python."""
    process = subprocess.Popen(
        [python, "-m", *command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _kill_group(process)
        out, err = process.communicate()
        raise Failed(f"{' '.join(command)} took longer than {limit_s:g} s\n{err[-2000:]}", out) from None
    except BaseException:
        _kill_group(process)
        raise
    if process.returncode != (-signal.SIGKILL if killed else 0):
        raise Failed(f"{' '.join(command)} ended with {process.returncode}\n{err[-2000:]}", out)
    return out


@contextmanager
def server(command: list[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> Iterator[None]:
    """Keep a server of this checkout running during a block."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **env, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Kill a child and what it started: they are a session of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
