"""Every exception of the library, by whose fault it is.

ResonateError
├── CallerError                 the calling code or the client asked for something impossible
│   ├── InvalidId               a run, promise or schedule id breaks the rules of ids
│   ├── Unserializable          a value cannot be written as JSON
│   ├── TooLarge                a value or a body is over the configured limit
│   ├── NotRegistered           no function of that name and version is registered
│   ├── AlreadyRegistered       two functions were registered under one name and version
│   ├── IdInUse                 the id belongs to a run of another function or other arguments
│   ├── InvalidKey              an Idempotency-Key is malformed
│   ├── KeyMissing              the route needs an Idempotency-Key and the request has none
│   ├── KeyReused               an Idempotency-Key came again with another request
│   ├── KeyInUse                the first request with that Idempotency-Key is still being answered
│   ├── InvalidAnswer           an answer to an approval lacks something, or holds what it must not
│   ├── NotAllowed              this is not for whoever asks to do
│   ├── NotFound                no promise has that id
│   ├── WrongCall               a blocking call where blocking is not allowed, or a call too early
│   └── ConfigError             a setting is unknown, malformed or contradictory
├── RunError                    the outcome of a run, a step or a promise was not a value
│   ├── ApplicationError        user code raised an exception of an unregistered class
│   ├── Canceled                the promise was canceled
│   ├── TimedOut                the deadline passed first
│   └── Blocked                 the run cannot proceed until its code or its operator changes something
│       └── NonDeterminism      the code no longer issues the commands that were recorded
└── PlatformError               this library or its store could not do its part
    ├── StoreError              the store refused or failed
    │   ├── StoreConflict       a row was not as expected (internal: the group is redone)
    │   ├── StoreUnavailable    the store cannot be reached or written now
    │   ├── StoreUnknown        a commit failed and may or may not have happened
    │   └── SchemaMismatch      the stored schema is not the one this version speaks
    └── Stopped                 the engine of this process is stopped
"""

from __future__ import annotations

from collections.abc import Mapping


class ResonateError(Exception):
    """Base of every exception of the library."""

    status = 500
    """HTTP status that a problem document for this error carries."""
    slug = "internal"
    """Last part of the problem document's `type`; stable across releases."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class CallerError(ResonateError):
    """The call cannot be carried out as it was made."""

    status = 400
    slug = "bad-request"


class InvalidId(CallerError, ValueError):
    """The id breaks the rules of ids."""

    slug = "invalid-id"


class Unserializable(CallerError, TypeError):
    """The value cannot be written as JSON."""

    status = 500
    slug = "unserializable"


class TooLarge(CallerError, ValueError):
    """The value is over the configured limit."""

    status = 413
    slug = "too-large"


class NotRegistered(CallerError, LookupError):
    """No function of that name and version is registered."""

    status = 500
    slug = "not-registered"


class AlreadyRegistered(CallerError, ValueError):
    """Another function is registered under that name and version."""

    status = 500
    slug = "already-registered"


class IdInUse(CallerError):
    """The id belongs to a run with another function, other arguments or another principal."""

    status = 409
    slug = "id-in-use"


class InvalidKey(CallerError, ValueError):
    """The Idempotency-Key is malformed."""

    slug = "idempotency-key-invalid"


class KeyMissing(CallerError):
    """The request needs an Idempotency-Key."""

    slug = "idempotency-key-missing"


class KeyReused(CallerError):
    """The Idempotency-Key was used for another request."""

    status = 422
    slug = "idempotency-key-reused"


class KeyInUse(CallerError):
    """The first request with this Idempotency-Key is still being answered."""

    status = 409
    slug = "idempotency-key-in-use"


class InvalidAnswer(CallerError, ValueError):
    """The answer to the approval is not complete, or holds what it must not.

    `errors` has a message by the name of each part: `decision`, `comment`, or a field.
    """

    status = 422
    slug = "invalid-answer"

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {error}" for name, error in errors.items()))
        self.errors = dict(errors)


class NotAllowed(CallerError):
    """Somebody else may do that, you may not."""

    status = 403
    slug = "not-allowed"


class NotFound(CallerError, LookupError):
    """No promise has that id."""

    status = 404
    slug = "not-found"


class WrongCall(CallerError, RuntimeError):
    """The call is not allowed at this place."""

    status = 500
    slug = "wrong-call"


class ConfigError(CallerError, ValueError):
    """A setting is unknown, malformed or contradictory."""

    status = 500
    slug = "config"


class RunError(ResonateError):
    """A run, step or promise ended without a value."""

    slug = "run-failed"


class ApplicationError(RunError):
    """User code raised an exception whose class is not registered here.

    `type_name` is the class's name where it was raised, `trace` its traceback as text.
    """

    def __init__(self, message: str | None = None, *, type_name: str = "Exception", trace: str | None = None) -> None:
        super().__init__(message)
        if message == "":  # a class and no message: that is all there is to tell
            self.args = ("",)
        self.type_name = type_name
        self.trace = trace


class Canceled(RunError):
    """The promise was canceled."""

    slug = "canceled"


class TimedOut(RunError, TimeoutError):
    """The deadline passed before the promise was settled."""

    slug = "timed-out"


class Blocked(RunError):
    """The run cannot proceed until its code or its operator changes something."""

    slug = "blocked"


class NonDeterminism(Blocked):
    """The workflow's code no longer issues the commands that were recorded."""

    slug = "non-determinism"


class PlatformError(ResonateError):
    """The library could not do its part."""


class StoreError(PlatformError):
    """The store refused or failed."""


class StoreConflict(StoreError):
    """A stored row was not as the write expected it."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or written at the moment; nothing was changed."""

    status = 503
    slug = "store-unavailable"


class StoreUnknown(StoreError):
    """The commit failed, and whether it happened is unknown until the rows are read again."""

    status = 503
    slug = "store-unavailable"


class SchemaMismatch(StoreError):
    """The stored schema is not the one that this version speaks."""


class Stopped(PlatformError):
    """The engine of this process is stopped."""

    status = 503
    slug = "stopped"
