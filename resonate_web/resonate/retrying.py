"""The next try of a failed run: same arguments, and the records of the steps that succeeded."""

from __future__ import annotations

from collections.abc import Sequence

from resonate_web.clock import FOREVER
from resonate_web.errors import CallerError
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.protocol.requests import PromiseCreate, PromiseSettle, Request, TaskCreate, TaskFence, TaskRelease
from resonate_web.resonate.launch import STARTED, failed
from resonate_web.workflow.commands import Kind
from resonate_web.workflow.ids import newer_id
from resonate_web.workflow.recorded import kind_of, replayable

KEPT = frozenset({Kind.STEP, Kind.WORKFLOW, Kind.RPC, Kind.SLEEP, Kind.PROMISE})
"""A race is run again: its losers were canceled."""


def requests_for(last: Promise, children: Sequence[Promise], *, now: int, token: str) -> tuple[str, list[Request]]:
    """Return the new id and one atomic group: take the new task, copy the records through its fence, give it back.

    `now` in ms. Raises: CallerError when the run has not failed.
    """
    if not failed(last):
        raise CallerError(f"{last.id!r} has not failed (it is {last.state}): there is nothing to retry")
    new = newer_id(last.id)
    root = PromiseCreate(
        id=new, timeout_at=now + FOREVER, param=last.param, tags={**_moved(last.tags, last.id, new), STARTED: token}
    )
    batch: list[Request] = [TaskCreate(pid=token, ttl=1000, action=root, preload="none")]
    for child in replayable(children).values():
        if child.state is PromiseState.RESOLVED and kind_of(child) in KEPT:
            batch += _copied(child, last.id, new, now)
    batch.append(TaskRelease(id=new, version=1))
    return new, batch


def _copied(child: Promise, old: str, new: str, now: int) -> list[Request]:
    id = _renamed(child.id, old, new)
    create = PromiseCreate(id=id, timeout_at=now + FOREVER, param=child.param, tags=_moved(child.tags, old, new))
    settle = PromiseSettle(id=id, state=child.state, value=child.value)
    return [
        TaskFence(id=new, version=1, action=create, preload="none"),
        TaskFence(id=new, version=1, action=settle, preload="none"),
    ]


def _moved(marks: tags.Tags, old: str, new: str) -> dict[str, str]:
    lineage = (tags.ORIGIN, tags.BRANCH, tags.PARENT)
    return {key: _renamed(value, old, new) if key in lineage else value for key, value in marks.items()}


def _renamed(id: str, old: str, new: str) -> str:
    return new + id[len(old) :] if id == old or id.startswith((f"{old}:", f"{old}.")) else id
