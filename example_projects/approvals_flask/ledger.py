"""The effect ledger: when `EFFECT_LEDGER` names a file, it gets one JSON line, fsynced, whenever a step begins."""

from __future__ import annotations

import json
import os
import time

from resonate_web import StepContext


def begin(ctx: StepContext, step: str) -> None:
    """Note that a step begins, before anything else of it happens."""
    ledger = os.environ.get("EFFECT_LEDGER")
    if not ledger:
        return
    run = ctx.id.partition(":")[0]
    line = {"run": run, "step": step, "attempt": ctx.attempt, "pid": os.getpid(), "at": time.time(), "key": ctx.key}
    with open(ledger, "ab", buffering=0) as file:
        file.write(f"{json.dumps(line)}\n".encode())
        os.fsync(file.fileno())
