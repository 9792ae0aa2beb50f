"""`idempotent`: one request key, one execution of a handler; whoever sends the request again gets the stored answer.

A key is a promise with a task. Whoever holds the task runs the handler, and the answer fulfils it, fenced by the
task's version: a handler whose lease is over cannot overwrite what a later one stored. A task given back may be
taken at once, one whose holder died as soon as that is noticed, at the latest when the lease is over.

An adapter asks `claim`, runs the handler if it got a `Claim`, and then calls `keep` or `release`.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from resonate_web.errors import ConfigError, KeyInUse, KeyMissing, KeyReused, PlatformError
from resonate_web.flow import Begun, Call, Commit, Flow, Read
from resonate_web.gateway.access import principal
from resonate_web.gateway.messages import Request, Response
from resonate_web.gateway.request_keys import FIELD, concrete_path, key_of, promise_id
from resonate_web.gateway.starting import REPLAYED, check_size
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState, TaskState, Value
from resonate_web.protocol.requests import PromiseCreate, PromiseSettle, TaskCreate, TaskFulfill, TaskRelease
from resonate_web.protocol.requests import Response as Reply
from resonate_web.resonate import Resonate
from resonate_web.resonate.launch import FINGERPRINT
from resonate_web.workflow.codec import Codec

logger = logging.getLogger(__name__)

METHODS = frozenset({"POST", "PATCH"})
"""The others are idempotent by themselves: a key on them is ignored."""

STORED = "Idempotency-Stored"
"""Field of an answer to a request with a key that is not remembered: a retry runs the handler again."""

FIELDS = frozenset({"content-type", "content-language", "content-encoding", "location", "link", "etag", "retry-after"})
"""What is stored of an answer's header, in lower case. Without its encoding the body could not be read."""

NEVER = frozenset(
    {"connection", "content-length", "date", "set-cookie", "set-cookie2", "transfer-encoding", "www-authenticate"}
)
"""What no rule may add to the stored fields: it is of one client, one moment or one connection."""

PASSING = frozenset({401, 403, 408, 413, 429})
"""Refusals that may be over at the next try, and so are not stored. Nor is any 5xx."""

TARGET = "poll://any@~idempotent"
"""Whom the tasks of keys are for: nobody polls there, each is taken by the request that needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the requests to one handler are remembered; `headers` are stored beside `FIELDS`.

    Raises: ConfigError for a header that must never be replayed.
    """

    required: bool = False
    allow_anonymous: bool = False
    headers: tuple[str, ...] = ()
    fingerprint: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        refused = sorted(NEVER.intersection(map(str.lower, self.headers)))
        if refused:
            raise ConfigError(f"idempotent(headers=...): {', '.join(refused)} is never replayed")


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run a handler and to store its answer, until the lease is over."""

    id: str
    version: int


@dataclass(frozen=True, slots=True)
class _Look:
    """A key's promise at an instant (ms), and the version at which this request holds its task, if it does."""

    promise: Promise
    version: int | None
    now: int

    @property
    def over(self) -> bool:
        """Tell whether the key has been forgotten: its time is over, or an operator ended it without an answer."""
        return self.promise.timeout_at <= self.now or self.promise.state not in _REMEMBERED


_REMEMBERED = (PromiseState.PENDING, PromiseState.RESOLVED)
_MARK = "_resonate_idempotent"


def marked(decorated: Callable[..., Any], handler: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a decorated handler. Raises: ConfigError when `handler` was decorated before, at whatever depth.

    The inner one would find the outer one holding the key, and that refusal would be stored as the answer.
    """
    if hasattr(handler, _MARK):
        name = getattr(handler, "__qualname__", repr(handler))
        raise ConfigError(f"{name} is idempotent already: put @resonate.idempotent around it once")
    setattr(decorated, _MARK, True)
    return decorated


def wanted(request: Request, rules: Rules) -> str | None:
    """Return the key under which a request is to be remembered, None when its handler just runs.

    Raises: InvalidKey, KeyMissing.
    """
    if request.method not in METHODS:
        return None
    key = key_of(request)
    if key is None and rules.required:
        raise KeyMissing(f"this request needs the field {FIELD}: a text of your own, new for each new request")
    return key


def claim(resonate: Resonate, request: Request, rules: Rules) -> Flow[Claim | Response | None]:
    """Return the right to run the handler, the answer stored by an earlier run, or None: the handler just runs.

    Raises: InvalidKey, KeyMissing, KeyReused, KeyInUse, TooLarge and StoreUnavailable for the client
    (`problems.ANSWERED`); ConfigError when nobody is asking and `allow_anonymous` is not set.
    """
    key = wanted(request, rules)
    if key is None:
        return None
    check_size(request, resonate.settings.max_body)
    who = yield Call(lambda: principal(request))
    if who is None and not rules.allow_anonymous:
        raise ConfigError(
            f"{request.method} {request.path}: an idempotent handler must know who asks, or one client could read "
            "another's answer: set RESONATE_PRINCIPAL, or idempotent(allow_anonymous=True) if strangers may share keys"
        )
    print_ = yield from _fingerprint(request, rules)
    id = promise_id("idem", who, request.method, concrete_path(request), key)
    return (yield from _claimed(resonate, id, print_))


def keep(resonate: Resonate, claim: Claim, response: Response | None, rules: Rules) -> Flow[bool]:
    """Store a handler's answer durably, or free the key; tell whether it is stored. None stands for a stream.

    Never raises for the store: the handler has run, and its client gets the answer in any case.
    """
    if response is None or not _is_storable(response, resonate.settings.max_stored_response):
        yield from release(resonate, claim)
        return False
    value = _recorded(resonate.codec, response, rules.headers)
    fulfill = TaskFulfill(
        id=claim.id,
        version=claim.version,
        action=PromiseSettle(id=claim.id, state=PromiseState.RESOLVED, value=value),
    )
    try:
        reply: Reply = yield Commit(lambda lead: resonate.ask(fulfill, _itself, lead=lead))
    except PlatformError as error:
        logger.error("an answer could not be stored, a retry will run its handler again: %s: %s", claim.id, error)
        return False
    if reply.status != 200:
        logger.warning(
            "a handler took longer than its lease (RESONATE_IDEMPOTENT_LEASE_MS), so its key was free and its answer "
            "is not stored: %s",
            claim.id,
        )
    return reply.status == 200


def release(resonate: Resonate, claim: Claim) -> Flow[None]:
    """Free a key whose handler gave no answer worth keeping: the next request runs it."""
    back = TaskRelease(id=claim.id, version=claim.version)
    try:
        yield Commit(lambda lead: resonate.ask(back, _itself, lead=lead))
    except PlatformError as error:
        logger.warning("a key could not be freed, its lease will end: %s: %s", claim.id, error)


def abandon(resonate: Resonate, claim: Claim) -> None:
    """Begin to free a key, for who cannot wait for it; never blocks once the client is open."""
    resonate.ask(TaskRelease(id=claim.id, version=claim.version), _itself, lead=False)


def parsed(fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, str, Any]]) -> bytes:
    """Return what stands for the body of a form that was parsed before, which used it up.

    `files` are names, file names and open files; these are at their beginning afterwards.
    """
    parts: list[tuple[str, str, str]] = [(name, "", value) for name, value in fields]
    for name, file_name, file in files:
        file.seek(0)
        digest = hashlib.sha256()
        while piece := file.read(65536):
            digest.update(piece)
        file.seek(0)
        parts.append((name, file_name, digest.hexdigest()))
    return repr(parts).encode("utf-8", "backslashreplace")


def _claimed(resonate: Resonate, id: str, print_: str) -> Flow[Claim | Response]:
    """Take the key, or find out what became of it. A forgotten one leaves its promise; the next has the next number."""
    for number in count(1):
        look = yield from _look(resonate, id if number == 1 else f"{id}:{number}", id, print_)
        if not look.over:
            break
    promise, version = look.promise, look.version
    if promise.tags.get(FINGERPRINT) != print_:
        if version is not None:
            yield from release(resonate, Claim(promise.id, version))
        raise KeyReused(f"this {FIELD} was used before, for a request with another query, content type or body")
    if version is not None:
        return Claim(promise.id, version)
    if promise.state is PromiseState.PENDING:
        raise KeyInUse
    return _replayed(resonate.codec, promise.value)


def _look(resonate: Resonate, id: str, root: str, print_: str) -> Flow[_Look]:
    asked: list[Begun] = []

    def begin(lead: bool) -> Begun:
        asked.append(resonate.ask(_taking(resonate, id, root, print_), _itself, lead=lead))
        return asked[-1]

    try:
        reply: Reply = yield Commit(begin)
    except BaseException:  # the request was cancelled, and yet the key may be granted
        for begun in asked:
            begun.add_done_callback(partial(_given_back, resonate))
        raise
    if reply.status == 409:  # somebody else holds it
        promise = yield Read(lambda: resonate.record(id))
        return _Look(promise, None, resonate.now())
    if reply.promise is None or reply.task is None:
        raise PlatformError(f"the key {id!r} could not be claimed: {reply.error}")
    version = reply.task.version if reply.task.state is TaskState.ACQUIRED else None
    return _Look(reply.promise, version, resonate.now())


def _given_back(resonate: Resonate, asked: Begun) -> None:
    """Free a key that was granted to a request which has gone."""
    if asked.cancelled() or asked.exception() is not None:
        return
    promise, task = asked.result().promise, asked.result().task
    if promise is not None and task is not None and task.state is TaskState.ACQUIRED:
        abandon(resonate, Claim(promise.id, task.version))


def _taking(resonate: Resonate, id: str, root: str, print_: str) -> TaskCreate:
    settings = resonate.settings
    action = PromiseCreate(
        id=id,
        timeout_at=resonate.now() + settings.request_key_ttl_ms,
        tags={tags.TARGET: TARGET, tags.ORIGIN: root, FINGERPRINT: print_},
    )
    return TaskCreate(pid=resonate.pid, ttl=settings.idempotent_lease_ms, action=action, preload="none")


def _fingerprint(request: Request, rules: Rules) -> Flow[str]:
    if rules.fingerprint is None:
        return _digest([request.query.encode(), request.headers.get("content-type", "").encode(), request.read()])
    fingerprint = rules.fingerprint
    text = yield Call(lambda: fingerprint(request.native))
    if not isinstance(text, str):
        raise ConfigError(f"idempotent(fingerprint=...) must return a text, not {type(text).__name__}")
    return _digest([text.encode("utf-8", "surrogatepass")])


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _is_storable(response: Response, limit: int) -> bool:
    if not isinstance(response.body, bytes) or len(response.body) > limit:
        return False
    return 200 <= response.status < 500 and response.status not in PASSING


def _recorded(codec: Codec, response: Response, more: Iterable[str]) -> Value:
    fields = FIELDS.union(name.lower() for name in more)
    kept = [[name, value] for name, value in response.headers if name.lower() in fields]
    assert isinstance(response.body, bytes)
    try:
        body = {"text": response.body.decode()}  # so that it can be read where promises are shown
    except UnicodeDecodeError:
        body = {"base64": base64.b64encode(response.body).decode()}
    return codec.encode({"status": response.status, "headers": kept, **body})


def _replayed(codec: Codec, value: Value) -> Response:
    found = codec.decode(value)
    body = found["text"].encode() if "text" in found else base64.b64decode(found["base64"])
    headers = [(name, text) for name, text in found["headers"]]
    if found["status"] not in (204, 205, 304):
        headers.append(("Content-Length", str(len(body))))
    return Response(status=found["status"], headers=(*headers, (REPLAYED, "true")), body=body)


def _itself(reply: Reply) -> Reply:
    return reply
