"""`ctx`: the words of a workflow. Each makes a command; nothing happens before it is yielded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar, overload

from resonate_web.errors import WrongCall
from resonate_web.workflow import ids, schemas
from resonate_web.workflow.approvals import Approval, Asking, Comment, Fields, Question, fields_of
from resonate_web.workflow.commands import (
    DEFAULT_OPTIONS,
    All,
    CallOptions,
    Command,
    Duration,
    Future,
    Kind,
    Race,
    to_ms,
)
from resonate_web.workflow.registry import Registry, is_workflow, name_of
from resonate_web.workflow.retry import Never

T = TypeVar("T")
_MISSING = object()
_log = logging.getLogger("resonate_web.run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a workflow may know of its run: `attempt` counts from 1, `timeout_at` is in ms."""

    id: str
    attempt: int
    version: int
    timeout_at: int
    tags: Mapping[str, str]


class Context:
    """What a workflow receives as `ctx`. Not for steps: those receive a `StepContext`."""

    def __init__(
        self,
        *,
        id: str,
        info: Info,
        registry: Registry,
        dependencies: Mapping[str, object],
        now: Callable[[], int],
        opts: CallOptions = DEFAULT_OPTIONS,
    ) -> None:
        self.id = id
        self.info = info
        self._registry = registry
        self._dependencies = dependencies
        self._now = now
        self._opts = opts
        self.position = Position(id)

    # Made when asked for: a context that held them would be a cycle, left to the garbage collector after each run.

    @property
    def time(self) -> Time:
        """Return the recorded clock."""
        return Time(self)

    @property
    def random(self) -> Randomness:
        """Return the recorded source of random numbers."""
        return Randomness(self)

    @property
    def log(self) -> ReplayLogger:
        """Return a logger that is silent while the workflow repeats what is recorded."""
        return ReplayLogger(_log, self.position)

    @property
    def key(self) -> str:
        """Return the run's idempotency key: its id."""
        return self.id

    def options(self, **options: Any) -> Context:
        """Return a context whose commands carry these options.

        `timeout` (seconds or timedelta), `retry`, `non_retryable`, `tags`, `target`, `version`, `announce`,
        `check_args`.
        """
        twin = object.__new__(Context)
        twin.__dict__.update(self.__dict__)
        twin._opts = self._opts.with_(**options)
        return twin

    @overload
    def run(self, fn: Callable[..., Generator[Any, Any, T]], *args: Any, **kwargs: Any) -> Command[T]: ...
    @overload
    def run(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> Command[T]: ...
    def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Command[Any]:
        """Run a step, or a workflow within this run, and wait for its value."""
        return self._local(fn, args, kwargs, wait=True)

    def begin_run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Command[Future[Any]]:
        """Start a step, or a workflow within this run; yielding gives a future."""
        return self._local(fn, args, kwargs, wait=False)

    def rpc(self, fn: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Command[Any]:
        """Start a run of its own, perhaps in another process, and wait for its value."""
        return self._targeted(Kind.RPC, fn, args, kwargs, wait=True)

    def begin_rpc(self, fn: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Command[Future[Any]]:
        """Start a run of its own; yielding gives a future."""
        return self._targeted(Kind.RPC, fn, args, kwargs, wait=False)

    def detached(self, fn: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Command[Future[Any]]:
        """Start a run that outlives this one; yielding gives a future, which need not be awaited."""
        return self._targeted(Kind.DETACHED, fn, args, kwargs, wait=False)

    lfc = run
    lfi = begin_run
    rfc = rpc
    rfi = begin_rpc

    def sleep(self, duration: Duration) -> Command[None]:
        """Sleep for seconds or a timedelta, without a thread."""
        return Command(
            context=self.position,
            id=self.position.next(),
            kind=Kind.SLEEP,
            name="sleep",
            opts=self._opts,
            until=to_ms(duration),
        )

    def promise(
        self, name: str | None = None, *, timeout: Duration | None = None, schema: Mapping[str, Any] | None = None
    ) -> Command[Future[Any]]:
        """Make a promise that somebody else settles; yielding gives a future with its `id`.

        A callback's value is held against `schema`, a JSON schema. Raises: InvalidId for a bad name, WrongCall for a
        name used before in this run, ValueError for a schema that is none, ConfigError without its library.
        """
        opts = self._opts.with_(timeout=timeout)
        kwargs = {} if schema is None else {"schema": schemas.checked(schema)}
        id = self.position.next() if name is None else self.position.named(name)
        return Command(
            context=self.position,
            id=id,
            kind=Kind.PROMISE,
            name=name or "promise",
            kwargs=kwargs,
            opts=opts,
            wait=False,
        )

    def approval(
        self,
        name: str,
        *,
        summary: str = "",
        timeout: Duration | None = None,
        approvers: Iterable[str] = (),
        quorum: int = 1,
        require_login: bool = False,
        forbid_initiator: bool = False,
        comment: Comment = "optional",
        fields: Fields = (),
    ) -> Command[Approval]:
        """Ask people; yielding gives an `Approval` with its links, and yielding that gives the `Decision`.

        Raises: InvalidId for a bad name, WrongCall for a name used before in this run, TypeError and ValueError for
        rules that make no sense (see `Question`).
        """
        question = Question(
            id=ids.named_id(self.id, name),
            name=name,
            summary=summary,
            approvers=approvers,  # type: ignore[arg-type]  # checked and made a tuple there
            quorum=quorum,
            require_login=require_login,
            forbid_initiator=forbid_initiator,
            comment=comment,
            fields=fields_of(fields),
        )
        opts = self._opts.with_(timeout=timeout)
        self.position.named(name)
        return Asking(context=self.position, question=question, opts=opts)

    def all(self, *members: Command[Any] | Future[Any] | Iterable[Command[Any] | Future[Any]]) -> All:
        """Wait for all; return their values in order, or raise the error of the first failed position."""
        return All(self.position, _flat(members))

    def race(self, *members: Command[Any] | Future[Any] | Iterable[Command[Any] | Future[Any]]) -> Race:
        """Wait for the first to end and cancel the others; return `Winner(position, value)`, or raise its error."""
        flat = _flat(members)
        if not flat:
            raise WrongCall("a race needs at least one member")
        return Race(self.position, self.position.next(), flat)

    def get_dependency(self, name: str, default: Any = _MISSING) -> Any:
        """Return an object set with `resonate.set_dependency`. Raises: LookupError without a default."""
        return _dependency(self._dependencies, name, default)

    def _recorded(self, name: str, fn: Callable[[], T]) -> Command[T]:
        return Command(
            context=self.position,
            id=self.position.next(),
            kind=Kind.STEP,
            name=name,
            fn=fn,
            opts=CallOptions(retry=Never()),
            key=self.position.key(name),
        )

    def _local(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool) -> Command[Any]:
        if not callable(fn):
            raise WrongCall(f"ctx.run takes a function, not {fn!r}; a run by name is ctx.rpc")
        name = name_of(fn)
        return Command(
            context=self.position,
            id=self.position.next(),
            kind=Kind.WORKFLOW if is_workflow(fn, self._registry) else Kind.STEP,
            name=name,
            fn=fn,
            args=args,
            kwargs=kwargs,
            opts=self._opts,
            wait=wait,
            key=self.position.key(name),
        )

    def _targeted(
        self, kind: Kind, fn: Callable[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool
    ) -> Command[Any]:
        name = fn if isinstance(fn, str) else self._registry.of(fn).name
        counted = self.position.next()
        return Command(
            context=self.position,
            id=ids.detached_id(counted) if kind is Kind.DETACHED else counted,
            kind=kind,
            name=name,
            args=args,
            kwargs=kwargs,
            opts=self._opts,
            wait=wait,
        )


class Position:
    """Where one workflow stands: the numbers it has given out, and whether it repeats what is recorded.

    Shared by every view of a context; commands name it, so that one of another workflow is noticed.
    """

    __slots__ = ("_names", "_prefix", "_sequence", "_uses", "id", "replaying")

    def __init__(self, id: str) -> None:
        self.id = id
        self.replaying = False
        self._prefix = ids.child_prefix(id)
        self._sequence = 0
        self._uses: dict[str, int] | None = None
        self._names: set[str] | None = None

    def next(self) -> str:
        """Return the id of the next child."""
        self._sequence += 1
        return f"{self._prefix}{self._sequence}"

    def named(self, name: str) -> str:
        """Return the id of a named promise. Raises: InvalidId, WrongCall when the name was used."""
        id = ids.named_id(self.id, name)
        if self._names is None:
            self._names = set()
        if name in self._names:
            raise WrongCall(f"{self.id} has made a promise named {name!r} already")
        self._names.add(name)
        return id

    def key(self, name: str) -> str:
        """Return the idempotency key of the next use of a function."""
        if self._uses is None:
            self._uses = {}
        self._uses[name] = n = self._uses.get(name, 0) + 1
        return f"{self.id}/{name}/{n}"


class Time:
    """The clock, recorded: a replay reads the same instant."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def time(self) -> Command[float]:
        """Return seconds since the Unix epoch."""
        return self._ctx._recorded("time.time", lambda: self._ctx._now() / 1000)

    def now_ms(self) -> Command[int]:
        """Return milliseconds since the Unix epoch."""
        return self._ctx._recorded("time.now_ms", self._ctx._now)


class Randomness:
    """Random numbers, recorded: a replay draws the same. Not for secrets."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def random(self) -> Command[float]:
        """Return a float in [0, 1)."""
        return self._draw("random", lambda r: r.random())

    def randint(self, low: int, high: int) -> Command[int]:
        """Return a whole number from `low` to `high`, both included."""
        return self._draw("randint", lambda r: r.randint(low, high))

    def choice(self, options: list[T]) -> Command[T]:
        """Return one of the options."""
        return self._draw("choice", lambda r: r.choice(options))

    def _draw(self, name: str, draw: Callable[[Random], T]) -> Command[T]:
        source = self._ctx._dependencies.get("resonate:random")
        random = source if isinstance(source, Random) else Random()
        return self._ctx._recorded(f"random.{name}", lambda: draw(random))


class ReplayLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that is silent while the workflow repeats what is recorded."""

    def __init__(self, logger: logging.Logger, position: Position) -> None:
        super().__init__(logger, {"promise_id": position.id})
        self.position = position

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  (logging's own name)
        """Tell whether a record of this level would be written now."""
        return not self.position.replaying and self.logger.isEnabledFor(level)


class StepContext:
    """What a step receives when its first parameter is named `ctx`.

    `id` is the step's promise, `key` the idempotency key towards other systems: the same in every attempt and
    after every crash. `attempt` counts from 1 in this process.
    """

    __slots__ = ("_cancelled", "_dependencies", "attempt", "id", "key")

    def __init__(
        self, *, id: str, key: str, attempt: int, dependencies: Mapping[str, object], cancelled: Callable[[], bool]
    ) -> None:
        self.id = id
        self.key = key
        self.attempt = attempt
        self._dependencies = dependencies
        self._cancelled = cancelled

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """Return a logger whose records name the step's promise."""
        return logging.LoggerAdapter(_log, {"promise_id": self.id})

    @property
    def cancelled(self) -> bool:
        """Tell whether the result is no longer wanted: the run was canceled, timed out or taken over."""
        return self._cancelled()

    def get_dependency(self, name: str, default: Any = _MISSING) -> Any:
        """Return an object set with `resonate.set_dependency`. Raises: LookupError without a default."""
        return _dependency(self._dependencies, name, default)


def _dependency(dependencies: Mapping[str, object], name: str, default: Any) -> Any:
    found = dependencies.get(name, default)
    if found is _MISSING:
        raise LookupError(f"no dependency {name!r}: call resonate.set_dependency({name!r}, ...) at start-up")
    return found


def _flat(members: tuple[Any, ...]) -> tuple[Command[Any] | Future[Any], ...]:
    if len(members) == 1 and not isinstance(members[0], Command | Future):
        members = tuple(members[0])
    for member in members:
        if not isinstance(member, Command | Future):
            raise WrongCall(f"only commands and futures can be joined, not {member!r}")
    return members
