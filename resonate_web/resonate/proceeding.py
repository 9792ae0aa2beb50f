"""Going on with a run that rests: one that is blocked, or whose failed steps wait for their next attempt.

A blocked run is offered again to all processes. A step waits for its retry inside of the process that holds the run,
so that process is told by a note: nobody else may start the step, since only the holder knows what else it runs.
When the holder dies before it reads the note, whoever takes the run over starts the step at once anyway.
"""

from __future__ import annotations

from resonate_web.clock import FOREVER
from resonate_web.engine.roster import PROCEED
from resonate_web.errors import CallerError
from resonate_web.protocol import tags
from resonate_web.protocol.records import PromiseState, TaskState, Value
from resonate_web.protocol.requests import (
    PromiseCreate,
    PromiseRegisterListener,
    PromiseSettle,
    Request,
    Response,
    TaskContinue,
    TaskHalt,
)
from resonate_web.resonate.view import RunView
from resonate_web.workflow import ids
from resonate_web.workflow.codec import to_data


def requests_for(run: RunView, *, group: str, now: int, token: str) -> list[Request]:
    """Return the atomic group that lets a run go on; `token` makes its note unique, `now` in ms.

    Raises: CallerError when nothing holds the run back that could be lifted.
    """
    id, task = run.promise.id, run.task
    if task is None or run.done:
        raise CallerError(f"{id!r} has ended ({run.status}): only retry() starts it again")
    if task.state is TaskState.HALTED:
        return [TaskContinue(id=id)]
    if task.state is TaskState.PENDING and task.refusals:
        return [TaskHalt(id=id), TaskContinue(id=id)]  # what those wrote who refused it is forgotten
    if task.state is TaskState.ACQUIRED and any(s.failures and s.state is PromiseState.PENDING for s in run.steps):
        return _noted(id, f"poll://uni@{group}/{task.pid}", now, token)
    raise CallerError(f"nothing holds {id!r} back (it is {run.status}): what it waits for must be settled")


def check(id: str, answers: list[Response]) -> None:
    """Raise CallerError when the run was not any more as it had been read."""
    if any(answer.status != 200 for answer in answers):
        raise CallerError(f"{id!r} has moved on meanwhile: look at it again")


def _noted(id: str, address: str, now: int, token: str) -> list[Request]:
    note = f"{ids.child_prefix(id)}@0-{token}"  # a digit after '@' can't be a promise's name
    marks = {
        tags.SCOPE: "global",
        tags.EXTERNAL: "true",
        tags.ORIGIN: ids.origin(id),
        tags.BRANCH: id,
        tags.PARENT: id,
        PROCEED: id,
    }
    param = Value(data=to_data('{"func":"proceed"}'))
    return [
        PromiseCreate(id=note, timeout_at=now + FOREVER, param=param, tags=marks),
        PromiseRegisterListener(awaited=note, address=address),
        PromiseSettle(id=note, state=PromiseState.RESOLVED),
    ]
