"""Forked children: each has an engine of its own, and none disturbs its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from resonate_web.config import PREFIX

SCRIPT = textwrap.dedent(
    """
    import os, sys
    from resonate_web.resonate import Resonate
    from resonate_web.testing.simulation import settings_for_tests

    def add(a, b): return a + b

    def workflow(ctx, n):
        yield ctx.sleep(0.01)
        return (yield ctx.run(add, n, 1))

    def pid(ctx):
        return (yield ctx.run(os.getpid))

    client = Resonate(settings_for_tests(store=sys.argv[1], poll_ms=20))
    client.register(workflow)
    client.register(pid)
    started = sys.argv[2] == "started"
    if started:
        assert client.run("parent/before", workflow, 1) == 2
        waiting = client.begin_run("parent/waiting", workflow, 5)
    before = client._home.runtime
    children = []
    for n in range(2):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert client._home.runtime is None
                assert client.run(f"child/{n}", workflow, n) == n + 1
                assert client.runtime is not before and client.runtime.process == os.getpid()
                client.close()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    if started:
        assert client._home.runtime is before
        assert waiting.result(20) == 6
    assert client.run("parent/after", workflow, 2) == 3
    client.close()
    print("fine")
    """
)


@pytest.mark.parametrize("when", ["started", "before the start"])
def test_a_forked_child_gets_a_runtime_of_its_own(tmp_path: Path, when: str) -> None:
    """Children forked before or after the start run workflows on the same file, and the parent goes on."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) or k == f"{PREFIX}CACHE_SIZE"}
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", SCRIPT, f"sqlite:///{tmp_path}/f.db", when],
        capture_output=True, text=True, timeout=60, env=environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "fine"
