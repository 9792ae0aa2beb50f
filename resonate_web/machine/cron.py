"""When a cron expression fires: POSIX fields, 0 and 7 are Sunday, in UTC.

Five fields, or six with seconds first. Names (`MON`, `JAN`) are safest: other servers of the protocol
number the days of the week from 1.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from resonate_web.machine.checks import Refused

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def next_after(cron: str, instant: int) -> int:
    """Return the first occurrence strictly after `instant`, both in ms.

    Raises: Refused when the expression is malformed or never fires again.
    """
    try:
        occurrence = next(CronSim(cron, _EPOCH + timedelta(milliseconds=instant)))
    except (CronSimError, StopIteration, OverflowError) as error:
        reason = str(error) or "it never fires"
        raise Refused(400, f"bad cron expression {cron!r}: {reason}") from error
    return (occurrence - _EPOCH) // _MILLISECOND
