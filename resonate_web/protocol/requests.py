"""Every request of the protocol and the one response shape, as values (protocol 3).

Requests of this library's own are marked *extension*: a server that does not know them
loses comfort, never correctness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Schedule, Task, TaskState, Value

Preload = Literal["branch", "owned", "none"]
"""Which children an acquiring request returns: those of the same branch (the protocol's answer), all that the
task created (extension: what a replay needs), or none."""

NO_TAGS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseGet:
    """Read a promise."""

    kind: ClassVar[str] = "promise.get"
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseCreate:
    """Create a promise, or return the existing one unchanged; `timeout_at` in ms since the epoch."""

    kind: ClassVar[str] = "promise.create"
    id: str
    timeout_at: int
    param: Value = EMPTY
    tags: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseSettle:
    """Settle a promise; the first verdict wins."""

    kind: ClassVar[str] = "promise.settle"
    id: str
    state: PromiseState
    value: Value = EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseRegisterCallback:
    """Have a task woken when an external promise settles."""

    kind: ClassVar[str] = "promise.register_callback"
    awaited: str
    awaiter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseRegisterListener:
    """Have an address told when an external promise settles."""

    kind: ClassVar[str] = "promise.register_listener"
    awaited: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseSearch:
    """List promises by id; `state` as seen now, `tags` a subset of theirs."""

    kind: ClassVar[str] = "promise.search"
    state: PromiseState | None = None
    tags: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGet:
    """Read a task."""

    kind: ClassVar[str] = "task.get"
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCreate:
    """Create a targeted promise and take its task at once; `ttl` in ms."""

    kind: ClassVar[str] = "task.create"
    pid: str
    ttl: int
    action: PromiseCreate
    preload: Preload = "branch"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAcquire:
    """Take a pending task at its version; `ttl` in ms."""

    kind: ClassVar[str] = "task.acquire"
    id: str
    version: int
    pid: str
    ttl: int
    preload: Preload = "branch"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFence:
    """Create or settle a promise only while the task is held at this version."""

    kind: ClassVar[str] = "task.fence"
    id: str
    version: int
    action: PromiseCreate | PromiseSettle
    preload: Preload = "branch"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRef:
    """A task at a version."""

    id: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHeartbeat:
    """Renew the leases of all tasks that a process holds."""

    kind: ClassVar[str] = "task.heartbeat"
    pid: str
    tasks: tuple[TaskRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSuspend:
    """Give up a task until one of the awaited promises settles."""

    kind: ClassVar[str] = "task.suspend"
    id: str
    version: int
    actions: tuple[PromiseRegisterCallback, ...]
    preload: Preload = "branch"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFulfill:
    """Settle the promise of a held task and end the task."""

    kind: ClassVar[str] = "task.fulfill"
    id: str
    version: int
    action: PromiseSettle


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """*Extension*: why one process could not proceed with a task, and with which code (a fingerprint)."""

    pid: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRelease:
    """Give a task back. *Extension*: `refusal` records why and defers the next dispatch by the retry interval."""

    kind: ClassVar[str] = "task.release"
    id: str
    version: int
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHalt:
    """Stop a task. *Extension*: `refusal` records why."""

    kind: ClassVar[str] = "task.halt"
    id: str
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContinue:
    """Let a halted task run again; clears its refusals and strikes."""

    kind: ClassVar[str] = "task.continue"
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSearch:
    """List tasks by id; `state` as seen now."""

    kind: ClassVar[str] = "task.search"
    state: TaskState | None = None
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleGet:
    """Read a schedule."""

    kind: ClassVar[str] = "schedule.get"
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleCreate:
    """Create a schedule, or return the existing one unchanged; `promise_timeout` is a duration in ms."""

    kind: ClassVar[str] = "schedule.create"
    id: str
    cron: str
    promise_id: str
    promise_timeout: int
    promise_param: Value = EMPTY
    promise_tags: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDelete:
    """Delete a schedule; what it created stays."""

    kind: ClassVar[str] = "schedule.delete"
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSearch:
    """List schedules by id."""

    kind: ClassVar[str] = "schedule.search"
    tags: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)
    limit: int = 10
    cursor: str | None = None


Request = (
    PromiseGet
    | PromiseCreate
    | PromiseSettle
    | PromiseRegisterCallback
    | PromiseRegisterListener
    | PromiseSearch
    | TaskGet
    | TaskCreate
    | TaskAcquire
    | TaskFence
    | TaskHeartbeat
    | TaskSuspend
    | TaskFulfill
    | TaskRelease
    | TaskHalt
    | TaskContinue
    | TaskSearch
    | ScheduleGet
    | ScheduleCreate
    | ScheduleDelete
    | ScheduleSearch
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer. `status` is the protocol's (200, 300, 400, 404, 409, 422); `action` is a fence's inner answer."""

    status: int
    promise: Promise | None = None
    task: Task | None = None
    schedule: Schedule | None = None
    action: Response | None = None
    preload: tuple[Promise, ...] = ()
    promises: tuple[Promise, ...] = ()
    tasks: tuple[Task, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    cursor: str | None = None
    error: str | None = None
