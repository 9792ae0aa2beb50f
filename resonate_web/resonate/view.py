"""A run as a person looks at it: read from the store's rows, the same for status pages and the CLI."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from resonate_web.machine.state import TaskRow
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState, TaskState
from resonate_web.workflow.codec import error_document
from resonate_web.workflow.recorded import ATTEMPT, kind_of, name_of, parameters, payload

_ENDED = {
    PromiseState.RESOLVED: "succeeded",
    PromiseState.REJECTED: "failed",
    PromiseState.CANCELED: "canceled",
    PromiseState.TIMEDOUT: "timedout",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """An attempt that will be retried: its number, the error, and when the next one starts (ms)."""

    attempt: int
    error_type: str
    error_message: str
    next_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One recorded child: `kind` is step, workflow, rpc, sleep, promise, detached or race.

    `created_at` is when it began (ms), also where its row was written later.
    """

    id: str
    parent: str
    name: str
    kind: str
    state: PromiseState
    created_at: int
    settled_at: int | None
    timeout_at: int
    failures: tuple[FailedAttempt, ...]
    promise: Promise


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run and its recorded children in the order of their ids.

    `votes` tells how many people have voted so far, by the id of an open approval that needs several.
    """

    id: str
    promise: Promise
    task: TaskRow | None
    steps: tuple[StepView, ...]
    votes: Mapping[str, int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Tell whether the run has ended, however it did."""
        return self.promise.state is not PromiseState.PENDING

    @property
    def status(self) -> str:
        """Return running, waiting, blocked, succeeded, failed, canceled or timedout."""
        if self.done:
            return _ENDED[self.promise.state]
        if self.task is not None and self.task.state is TaskState.HALTED:
            return "blocked"
        if self.task is not None and self.task.refusals and self.task.state is TaskState.PENDING:
            return "blocked"
        if self.task is not None and self.task.state is TaskState.SUSPENDED:
            return "waiting"
        return "running"

    @property
    def reason(self) -> str | None:
        """Return why a blocked run is blocked."""
        if self.status != "blocked" or self.task is None or not self.task.refusals:
            return None
        return self.task.refusals[-1].reason

    @property
    def function(self) -> str | None:
        """Return the workflow's registered name."""
        name = parameters(self.promise).get("func")
        return name if isinstance(name, str) else None

    @property
    def updated_at(self) -> int:
        """Return the latest instant (ms) at which something of the run was recorded."""
        instants = [self.promise.created_at, self.promise.settled_at or 0]
        instants += [s.settled_at or s.created_at for s in self.steps]
        return max(instants)


def view(id: str, promise: Promise, task: TaskRow | None, children: Iterable[Promise]) -> RunView:
    """Build the view of a run from its records."""
    notes: dict[str, list[FailedAttempt]] = {}
    kept: list[Promise] = []
    for child in sorted(children, key=lambda promise: promise.created_at):
        if ATTEMPT in child.tags:
            notes.setdefault(child.tags.get(tags.PARENT, ""), []).append(_note(child))
        else:
            kept.append(child)
    kept.sort(key=_order)
    steps = _in_time(_step(child, notes.get(child.id, ())) for child in kept)
    return RunView(id=id, promise=promise, task=task, steps=tuple(steps))


def _in_time(steps: Iterable[StepView]) -> list[StepView]:
    """Put named children, which have no number, before the first counted one that began after them."""
    counted: list[StepView] = []
    named: deque[StepView] = deque()
    for step in steps:
        (counted if step.id.partition(":")[2].replace(".", "").isdigit() else named).append(step)
    placed: list[StepView] = []
    for step in counted:
        while named and named[0].created_at < step.created_at:
            placed.append(named.popleft())
        placed.append(step)
    return [*placed, *named]


def _step(promise: Promise, failures: Sequence[FailedAttempt]) -> StepView:
    called = parameters(promise)
    began = called.get("at")
    return StepView(
        id=promise.id,
        parent=promise.tags.get(tags.PARENT, ""),
        name=name_of(promise, called),
        kind=kind_of(promise, called),
        state=promise.state,
        created_at=began if isinstance(began, int) else promise.created_at,
        settled_at=promise.settled_at,
        timeout_at=promise.timeout_at,
        failures=tuple(failures),
        promise=promise,
    )


def _note(promise: Promise) -> FailedAttempt:
    next_at = payload(promise.value).get("next_at")
    error = error_document(promise.value)
    return FailedAttempt(
        attempt=int(promise.tags[ATTEMPT]),
        error_type=error["name"],
        error_message=error["message"],
        next_at=next_at if isinstance(next_at, int) else None,
    )


def _order(promise: Promise) -> list[tuple[int, str]]:
    """Sort counted children by number, then named and detached ones by when they were made."""
    parts = promise.id.partition(":")[2].split(".")
    return [(int(part), "") if part.isdigit() else (1 << 30, f"{promise.created_at:020}{part}") for part in parts]
