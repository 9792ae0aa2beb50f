"""What it takes to take up a run whose process was killed. As a script, this file is that process."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resonate_web import Resonate
from resonate_web.config import Settings

STATEMENTS = 3


def step(i):
    return i


def loop(ctx, steps):
    for i in range(steps):
        yield ctx.run(step, i)
    return (yield ctx.run(ctx.get_dependency("last")))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [10, 1_000])
def test_a_run_is_recovered_by_three_statements(counted, tmp_path, steps):
    """However long a run is: its rows and its steps are read by at most 3 SELECTs before its next step starts.

    Counted: whatever names the run. Not counted: the looks at what is due, owed and held, which serve all runs alike.
    """
    client = counted()
    victim = subprocess.run([sys.executable, __file__, str(tmp_path / "resonate.db"), str(steps)], timeout=60)
    assert victim.returncode == -signal.SIGKILL
    began = threading.Event()
    reads = []

    def last():
        reads.extend(client.file.selects())
        began.set()
        return "done"

    client.resonate.register(loop)
    client.resonate.set_dependency("last", last)
    client.resonate.ensure_started()
    assert began.wait(60)
    assert client.resonate.get("loop").result(timeout=60) == "done"
    assert 1 <= len([text for text in reads if '"loop"' in text]) <= STATEMENTS, reads


def be_killed(path, steps):
    def last():
        os.kill(os.getpid(), signal.SIGKILL)

    resonate = Resonate(Settings(store=f"sqlite:///{path}"))
    resonate.register(loop)
    resonate.set_dependency("last", last)
    resonate.run("loop", loop, steps)


if __name__ == "__main__":
    be_killed(Path(sys.argv[1]), int(sys.argv[2]))
