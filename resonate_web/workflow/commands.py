"""What a workflow yields: commands, futures and joins. Plain values; `execution` carries them out.

Each can be yielded, iterated (`value = yield from ctx.run(f)`, typed) or awaited in an `async def` workflow.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from resonate_web.workflow.retry import RetryPolicy

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Duration = float | timedelta
"""Seconds, or a timedelta."""


class Kind(StrEnum):
    """What a recorded child is."""

    STEP = "step"
    WORKFLOW = "workflow"
    RPC = "rpc"
    DETACHED = "detached"
    SLEEP = "sleep"
    PROMISE = "promise"
    RACE = "race"


REMOTE = frozenset({Kind.RPC, Kind.DETACHED, Kind.SLEEP, Kind.PROMISE})
"""Children that are settled by somebody else than the attempt that created them."""

BODIES = frozenset({Kind.STEP, Kind.WORKFLOW, Kind.RPC})
"""Children that a workflow never leaves unfinished behind."""


RESERVED = ("resonate:", "resonate_web:")
"""How the tags begin that say what a promise is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How one command is carried out; None means the default."""

    timeout_ms: int | None = None
    retry: RetryPolicy | None = None
    non_retryable: tuple[type[BaseException], ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    version: int | None = None
    announce: bool = False
    check_args: bool = True

    def with_(
        self,
        *,
        timeout: Duration | None = None,
        retry: RetryPolicy | None = None,
        non_retryable: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        tags: Mapping[str, str] | None = None,
        target: str | None = None,
        version: int | None = None,
        announce: bool | None = None,
        check_args: bool | None = None,
    ) -> CallOptions:
        """Return a copy with the given options changed; `timeout` is seconds or a timedelta.

        Raises: TypeError when `non_retryable` holds anything but exception classes, or a tag is no text or reserved.
        """
        for name, value in (tags or {}).items():
            if not (isinstance(name, str) and isinstance(value, str)) or name.startswith(RESERVED):
                raise TypeError(f"tags map text to text, and names that begin with 'resonate' are reserved: {name!r}")
        if isinstance(non_retryable, type):
            non_retryable = (non_retryable,)
        if not all(isinstance(c, type) and issubclass(c, BaseException) for c in non_retryable or ()):
            raise TypeError(f"non_retryable takes exception classes, not {non_retryable!r}")
        changes: dict[str, Any] = {
            "timeout_ms": None if timeout is None else to_ms(timeout),
            "retry": retry,
            "non_retryable": non_retryable,
            "tags": tags,
            "target": target,
            "version": version,
            "announce": announce,
            "check_args": check_args,
        }
        return replace(self, **{k: v for k, v in changes.items() if v is not None})


DEFAULT_OPTIONS = CallOptions()


class Yieldable(Generic[T_co]):
    """Something that a workflow waits on."""

    __slots__ = ()

    def __iter__(self) -> Generator[Self, Any, T_co]:
        result: T_co = yield self
        return result

    def __await__(self) -> Generator[Self, Any, T_co]:
        result: T_co = yield self
        return result


class Command(Yieldable[T_co]):
    """A child to create. Its id was counted when it was made, so make commands in a fixed order."""

    __slots__ = ("args", "context", "fn", "id", "issued", "key", "kind", "kwargs", "name", "opts", "until", "wait")

    def __init__(
        self,
        *,
        context: object,
        id: str,
        kind: Kind,
        name: str,
        fn: Callable[..., Any] | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        opts: CallOptions = DEFAULT_OPTIONS,
        wait: bool = True,
        until: int | None = None,
        key: str = "",
    ) -> None:
        self.context = context
        self.id = id
        self.kind = kind
        self.name = name
        self.fn = fn
        self.args = args
        self.kwargs = kwargs or {}
        self.opts = opts
        self.wait = wait
        self.until = until
        self.key = key
        self.issued = False

    def options(self, **options: Any) -> Self:
        """Set options of this command (see `CallOptions.with_`) before it is yielded; return the command."""
        self.opts = self.opts.with_(**options)
        return self

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} {self.id}>"


class Child(Protocol):
    """What a future stands for; `nodes.Node` to this library."""

    id: str
    timeout_at: int


class Future(Yieldable[T_co]):
    """A child that was begun: yield it for its value."""

    __slots__ = ("id", "node")

    def __init__(self, node: Child) -> None:
        self.node = node
        self.id = node.id

    def __repr__(self) -> str:
        return f"<future {self.id}>"


class Winner(NamedTuple):
    """Which member of a race ended first, and its value."""

    position: int
    value: Any


class All(Yieldable[list[Any]]):
    """Wait for every member; then return their values, or raise the error of the first failed position."""

    __slots__ = ("context", "members")

    def __init__(self, context: object, members: tuple[Command[Any] | Future[Any], ...]) -> None:
        self.context = context
        self.members = members


class Race(Yieldable[Winner]):
    """Wait for the first member to end; cancel the others. Which one won is recorded."""

    __slots__ = ("context", "id", "issued", "members")

    def __init__(self, context: object, id: str, members: tuple[Command[Any] | Future[Any], ...]) -> None:
        self.context = context
        self.id = id
        self.members = members
        self.issued = False


def to_ms(duration: Duration) -> int:
    """Return seconds or a timedelta as whole milliseconds. Raises: ValueError when negative."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not seconds >= 0:
        raise ValueError(f"a duration is a number of seconds that is not negative, not {duration!r}")
    return int(min(seconds * 1000, _LONGEST))


_LONGEST = 200 * 365 * 24 * 3600 * 1000
