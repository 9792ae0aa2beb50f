"""Values to stored text and back: base64 of JSON, plus registered types. Nothing is ever unpickled.

A registered type travels as `{"__type": tag, "value": ...}`; a user's own dict of that very shape travels
as a list of pairs under the tag `dict`, so that what was written is what is read. Errors travel as
`{"__type": "error", "name", "message", "stack"}` (protocol 5.3).
"""

from __future__ import annotations

import base64
import hashlib
import json
import traceback
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from resonate_web.errors import AlreadyRegistered, ApplicationError, Canceled, RunError, TimedOut, Unserializable
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Value
from resonate_web.workflow.decisions import DECISION, VOTE, Decision, Vote

TYPE = "__type"


class Codec:
    """Encode and decode values; `register` adds a type, `register_error` an exception class."""

    def __init__(self) -> None:
        self._by_type: dict[type, tuple[str, Callable[[Any], Any]]] = {}
        self._by_tag: dict[str, Callable[[Any], Any]] = {"dict": dict}
        self._errors: dict[str, type[Exception]] = {}
        self._encoder = json.JSONEncoder(
            default=self._default, allow_nan=False, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        for builtin in _BUILTIN_ERRORS:
            self.register_error(builtin)
        self.register(datetime, "datetime", datetime.isoformat, datetime.fromisoformat)
        self.register(date, "date", date.isoformat, date.fromisoformat)
        self.register(timedelta, "timedelta", timedelta.total_seconds, lambda s: timedelta(seconds=s))
        self.register(Decimal, "decimal", str, Decimal)
        self.register(UUID, "uuid", str, UUID)
        self.register(Decision, DECISION, Decision.document, Decision.of)
        self.register(Vote, VOTE, Vote.document, Vote.of)
        self.register(bytes, "bytes", lambda b: base64.b64encode(b).decode(), base64.b64decode)

    def register(self, type_: type, tag: str, encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> None:
        """Let values of exactly `type_` travel under `tag`; `encode` must return JSON or registered values."""
        self._by_type[type_] = (tag, encode)
        self._by_tag[tag] = decode

    def register_error(self, class_: type[Exception]) -> type[Exception]:
        """Let exceptions of this class be rebuilt as `class_(message)` on the other side; usable as a decorator.

        Raises: AlreadyRegistered when another class of that name was registered; one of Python's own is replaced.
        """
        known = self._errors.get(class_.__name__, class_)
        if known is not class_ and known not in _BUILTIN_ERRORS:
            raise AlreadyRegistered(f"{known.__module__}.{known.__qualname__} is registered under {class_.__name__!r}")
        self._errors[class_.__name__] = class_
        return class_

    def dumps(self, value: Any) -> str:
        """Return canonical JSON: sorted keys, no spaces. Raises: Unserializable naming what could not be written."""
        try:
            text = self._encoder.encode(value)
            if TYPE in text and _collides(value):
                text = self._encoder.encode(_escaped(value))
            if not text.isascii():
                text.encode()
        except UnicodeEncodeError:
            raise Unserializable("a text holds a lone surrogate and cannot be written as UTF-8") from None
        except Exception as error:  # also what a registered `encode` raises
            if "not supported between" in str(error):  # what sorting says of keys of several kinds
                raise Unserializable(f"{_short(value)} has a dict whose keys are not all text") from None
            raise Unserializable(f"{_short(value)} cannot be stored as JSON: {error}") from None
        return text

    def loads(self, text: str) -> Any:
        """Return the value of JSON made by `dumps`; each call makes a fresh copy.

        Raises: Unserializable when it is not JSON, or when a registered type cannot be read back.
        """
        try:
            if TYPE in text:
                return json.loads(text, object_hook=self._revive)
            return json.loads(text)
        except Unserializable:
            raise
        except Exception as error:
            raise Unserializable(f"a stored value cannot be read: {type(error).__name__}: {error}") from error

    def encode(self, value: Any) -> Value:
        """Return `value` as a stored payload; None is the empty payload."""
        if value is None:
            return EMPTY
        return Value(data=to_data(self.dumps(value)))

    def decode(self, value: Value) -> Any:
        """Return what a payload holds. Raises: Unserializable when it is not base64 of JSON."""
        if not value.data:
            return None
        return self.loads(from_data(value.data))

    def encode_error(self, error: BaseException) -> Value:
        """Return an exception as a stored payload: class name, message and traceback text."""
        name = error.type_name if isinstance(error, ApplicationError) else type(error).__name__
        stack = error.trace if isinstance(error, ApplicationError) else None
        lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        document = {TYPE: "error", "name": name, "message": _message(error), "stack": stack or lines[-8000:]}
        return Value(data=to_data(json.dumps(document, separators=(",", ":"))))

    def decode_error(self, value: Value) -> Exception:
        """Return a stored exception: its registered class, else ApplicationError."""
        document = error_document(value)
        name, message = document["name"], document["message"]
        known = self._errors.get(name)
        if known is not None:
            try:
                return known(message)
            except Exception:  # a class whose constructor wants more than a message
                pass
        return ApplicationError(message, type_name=name, trace=document["stack"])

    def outcome(self, promise: Promise) -> Any:
        """Return a settled promise's value. Raises: the stored error, Canceled or TimedOut."""
        if promise.state is PromiseState.RESOLVED:
            return self.decode(promise.value)
        if promise.state is PromiseState.CANCELED:
            raise Canceled(f"{promise.id} was canceled")
        if promise.state is PromiseState.TIMEDOUT:
            raise TimedOut(f"{promise.id} was not settled before its deadline")
        raise self.decode_error(promise.value)

    def _default(self, value: Any) -> Any:
        entry = self._by_type.get(type(value))
        if entry is None:
            raise TypeError(f"no codec is registered for {type(value).__module__}.{type(value).__qualname__}")
        tag, encode = entry
        return {TYPE: tag, "value": _escaped(encode(value))}

    def _revive(self, found: dict[str, Any]) -> Any:
        if found.keys() == {TYPE, "value"}:
            tag = found[TYPE]
            decode = self._by_tag.get(tag) if isinstance(tag, str) else None
            if decode is None:
                raise Unserializable(f"no codec is registered for the stored type {found[TYPE]!r}")
            return decode(found["value"])
        return found


_BUILTIN_ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    LookupError,
    ArithmeticError,
    ZeroDivisionError,
    RuntimeError,
    AssertionError,
    AttributeError,
    NameError,
    PermissionError,
    TimeoutError,
    ConnectionError,
    NotImplementedError,
    OSError,
    RunError,
    Canceled,
    TimedOut,
    Unserializable,
)


def to_data(text: str) -> str:
    """Return JSON text as the wire's base64."""
    return base64.b64encode(text.encode()).decode("ascii")


def from_data(data: str) -> str:
    """Return the JSON text of base64. Raises: Unserializable."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        raise Unserializable("a stored payload is not base64 of UTF-8 text") from None


def error_document(value: Value) -> Mapping[str, Any]:
    """Return a stored error's `name`, `message` and `stack`, whichever SDK wrote it."""
    found: Any = None
    if value.data:
        try:
            found = json.loads(from_data(value.data))
        except (Unserializable, ValueError, RecursionError):
            found = None
    if not isinstance(found, dict):
        return {"name": "Exception", "message": "" if found is None else str(found), "stack": None}
    return {
        "name": str(found.get("name") or "Exception"),
        "message": str(found.get("message", "")),
        "stack": found.get("stack"),
    }


def digest(text: str) -> str:
    """Return 16 hex digits that stand for a canonical JSON text."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _collides(value: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() == {TYPE, "value"} or any(_collides(v) for v in value.values())
    return isinstance(value, list | tuple) and any(_collides(v) for v in value)


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {TYPE, "value"}:
            # Pairs, not a dict: the inner dict would be taken for a registered type before the outer is looked at.
            return {TYPE: "dict", "value": [[key, _escaped(item)] for key, item in value.items()]}
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list | tuple) else value


def _message(error: BaseException) -> str:
    if isinstance(error, KeyError) and len(error.args) == 1 and isinstance(error.args[0], str):
        return error.args[0]
    try:
        return str(error).encode("utf-8", "replace").decode()
    except Exception:
        return f"(the message of this {type(error).__name__} could not be read)"


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 120 else text[:117] + "..."
