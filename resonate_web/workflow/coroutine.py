"""One generator or coroutine driven by hand: a value or an error in; a command, a result or a failure out."""

from __future__ import annotations

from collections.abc import Coroutine as AbstractCoroutine
from collections.abc import Generator
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
    """A workflow's body, whichever way it is written."""

    __slots__ = ("_body",)

    def __init__(self, body: Generator[Any, Any, Any] | AbstractCoroutine[Any, Any, Any]) -> None:
        self._body = body

    def advance(self, value: Any, error: BaseException | None) -> Yielded | Returned | Raised:
        """Send a value or throw an error in and run to the next command."""
        try:
            if error is not None:
                return Yielded(self._body.throw(error))
            return Yielded(self._body.send(value))
        except StopIteration as stop:
            return Returned(stop.value)
        except Exception as raised:
            return Raised(raised)

    def close(self) -> None:
        """Unwind the body without ending the run.

        Commands yielded by `finally` blocks are dropped: closing is not an ending, another attempt runs them.
        """
        for _ in range(_UNWINDINGS):
            try:
                self._body.close()
            except RuntimeError:  # it yielded while closing: the generator now stands at that yield
                continue
            except Exception:
                pass
            return


_UNWINDINGS = 1000
"""How many commands in nested `finally` blocks are dropped before a body is given up."""
