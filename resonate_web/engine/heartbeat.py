"""The heartbeat: renews the leases of all held runs in one request, and looks for owners on this host that died."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from resonate_web.engine.engine import Engine
from resonate_web.errors import StoreError
from resonate_web.machine.steps import Reclaim
from resonate_web.protocol.requests import Response, TaskHeartbeat, TaskRef

log = logging.getLogger("resonate_web.engine")


class Heartbeat:
    """Runs on its own lane; nothing it does waits for a commit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._stopped = False

    def start(self) -> None:
        """Begin: dead owners are looked for at once, so that a restart takes over what was in flight."""
        self._look()
        self._tidy()
        now = self._engine.clock.now()
        self._engine.at(now + self._settings.lease_ms // 3, self._beat)

    def stop(self) -> None:
        """Renew nothing more."""
        self._stopped = True

    def _beat(self) -> None:
        if self._stopped:
            return
        engine = self._engine
        held = engine.roster.held()
        if held:
            refs = tuple(TaskRef(id=a.id, version=a.version) for a in held)
            sent = engine.clock.elapsed()
            request = TaskHeartbeat(pid=engine.pid, tasks=refs)
            engine.server.post([request], lambda answers: self._beaten(refs, sent, answers), lead=False)
        engine.at(engine.clock.now() + self._settings.lease_ms // 3, self._beat)

    def _beaten(self, refs: Sequence[TaskRef], sent: int, answers: Sequence[Response] | BaseException) -> None:
        if isinstance(answers, BaseException):
            log.warning("leases could not be renewed: %s", answers)
            return
        renewed = {(task.id, task.version) for task in answers[0].tasks}
        asked = {(ref.id, ref.version) for ref in refs}
        for attempt in self._engine.roster.held():
            key = (attempt.id, attempt.version)
            if key in renewed:
                attempt.lease_until = max(attempt.lease_until, sent + self._settings.lease_ms)
            elif key in asked and attempt.awaiting is None and not attempt.fulfilling:
                attempt.lose()

    def _look(self) -> None:
        if self._stopped:
            return
        try:
            self._take_over()
            self._engine.reconsider()
        except (StoreError, OSError) as error:
            log.warning("dead owners could not be looked for: %s", error)
        self._engine.at(self._engine.clock.now() + self._settings.owner_check_ms, self._look)

    def _tidy(self) -> None:
        server = self._engine.server
        try:
            self._engine.owners.tidy(lambda: {pid for _, _, pid in server.held()})
        except (StoreError, OSError) as error:
            log.warning("files of dead owners could not be removed: %s", error)

    def _take_over(self) -> None:
        engine = self._engine
        by_pid: dict[str, list[Reclaim]] = {}
        for id, version, pid in engine.server.held():
            if pid != engine.pid:
                by_pid.setdefault(pid, []).append(Reclaim(id=id, pid=pid, version=version))
        for pid, steps in by_pid.items():
            with engine.owners.dead(pid) as dead:
                if dead:
                    log.info("the owner of %d runs died; they are taken over", len(steps), extra={"action": "takeover"})
                    for step in steps:
                        engine.server.post([step], _ignore, lead=False)


def _ignore(answers: object) -> None:
    if isinstance(answers, BaseException):
        log.warning("a run could not be taken over yet: %s", answers)
