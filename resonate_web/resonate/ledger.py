"""The ledger of an approval: what people did with it, one entry after the other.

An entry is a promise below the approval, born settled, and numbered without gaps. It is written only at the next
free number and in one atomic group with what it causes, so whoever wrote an entry knew all entries before it, in
whichever process they were made: no vote is lost or counted twice. Where a server applies a part of a group only, the
entry is what comes first, and what it causes follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from resonate_web.clock import FOREVER
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState, Value
from resonate_web.protocol.requests import (
    PromiseCreate,
    PromiseGet,
    PromiseSettle,
    Request,
    Response,
    TaskCreate,
    TaskFence,
    TaskFulfill,
)
from resonate_web.workflow import ids
from resonate_web.workflow.codec import Codec, to_data
from resonate_web.workflow.recorded import parameters

EVENT = "resonate_web:event"
"""Tag of an entry; its value is what happened."""

PAGE = 16
"""Entries that are read at once; few approvals have more."""

_TTL = 60_000
_NOWHERE = "local://ledger"  # an entry has a task for its fence; that has ended when it is committed

Happened = Literal["created", "viewed", "voted", "link_revoked", "revoked", "approved", "rejected", "timedout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to an approval, at an instant in ms.

    `by` is who did it, as far as that is known; `approver` whose link was used, or who logged in. `agent` is the
    browser. `decision`, `comment` and `fields` are those of a vote, `expires_at` (ms) is the end of a revoked link.
    """

    kind: Happened
    at: int
    by: str | None = None
    approver: str = ""
    agent: str = ""
    decision: Literal["approve", "reject"] | None = None
    comment: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    expires_at: int | None = None

    def document(self) -> dict[str, Any]:
        """Return the event as JSON, without what it does not have."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(part) if name == "fields" else part for name, part in found.items() if part}

    @classmethod
    def of(cls, promise: Promise) -> Event:
        """Return what an entry tells; what a later version may have added is left out."""
        found = parameters(promise)
        told = {name: found[name] for name in cls.__slots__ if name in found}
        return cls(**{"kind": promise.tags[EVENT], "at": promise.created_at, **told})


def entry_id(approval: str, number: int) -> str:
    """Return the id of an entry; a digit after '@' can't be a promise's name."""
    return f"{ids.child_prefix(approval)}@{number}"


def appended(codec: Codec, approval: str, number: int, event: Event, *effects: PromiseSettle) -> list[Request]:
    """Return the group that writes an entry and what it causes, or changes nothing when the number is taken."""
    id = entry_id(approval, number)
    marks = {
        tags.SCOPE: "global",
        tags.TARGET: _NOWHERE,
        tags.ORIGIN: ids.origin(id),
        tags.BRANCH: id,
        tags.PARENT: approval,
        EVENT: event.kind,
    }
    param = Value(data=to_data(codec.dumps({**event.document(), "func": event.kind})))
    entry = PromiseCreate(id=id, timeout_at=event.at + FOREVER, param=param, tags=marks)
    settle = PromiseSettle(id=id, state=PromiseState.RESOLVED)
    return [
        TaskCreate(pid=_NOWHERE, ttl=_TTL, action=entry, preload="none"),
        *(TaskFence(id=id, version=1, action=effect, preload="none") for effect in effects),
        TaskFulfill(id=id, version=1, action=settle),
    ]


def was_written(answers: Sequence[Response]) -> bool:
    """Tell whether the group of `appended` has written its entry."""
    return answers[-1].status == 200


def read(ask: Callable[..., list[Response]], approval: str) -> tuple[Promise | None, tuple[Event, ...]]:
    """Return a promise as last committed, and the entries of its ledger; `ask` reads from the store."""
    first, *others = ask(PromiseGet(id=approval), *_gets(approval, 1))
    found: list[Event] = []
    while True:
        entries = [answer.promise for answer in others if answer.promise is not None]
        found += map(Event.of, entries)
        if len(entries) < PAGE:
            return first.promise, tuple(found)
        others = ask(*_gets(approval, len(found) + 1))


def _gets(approval: str, first: int) -> Iterator[PromiseGet]:
    return (PromiseGet(id=entry_id(approval, number)) for number in range(first, first + PAGE))
