"""The pump: fires what is due and knows when to look again.

What a commit of this process makes due is done in that commit; the pump is for deadlines, leases, offers that
nobody took, and whatever other processes left to do.
"""

from __future__ import annotations

import logging

from resonate_web.clock import Clock
from resonate_web.errors import StoreError
from resonate_web.machine.state import Message
from resonate_web.machine.steps import Delivered, Dispatch, Expire, Step
from resonate_web.protocol import requests
from resonate_web.protocol.records import PromiseState
from resonate_web.server.committer import MAX_GROUP
from resonate_web.server.server import Server
from resonate_web.turns import Alarm, Lane

log = logging.getLogger("resonate_web.server")


class Pump:
    """Runs on its own lane.

    `poll_ms` bounds how late it notices what other processes wrote. After the store was unreachable, no lease is
    expired for `renew_ms`: its holders could not renew it either.
    """

    def __init__(self, server: Server, lane: Lane, clock: Clock, *, poll_ms: int, renew_ms: int) -> None:
        self._server = server
        self._lane = lane
        self._clock = clock
        self._poll_ms = poll_ms
        self._renew_ms = renew_ms
        self._lenient_until = 0
        self._alarm: Alarm | None = None
        self._next: int | None = None
        self._stopped = False
        self._seen: int | None = None
        self._due_at = 0
        self._firing = False

    def start(self) -> None:
        """Begin."""
        self._server.wake = self.wake
        self._lane.soon(self._turn)

    def stop(self) -> None:
        """Fire nothing more."""
        self._stopped = True

    def wake(self, instant: int) -> None:
        """Be sure to look again at `instant` (ms) at the latest."""
        if self._next is None or instant < self._next:
            self._lane.soon(lambda: self._arm(instant))

    def nudge(self) -> None:
        """Look again now: there is room for work that was declined."""
        self._due_at = 0
        self._lane.soon(self._turn)

    def _arm(self, instant: int) -> None:
        if self._stopped or (self._next is not None and self._next <= instant):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._due_at = min(self._due_at, instant)
        self._next = instant
        self._alarm = self._lane.at(instant, self._turn)

    def _turn(self) -> None:
        if self._stopped:
            return
        self._next = None
        now = self._clock.now()
        try:
            changed = self._changed()
            if not self._firing and (changed or now >= self._due_at):
                self._fire(now)
            if changed:
                self._news()
        except StoreError as error:
            log.warning("the pump will try again: %s", error)
            self._seen = None  # what others wrote has not been taken in
            now = self._clock.now()
            self._due_at = now + self._poll_ms
            self._lenient_until = now + self._poll_ms + self._renew_ms
        self._arm(now + self._poll_ms if self._firing else min(self._due_at, now + self._poll_ms))

    def _changed(self) -> bool:
        seen, self._seen = self._seen, self._server.store.watch()
        return seen != self._seen

    def _fire(self, now: int) -> None:
        worker = self._server.worker
        due = self._server.store.due(now, worker.targets(), MAX_GROUP)
        steps: list[Step] = [s for s in due.steps if now >= self._lenient_until or not isinstance(s, Expire)]
        self._due_at = min(due.next_at if due.next_at is not None else now + 3_600_000, now + 3_600_000)
        if len(due.steps) >= MAX_GROUP:
            self._due_at = now
        if len(steps) < len(due.steps):
            self._due_at = min(self._due_at, self._lenient_until)
        if steps:
            self._firing = True  # what is on its way to a commit must not be listed again
            self._server.post_each(steps, lambda: self._lane.soon(self._fired))
        if any(isinstance(step, Dispatch) for step in steps):
            self._due_at = min(self._due_at, now + self._poll_ms)

    def _fired(self) -> None:
        self._firing = False
        if self._clock.now() >= self._due_at:
            self._turn()
        else:
            self._arm(self._due_at)

    def _news(self) -> None:
        """Take what others left for this process: messages, what is watched and what is followed here."""
        addresses = self._server.worker.addresses()
        messages = self._server.store.messages(addresses, MAX_GROUP) if addresses else ()
        for message in messages:
            self._take(message)
        watched = self._server.watched()
        for i in range(0, len(watched), MAX_GROUP):
            for answer in self._server.read(*(requests.PromiseGet(id=id) for id in watched[i : i + MAX_GROUP])):
                if answer.promise is not None and answer.promise.state is not PromiseState.PENDING:
                    self._server.announce(answer.promise)
        followers = self._server.followers
        if followers:
            followers.compare(self._server.store.traces(followers.runs()))

    def _take(self, message: Message) -> None:
        if message.promise is not None:
            self._server.worker.unblock(message.promise)
        self._server.post_each([Delivered(key=message.key)], lambda: None)
