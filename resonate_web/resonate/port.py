"""What handles and promises need of the client."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

from resonate_web.protocol.records import Promise
from resonate_web.protocol.requests import Request, Response
from resonate_web.workflow.codec import Codec

T = TypeVar("T")


class Client(Protocol):
    """The part of `Resonate` that its values use."""

    codec: Codec

    def now(self) -> int:
        """Return the server's time in ms."""
        ...

    def record(self, id: str) -> Promise:
        """Return a promise as last committed. Raises: NotFound."""
        ...

    def settlement(self, id: str) -> Future[Promise]:
        """Return a future of a promise's settled record. Raises: NotFound."""
        ...

    def changes(self, id: str) -> Future[None]:
        """Return a future that is done when something of a run is recorded. Raises: WrongCall."""
        ...

    def wait(self, future: Future[T], timeout_ms: int | None) -> T:
        """Wait for a future in the way that this process waits."""
        ...

    def ask(self, request: Request, answered: Callable[[Response], T], *, lead: bool) -> Future[T]:
        """Submit one request; the future holds `answered(response)`."""
        ...
