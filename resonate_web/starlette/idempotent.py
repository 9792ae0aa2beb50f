"""`@resonate.idempotent` around an endpoint: it runs once per Idempotency-Key, and what was sent is replayed.

Two parts work together. The endpoint's wrapper runs where the framework calls it, after routing, login and
dependencies: it claims the key. The middleware lends it the request's body, and stores what is sent in the end,
after response models and error handlers.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as StarletteRequest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resonate_web.errors import ConfigError, WrongCall
from resonate_web.gateway import idempotency, problems
from resonate_web.gateway.idempotency import Claim, Rules
from resonate_web.gateway.messages import Request, Response
from resonate_web.gateway.request_keys import FIELD
from resonate_web.gateway.starting import check_size
from resonate_web.starlette.exchange import INNER, Exchange
from resonate_web.starlette.life import Life
from resonate_web.starlette.messages import rendered

_CURRENT: ContextVar[Mapping[Life, Exchange]] = ContextVar("resonate_exchange", default=MappingProxyType({}))
"""The exchange that is going on, of each of the clients around it."""

_KEY = FIELD.lower().encode()


async def serve(life: Life, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the app serve a request; one with a key through an `Exchange`."""
    if scope["method"] not in idempotency.METHODS or all(name != _KEY for name, _ in scope["headers"]):
        return await app(scope, receive, send)
    exchange = Exchange(life, scope, receive, send)
    token = _CURRENT.set({**_CURRENT.get(), life: exchange})
    try:
        await app(scope, exchange.receive, exchange.send)
    finally:
        _CURRENT.reset(token)
        await exchange.end()


def decorated(life: Life, current: Callable[[], Request | None], endpoint: Callable[..., Any], rules: Rules) -> Any:
    """Return an endpoint that runs at most once per key; FastAPI sees the signature of the one within."""
    if inspect.isgeneratorfunction(endpoint) or inspect.isasyncgenfunction(endpoint):
        raise ConfigError(f"{endpoint.__qualname__} yields its answer: a stream cannot be stored, so it has no key")
    is_async = inspect.iscoroutinefunction(endpoint)
    INNER.add(endpoint)

    @functools.wraps(endpoint)
    async def answered(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = await _claimed(life, current(), rules)
        except problems.ANSWERED as error:  # not passed on: a mounted app would make it a 500
            answer = problems.problem_of(error)
        if answer is not None:
            return rendered(answer, life.state.core.on_loop)
        return await (endpoint(*args, **kwargs) if is_async else run_in_threadpool(endpoint, *args, **kwargs))

    try:  # names in annotations are those of the endpoint's module, not of this one
        answered.__signature__ = inspect.signature(endpoint, eval_str=True)  # type: ignore[attr-defined]
    except NameError:
        pass
    return idempotency.marked(answered, endpoint)


async def _claimed(life: Life, request: Request | None, rules: Rules) -> Response | None:
    """Claim the request's key for this run of the endpoint; or return the answer of an earlier one."""
    if request is None:
        raise WrongCall(
            "an idempotent endpoint needs our middleware around the app: add Middleware(resonate.middleware)"
        )
    if idempotency.wanted(request, rules) is None:
        return None
    check_size(request, life.state.core.settings.max_body)  # before it is read
    exchange = _CURRENT.get()[life]
    body = await exchange.body()
    request = replace(request, read=lambda: body)
    found = await life.perform(idempotency.claim(life.state.core, request, await _said(request, rules, body)))
    if isinstance(found, Claim):
        exchange.catch(found, rules)
        return None
    return found


async def _said(request: Request, rules: Rules, body: bytes) -> Rules:
    """Ask the application's own fingerprint, which may be `async def`: it gets a request whose body is at hand."""
    if rules.fingerprint is None:
        return rules
    assert isinstance(request.native, StarletteRequest)

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    text = rules.fingerprint(StarletteRequest(request.native.scope, receive))
    if inspect.isawaitable(text):
        text = await text
    return replace(rules, fingerprint=lambda _: text)
