"""Retry policies: plain arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from resonate_web.workflow.commands import CallOptions, to_ms
from resonate_web.workflow.retry import Constant, Exponential, Linear, Never


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (Exponential(), [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000, 30000, None]),
        (Exponential(delay=0.2, factor=3, max_retries=3), [200, 600, 1800, None]),
        (Linear(delay=0.5, max_retries=3), [500, 1000, 1500, None]),
        (Constant(delay=2, max_retries=2), [2000, 2000, None]),
        (Never(), [None]),
    ],
    ids=lambda p: type(p).__name__,
)
def test_delays(policy: Any, delays: list[int | None]) -> None:
    """Each policy waits as it says and gives up after its last retry."""
    assert [policy.delay_ms(n) for n in range(1, len(delays) + 1)] == delays


def test_growth_ends_at_the_longest_delay() -> None:
    """However many retries and whatever the factor, the delay is a number."""
    policy = Exponential(delay=1, factor=1e300, max_retries=10**9, max_delay=60)
    assert [policy.delay_ms(n) for n in (1, 2, 3, 1000, 10**9)] == [1000, 60000, 60000, 60000, 60000]
    assert Exponential(factor=10**50, max_retries=10**9).delay_ms(5000) == 30000


@pytest.mark.parametrize(
    ("duration", "ms"), [(0, 0), (0.0015, 1), (3, 3000), (float("inf"), 200 * 365 * 24 * 3600 * 1000)]
)
def test_durations_are_whole_milliseconds(duration: float, ms: int) -> None:
    """Seconds become milliseconds, and for ever is a long time."""
    assert to_ms(duration) == ms


@pytest.mark.parametrize("duration", [-1, float("nan"), float("-inf")])
def test_impossible_durations(duration: float) -> None:
    """A negative or undefined duration is refused."""
    with pytest.raises(ValueError, match="duration"):
        to_ms(duration)


def test_options_change_only_what_is_named() -> None:
    """An option that is not given keeps its value; an unknown one is an error."""
    options = CallOptions().with_(timeout=2, tags={"a": "b"}).with_(announce=True, check_args=False)
    assert (options.timeout_ms, options.tags, options.announce, options.check_args) == (2000, {"a": "b"}, True, False)
    assert options.with_(check_args=True).check_args is True
    with pytest.raises(TypeError):
        options.with_(timeot=1)  # type: ignore[call-arg]
