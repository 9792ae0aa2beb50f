"""The orders app, that dies where a test says: at a commit, or inside of a step."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import threading
from pathlib import Path

from app import app, resonate  # type: ignore[import-not-found]  # the example's, in whose folder this is served
from resonate_web.store.sqlite import Handles, SqliteFile

__all__ = ["app"]

PLAN = Path(os.environ["CRASH_PLAN"])
"""While this file holds `<who> <when> <n>`, the process that makes its n-th commit under this plan dies then.

`who` is `worker` or `all`, `when` is `before` or `after`. The plan is carried out once.
"""

commit = SqliteFile.commit
counting = threading.Lock()
plan, count = "", 0


def planned() -> list[str]:
    """Count a commit under the plan; return who dies and when if it is the one."""
    global plan, count
    with counting:
        try:
            found = PLAN.read_text()
        except FileNotFoundError:
            return []
        if found != plan:
            plan, count = found, 0
        count += 1
        who, when, number = found.split()
        return [who, when] if count == int(number) else []


def die(who: str) -> None:
    PLAN.unlink()
    if who == "all":
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def mortal_commit(self: SqliteFile, handles: Handles) -> None:
    last = planned()
    if last and last[1] == "before":
        die(last[0])
    commit(self, handles)
    if last:
        die(last[0])


SqliteFile.commit = mortal_commit  # type: ignore[method-assign]


def segfault() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


@resonate.register
def fatal(ctx):
    """Reach one checkpoint and never the next."""
    yield ctx.run(dict)
    yield ctx.run(segfault)


@app.post("/fatal/<id>")
def start_fatal(id: str):
    return resonate.start(f"fatal/{id}", fatal)
