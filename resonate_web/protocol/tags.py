"""What the reserved tags of a promise say about it (protocol 1.1 and 1.6)."""

from __future__ import annotations

from collections.abc import Mapping

TARGET = "resonate:target"
TIMER = "resonate:timer"
EXTERNAL = "resonate:external"
DELAY = "resonate:delay"
SCOPE = "resonate:scope"
ORIGIN = "resonate:origin"
BRANCH = "resonate:branch"
PARENT = "resonate:parent"
SCHEDULE = "resonate:schedule"

DETACHED = "resonate_web:detached"
"""Ours: the promise was started to outlive its creator; cancellation does not reach it."""
APPROVAL = "resonate_web:approval"
"""Ours: the promise is a question that people answer."""
ON_CANCEL = "resonate_web:on_cancel"
"""Ours: name and version (`name@2`) of the workflow that cleans up after a cancel or time-out."""

Tags = Mapping[str, str]


def is_timer(tags: Tags) -> bool:
    """Tell whether the deadline resolves the promise."""
    return tags.get(TIMER) == "true"


def is_targeted(tags: Tags) -> bool:
    """Tell whether the promise has a task; an empty target counts."""
    return TARGET in tags


def is_external(tags: Tags) -> bool:
    """Tell whether the promise may be awaited from outside: it may carry callbacks and listeners."""
    return tags.get(EXTERNAL) == "true" or TARGET in tags or is_timer(tags)


def is_approval(tags: Tags) -> bool:
    """Tell whether people settle the promise."""
    return tags.get(APPROVAL) == "true"


def is_detached(tags: Tags) -> bool:
    """Tell whether the promise outlives its creator."""
    return tags.get(DETACHED) == "true"
