"""One generator or coroutine driven by hand: a value or an error in; a command, a result or a failure out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Yielded:
    """The workflow waits for what it yielded."""

    command: object


@dataclass(frozen=True, slots=True)
class Returned:
    """The workflow ended with a value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The workflow ended with an error."""

    error: BaseException


class Coroutine:
    """A workflow's body, whichever way it is written; `call` makes it, so that a wrong signature is its own failure."""

    __slots__ = ("_body", "_call")

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call: Callable[[], Any] | None = call
        self._body: Any = None

    def advance(self, value: Any, error: BaseException | None) -> Yielded | Returned | Raised:
        """Send a value or throw an error in and run to the next command."""
        try:
            if self._call is not None:
                call, self._call = self._call, None
                made = call()
                if not hasattr(made, "send"):
                    if not hasattr(made, "__await__"):
                        return Returned(made)  # a plain function
                    made = _awaited(made)
                self._body = made
            if error is not None:
                return Yielded(self._body.throw(error))
            return Yielded(self._body.send(value))
        except StopIteration as stop:
            return Returned(stop.value)
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # SystemExit and the like end the run, not the server's thread
            return Raised(raised)

    def close(self) -> None:
        """Unwind the body without ending the run.

        Commands yielded by `finally` blocks are dropped: closing is not an ending, another attempt runs them.
        """
        self._call = None
        for _ in range(_UNWINDINGS):
            innermost = _innermost(self._body)
            if innermost is None:
                return
            try:
                innermost.close()
            except RuntimeError:  # it yielded while closing: it now stands at that yield
                continue
            except Exception:
                pass
            if innermost is self._body:
                return


_UNWINDINGS = 1000
"""How many commands in nested `finally` blocks are dropped before a body is given up."""


def _innermost(body: Any) -> Any:
    """Return the generator or coroutine that a body stands in and that has not ended, None when all have.

    They are closed from the inside out: closing an outer one would leave an inner one standing at its yield.
    """
    found = None
    while body is not None:
        if getattr(body, "gi_frame", None) is None and getattr(body, "cr_frame", None) is None:
            break
        found = body
        body = getattr(body, "gi_yieldfrom", None) or getattr(body, "cr_await", None)
    return found


def _awaited(awaitable: Any) -> Any:
    return (yield from awaitable.__await__())
