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
from resonate_web.workflow.recorded import ATTEMPT, kind_of

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
    for child in _kept(children):
        batch += _copied(child, last.id, new, now)
    batch.append(TaskRelease(id=new, version=1))
    return new, batch


def _kept(children: Sequence[Promise]) -> list[Promise]:
    """Return what succeeded, and the local workflows around it, parents first."""
    by_id = {child.id: child for child in children}
    kept: dict[str, Promise] = {}
    for child in sorted(children, key=lambda p: (p.id.count("."), len(p.id), p.id)):
        parent = child.tags.get(tags.PARENT, "")
        if ATTEMPT in child.tags or child.state is not PromiseState.RESOLVED or kind_of(child) not in KEPT:
            continue
        around: list[Promise] = []
        while parent in by_id and parent not in kept:
            around.append(by_id[parent])
            parent = by_id[parent].tags.get(tags.PARENT, "")
        if parent in kept and kept[parent].state is PromiseState.RESOLVED:
            continue  # its workflow has succeeded: nobody will ask for it
        kept.update((p.id, p) for p in [*reversed(around), child])
    return list(kept.values())


def _copied(child: Promise, old: str, new: str, now: int) -> list[Request]:
    id = _renamed(child.id, old, new)
    done = child.state is PromiseState.RESOLVED
    timeout_at = now + (FOREVER if done else child.timeout_at - child.created_at)
    create = PromiseCreate(id=id, timeout_at=timeout_at, param=child.param, tags=_moved(child.tags, old, new))
    batch: list[Request] = [TaskFence(id=new, version=1, action=create, preload="none")]
    if done:  # else it is a workflow that failed: it is run again and meets what had succeeded in it
        settle = PromiseSettle(id=id, state=child.state, value=child.value)
        batch.append(TaskFence(id=new, version=1, action=settle, preload="none"))
    return batch


def _moved(marks: tags.Tags, old: str, new: str) -> dict[str, str]:
    lineage = (tags.ORIGIN, tags.BRANCH, tags.PARENT)
    return {key: _renamed(value, old, new) if key in lineage else value for key, value in marks.items()}


def _renamed(id: str, old: str, new: str) -> str:
    return new + id[len(old) :] if id == old or id.startswith((f"{old}:", f"{old}.")) else id
