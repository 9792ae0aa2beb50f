"""Machines that settle promises: signed as Standard Webhooks say, and only what `ctx.promise` has made.

The id of a message names the promise and the action, so that a signature for one settles nothing else.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from resonate_web.errors import ApplicationError, ConfigError, Unserializable
from resonate_web.flow import Commit, Flow, Read
from resonate_web.gateway.forms import content, json_object
from resonate_web.gateway.messages import JSON, Request, Response, answer, encoded
from resonate_web.gateway.problems import Refused, not_found, refusal
from resonate_web.gateway.status import instant
from resonate_web.protocol import tags
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Value
from resonate_web.protocol.requests import PromiseGet, PromiseSettle
from resonate_web.resonate import Resonate
from resonate_web.resonate.ledger import EVENT
from resonate_web.workflow import ids, schemas
from resonate_web.workflow.commands import Kind
from resonate_web.workflow.recorded import ATTEMPT, kind_of

Action = Literal["resolve", "reject", "cancel"]

TOLERANCE_S = 300
"""How far the clock of a sender may be from ours."""
MAX_MESSAGE = 2_000
"""Characters that the error of a rejection may have."""

_STATES = {"resolve": PromiseState.RESOLVED, "reject": PromiseState.REJECTED, "cancel": PromiseState.CANCELED}
_DIGITS = 12
Sign = Callable[[str, datetime, str], str]


class Callbacks:
    """The answers to machines, in one installation; without keys every answer is 404."""

    def __init__(self, resonate: Resonate, keys: Iterable[str]) -> None:
        """Read the keys. Raises: ConfigError for one that cannot be one, or when the library is missing."""
        self._resonate = resonate
        self._signs = [_sign(key) for key in keys]

    def settle(self, request: Request, id: str, action: Action) -> Flow[Response]:
        """Settle a promise: 200, also for the same again; 409 when it was settled otherwise."""
        if not self._signs or not _may_be(id):
            raise Refused(not_found())
        raw = yield from content(request, self._resonate.settings.max_body)
        yield Read(lambda: self._check(request, raw, f"{id}:{action}"))  # the first look asks the store for the time
        id = ids.normal(id)
        promise: Promise | None = yield Read(lambda: _get(self._resonate, id))
        if promise is None or not _is_open_to_machines(promise):
            raise Refused(not_found())
        wanted, value = _STATES[action], self._value(promise, action, raw)
        if promise.state is PromiseState.PENDING:
            settle = PromiseSettle(id=id, state=wanted, value=value)
            promise = (yield Commit(lambda lead: self._resonate.ask(settle, _promise, lead=lead))) or promise
        told = {
            "id": promise.id,
            "state": str(promise.state),
            "settled_at": None if promise.settled_at is None else instant(promise.settled_at),
        }
        if promise.state is not wanted or promise.value != value:
            title = "The promise was settled before, and otherwise."
            raise refusal(409, "already-settled", title, **told)
        return answer(200, encoded(told), media_type=JSON, headers=(("Cache-Control", "no-store"),))

    def _check(self, request: Request, raw: bytes, expected: str) -> None:
        """Raise Refused (401) unless somebody who has a key has signed this very message a short time ago."""
        header = request.headers.get
        id, sent, given = (header(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        if _raw(id) != expected:
            raise _unsigned(f"webhook-id must be {expected!r}")
        if not (sent.isascii() and sent.isdecimal() and len(sent) <= _DIGITS):
            raise _unsigned("webhook-timestamp must be seconds since 1970")
        if abs(int(sent) * 1000 - self._resonate.now()) > TOLERANCE_S * 1000:
            raise _unsigned(f"webhook-timestamp is more than {TOLERANCE_S} seconds from the time here")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise _unsigned("the body is not UTF-8") from None
        at = datetime.fromtimestamp(int(sent), UTC)
        signatures = [sign(expected, at, text).encode() for sign in self._signs]
        words = [word.encode("utf-8", "replace") for word in given.replace(", ", " ").split()]
        matches = [hmac.compare_digest(known, word) for known in signatures for word in words]
        if not any(matches):
            raise _unsigned("webhook-signature is not that of any key for this message")

    def _value(self, promise: Promise, action: Action, raw: bytes) -> Value:
        if action == "cancel":
            return EMPTY
        said = json_object(raw)
        codec = self._resonate.codec
        if action == "reject":
            message = said.get("error")
            if not isinstance(message, str) or len(message) > MAX_MESSAGE:
                raise _unreadable(f'"error" is a text of at most {MAX_MESSAGE:,} characters')
            return codec.encode_error(ApplicationError(message.encode("utf-8", "replace").decode()))
        if "value" not in said:
            raise _unreadable('"value" is missing')
        schema = schemas.schema_of(promise)
        wrong = [] if schema is None else schemas.mistakes(schema, said["value"])
        if wrong:
            title = "The value is not what the promise asks for."
            detail = "; ".join(f"{mistake['where'] or '(the value)'}: {mistake['why']}" for mistake in wrong)
            raise refusal(422, "invalid-value", title, detail, errors=wrong)
        try:
            return codec.encode(said["value"])
        except Unserializable as error:
            raise _unreadable(str(error)) from None


def _sign(key: str) -> Sign:
    try:
        from standardwebhooks import Webhook
    except ImportError:
        raise ConfigError(f"RESONATE_WEBHOOK_KEYS needs the standardwebhooks package: {schemas.EXTRA}") from None
    try:
        return Webhook(key).sign
    except Exception:  # what base64 and the library say of it would show the key
        raise ConfigError("each of RESONATE_WEBHOOK_KEYS is base64, with or without 'whsec_' before it") from None


def _may_be(id: str) -> bool:
    return ":" in id and not id.startswith("~") and "\0" not in id


def _is_open_to_machines(promise: Promise) -> bool:
    """Tell whether `ctx.promise` has made it: a run, step, key, approval, note or entry is nobody's to settle."""
    marks = promise.tags
    if tags.is_approval(marks) or tags.PARENT not in marks or ATTEMPT in marks or EVENT in marks:
        return False
    return marks.get(tags.EXTERNAL) == "true" and kind_of(promise) is Kind.PROMISE


def _get(resonate: Resonate, id: str) -> Promise | None:
    return resonate.runtime.server.read(PromiseGet(id=id))[0].promise


def _promise(response: Any) -> Promise | None:
    return response.promise  # type: ignore[no-any-return]


def _raw(field: str) -> str:
    """Return a header field as it was sent, where it holds UTF-8: servers hand it on byte by byte."""
    try:
        return field.encode("latin-1").decode()
    except ValueError:
        return field


def _unsigned(detail: str) -> Refused:
    return refusal(401, "not-signed", "The message is not signed by somebody who may settle this.", detail)


def _unreadable(detail: str) -> Refused:
    return refusal(400, "bad-request", "The body cannot be read.", detail)
