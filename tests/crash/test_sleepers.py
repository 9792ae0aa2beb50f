"""Waiting costs rows, not threads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SLEEPERS = """
import asyncio, json, sys, threading
from resonate_web import Resonate
from resonate_web.config import Settings
from resonate_web.testing.servers import until

settings = Settings(store=sys.argv[1])
resonate = Resonate(settings)
asleep = 0
most = 0

def count(event):
    global asleep, most
    asleep += event.kind == "suspended"
    most = max(most, threading.active_count())

@resonate.register
def nap(ctx, n):
    yield ctx.sleep(86_400)

async def start(total):
    await asyncio.gather(*(resonate.abegin_run(f"nap/{n}", nap, n) for n in range(total)))

resonate.events.subscribe(count)
resonate.ensure_started()
asyncio.run(start(10_000))
until(lambda: asleep >= 10_000, 90)
held = len(resonate.runtime.store.held())
print(json.dumps({"most": most, "pool": settings.threads, "now": threading.active_count(), "held": held}))
resonate.close()
"""


def test_ten_thousand_sleeping_runs_need_no_threads(tmp_path: Path) -> None:
    """In one process, on SQLite, there are never more threads than the pool's and four."""
    run = subprocess.run(
        [sys.executable, "-c", SLEEPERS, f"sqlite:///{tmp_path / 'resonate.db'}"],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["held"] == 0
    assert seen["now"] <= seen["most"] <= seen["pool"] + 4
