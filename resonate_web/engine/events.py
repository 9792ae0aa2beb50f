"""What the engine tells observers: telemetry subscribes here, nothing is patched."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger("resonate_web.engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a run: `kind` is acquired, step_started, step_failed, step_ended, suspended,
    finished, lost, refused or released; `at` is in ms.
    """

    kind: str
    run: str
    at: int
    step: str | None = None
    attempt: int | None = None
    detail: str | None = None


Observer = Callable[[Event], None]


class Events:
    """One list of observers. An observer that raises is logged and stays."""

    def __init__(self) -> None:
        self._observers: tuple[Observer, ...] = ()

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Call `observer` for every event, on the thread where it happens; return a function that ends this."""
        self._observers += (observer,)

        def unsubscribe() -> None:
            self._observers = tuple(o for o in self._observers if o is not observer)

        return unsubscribe

    @property
    def wanted(self) -> bool:
        """Tell whether anybody listens."""
        return bool(self._observers)

    def emit(self, event: Event) -> None:
        """Tell every observer."""
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                log.exception("an event observer failed")
