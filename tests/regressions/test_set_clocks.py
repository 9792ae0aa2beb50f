"""A wall clock that is set back far must not make timers, retries and deadlines stand still."""

from __future__ import annotations

from typing import Any

from resonate_web import Context, Resonate, Settings, TimedOut
from resonate_web.clock import SystemClock

HOUR = 3_600_000


class SetBack(SystemClock):
    """The machine's clock, and what an operator took from it."""

    behind = 0

    def now(self) -> int:
        """Return the wall clock as it was set."""
        return super().now() - self.behind


def test_sleeps_and_deadlines_go_on_after_the_clock_was_set_back() -> None:
    """An hour is taken from the clock: a sleep started then ends, and so does the deadline of a step."""
    clock = SetBack()
    resonate = Resonate(Settings(store="memory://", poll_ms=20), clock=clock)

    def wait_for_the_end(ctx: Any) -> None:
        while not ctx.cancelled:
            pass

    @resonate.register
    def naps(ctx: Context) -> Any:
        yield ctx.sleep(0.05)
        try:
            yield ctx.options(timeout=0.2).run(wait_for_the_end)
        except TimedOut:
            return "timed out"
        return "ended"

    try:
        assert resonate.run("before", naps) == "timed out"
        clock.behind = HOUR
        assert resonate.begin_run("after", naps).result(20) == "timed out"
    finally:
        resonate.close()
