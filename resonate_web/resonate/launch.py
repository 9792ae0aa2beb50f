"""Starting a run: one durable write, and the comparison when the id is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from resonate_web.clock import FOREVER
from resonate_web.errors import IdInUse, TooLarge
from resonate_web.protocol import tags
from resonate_web.protocol.records import Promise, PromiseState, Value
from resonate_web.protocol.requests import PromiseCreate
from resonate_web.resonate.options import Options
from resonate_web.workflow.codec import Codec, digest, to_data
from resonate_web.workflow.commands import to_ms
from resonate_web.workflow.registry import Registered

PRINCIPAL = "resonate_web:principal"
"""Tag: who started the run, as the adapter knows it."""
FINGERPRINT = "resonate_web:fingerprint"
"""Tag: function and arguments, so that one id never means two things. The version is no part of it."""
STARTED = "resonate_web:start"
"""Tag: unique to the call that created the run; a later call sees somebody else's."""
ROOT = "resonate_web:root"
"""Tag of every started run, so that runs can be listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A started or joined run: `id` may be a newer try (`order/42~2`), `created` tells whether this call made it."""

    id: str
    promise: Promise
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function with its arguments, encoded once."""

    entry: Registered
    data: str
    fingerprint: str
    options: Options


def call(
    codec: Codec, entry: Registered, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, limit: int
) -> Call:
    """Encode a call. Raises: Unserializable, TooLarge when the arguments are over `limit` bytes."""
    arguments = codec.dumps({"args": args, "func": entry.name, "kwargs": kwargs})
    if len(arguments.encode()) > limit:
        raise TooLarge(f"the arguments of {entry.name!r} take {len(arguments.encode())} bytes, the limit is {limit}")
    data = to_data(f'{arguments[:-1]},"version":{entry.version}}}')
    return Call(entry=entry, data=data, fingerprint=digest(arguments), options=options)


def request(call: Call, id: str, *, now: int, group: str, token: str) -> PromiseCreate:
    """Return the creation of a run; `now` in ms, `token` tells this call from every other."""
    options = call.options
    target = options.target or group
    marks = {
        **options.tags,
        tags.SCOPE: "global",
        tags.TARGET: target if "://" in target else f"poll://any@{target}",
        tags.ORIGIN: id,
        tags.BRANCH: id,
        tags.PARENT: id,
        FINGERPRINT: call.fingerprint,
        STARTED: token,
        ROOT: "true",
    }
    if call.entry.on_cancel:
        marks[tags.ON_CANCEL] = call.entry.on_cancel
    timeout_at = now + (FOREVER if options.timeout is None else to_ms(options.timeout))
    return PromiseCreate(id=id, timeout_at=timeout_at, param=Value(data=call.data), tags=marks)


def join(call: Call, id: str, promise: Promise) -> None:
    """Compare a run that exists with the call that wanted to create it. Raises: IdInUse."""
    if promise.tags.get(FINGERPRINT) != call.fingerprint:
        raise IdInUse(f"the id {id!r} is already used by a run of another function or with other arguments")
    mine = call.options.tags.get(PRINCIPAL)
    if promise.tags.get(PRINCIPAL) != mine:
        raise IdInUse(f"the id {id!r} is already used by another run")


def failed(promise: Promise) -> bool:
    """Tell whether a run ended without a value."""
    return promise.state not in (PromiseState.PENDING, PromiseState.RESOLVED)


def newest(id: str, promise: Promise, get: Callable[[str], Promise | None], newer: Callable[[str], str]) -> Promise:
    """Return the last try of a failed run."""
    while failed(promise):
        following = get(newer(id))
        if following is None:
            break
        id, promise = newer(id), following
    return promise
