"""The routes, as data, and the gateway that answers them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from resonate_web.errors import InvalidId, ResonateError
from resonate_web.flow import Call, Flow, Read
from resonate_web.gateway import starting
from resonate_web.gateway.access import Access
from resonate_web.gateway.approvals import Approving
from resonate_web.gateway.callbacks import Action, Callbacks
from resonate_web.gateway.canceling import Canceling
from resonate_web.gateway.forms import Forms
from resonate_web.gateway.links import Links
from resonate_web.gateway.messages import PROBLEM, Request, Response, answer, encoded
from resonate_web.gateway.negotiation import prefers_html
from resonate_web.gateway.openapi import description
from resonate_web.gateway.pages import Override, Pages, asset, page
from resonate_web.gateway.problems import Refused, method_not_allowed, not_found, problem_of
from resonate_web.gateway.route import Answer, Route
from resonate_web.gateway.shown import ProblemPage
from resonate_web.gateway.signing import Signer, checked_keys, key_ring
from resonate_web.gateway.watching import Watched, respond
from resonate_web.protocol import tags
from resonate_web.resonate import Options, Resonate
from resonate_web.workflow.ids import first_try, root_id

logger = logging.getLogger(__name__)


class Gateway:
    """All of the library's HTTP for one application; an adapter calls `handle` and `start`."""

    def __init__(
        self,
        resonate: Resonate,
        *,
        secrets: Callable[[], Iterable[str | bytes]] = tuple,
        override: Override | None = None,
    ) -> None:
        """Bind to a client; nothing is opened. `secrets` gives the framework's secrets, oldest first.

        `override` renders a template of the application's own, where it has one of that name.

        Raises: ConfigError for a signing key that is too short, for a webhook key that is none or lacks its library.
        """
        settings = resonate.settings
        own = checked_keys(settings.signing_keys)
        self.resonate = resonate
        self._override = override
        signer = Signer(lambda: key_ring(own, secrets(), resonate.secret))
        forms, links = Forms(settings, signer), Links(settings, signer)
        self.access = Access(settings, signer)
        self.approving = Approving(resonate, settings, links, forms, self.pages)
        self.canceling = Canceling(resonate, self.access, forms)
        self.callbacks = Callbacks(resonate, settings.webhook_keys)
        resonate.links = links.address

    def handle(self, request: Request) -> Flow[Response] | None:
        """Return the flow that answers a request of one of our paths, whatever its method.

        None for a path that is not ours.
        """
        prefix = self.resonate.settings.prefix
        if not request.path.startswith(prefix):
            return None
        path = request.path[len(prefix) :]
        found = [(route, argument) for route in ROUTES if (argument := route.argument(path)) is not None]
        if not found:
            return None
        return self._answered(request, found)

    def start(
        self,
        request: Request,
        id: str | None,
        fn: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Options,
    ) -> Flow[Response]:
        """Start a run for a request, or join it; see `starting.start`."""
        return starting.start(self.resonate, self.access, request, id, fn, args, kwargs, options)

    def pages(self, request: Request) -> Pages:
        """Return the pages as this request sees them: below its mount point."""
        root = quote(request.root, safe="/").rstrip("/")
        return Pages(f"{root}{self.resonate.settings.prefix}{ASSETS.rstrip('/')}", self._override)

    def status_url(self, id: str, root: str = "") -> str:
        """Return the URL under which a run's status is read, the same for all tries of it. Raises: InvalidId."""
        return self.access.status_url(root_id(first_try(id)), root)

    def cancel_url(self, id: str, root: str = "") -> str:
        """Return the URL to which a POST cancels a run, whichever try; a person finds a form. Raises: InvalidId."""
        return self.access.cancel_url(root_id(first_try(id)), root)

    def _answered(self, request: Request, found: list[tuple[Route, str]]) -> Flow[Response]:
        method = "GET" if request.method == "HEAD" else request.method
        for route, argument in found:
            if method in route.methods:
                response = yield from self._tried(route.methods[method], request, argument)
                response = self._shown(request, response)
                return _without_body(response) if request.method == "HEAD" else response
        allow = _allow(route for route, _ in found)
        return Response(status=204, headers=(("Allow", allow),)) if method == "OPTIONS" else method_not_allowed(allow)

    def _tried(self, answer: Answer, request: Request, argument: str) -> Flow[Response]:
        try:
            return (yield from answer(self, request, argument))
        except Refused as refused:
            return refused.response
        except ResonateError as error:
            if error.status == 500:
                logger.exception("a request to a mounted route failed", extra={"action": "handle"})
            return problem_of(error)

    def _shown(self, request: Request, response: Response) -> Response:
        """Return a problem as a page to who prefers that, and every other answer as it is."""
        if response.header("content-type") != PROBLEM or not prefers_html(request.headers.get("accept")):
            return response
        assert isinstance(response.body, bytes)
        told = json.loads(response.body)
        shown = ProblemPage(status=response.status, title=told["title"], detail=told.get("detail"))
        kept = [(name, value) for name, value in response.headers if name in ("Allow", "Retry-After")]
        return page(response.status, self.pages(request).render(shown), headers=kept)


def _asset(gateway: Gateway, request: Request, argument: str) -> Flow[Response]:
    yield from ()
    return asset(argument) or not_found()


def _status(gateway: Gateway, request: Request, argument: str) -> Flow[Response]:
    try:
        id = root_id(argument)
    except InvalidId:  # also what only we may name: ids with '~' or ':'
        return not_found()
    if not gateway.access.opens(request, id):
        return not_found()
    run = yield Read(lambda: gateway.resonate.view(id))
    if run is None or not tags.is_targeted(run.promise.tags):
        return not_found()
    if not (yield Call(lambda: gateway.access.shows(request, run.promise))):
        return not_found()
    watched = Watched(gateway.resonate, request, id, gateway.status_url(id, request.root))
    if not prefers_html(request.headers.get("accept")):
        return (yield from respond(watched, run, gateway.pages(request), None))
    cancel, headers = yield from gateway.canceling.offered(request, id, run)  # a form, and the cookie that it needs
    response = yield from respond(watched, run, gateway.pages(request), cancel)
    return replace(response, headers=(*response.headers, *headers)) if headers else response


def _cancel(gateway: Gateway, request: Request, argument: str) -> Flow[Response]:
    return (yield from gateway.canceling.cancel(request, argument))


def _cancel_link(gateway: Gateway, request: Request, argument: str) -> Flow[Response]:
    """Lead a person who has opened a cancel link to the form; else the path is that of a run named so."""
    found = gateway.access.cancel_page(request, argument)
    if found is None:
        return (yield from _status(gateway, request, f"{argument}/cancel"))
    return Response(status=303, headers=(("Location", found), ("Cache-Control", "no-store"), ("Content-Length", "0")))


def _approval(gateway: Gateway, request: Request, token: str) -> Flow[Response]:
    return (yield from gateway.approving.show(request, token))


def _decide(gateway: Gateway, request: Request, token: str) -> Flow[Response]:
    return (yield from gateway.approving.decide(request, token))


def _approvals(gateway: Gateway, request: Request, argument: str) -> Flow[Response]:
    return (yield from gateway.approving.listed(request))


def _callback(action: Action) -> Answer:
    def settle(gateway: Gateway, request: Request, id: str) -> Flow[Response]:
        return (yield from gateway.callbacks.settle(request, id, action))

    return settle


def _openapi(gateway: Gateway, request: Request, argument: str) -> Flow[Response]:
    yield from ()
    settings = gateway.resonate.settings
    if not settings.openapi:
        return not_found()
    base = settings.base_url or quote(request.root, safe="/").rstrip("/") or "/"
    return answer(200, encoded(description(ROUTES, settings.prefix, [base])), headers=(("Cache-Control", "no-cache"),))


ASSETS = "/resonate/assets/"

ROUTES = (
    Route(name="cancel", head="/status/", tail="/cancel", methods={"GET": _cancel_link, "POST": _cancel}),
    Route(name="status", head="/status/", methods={"GET": _status}),
    Route(name="approvals", head="/approvals", exact=True, methods={"GET": _approvals}),
    Route(name="approval", head="/approvals/", takes="token", methods={"GET": _approval, "POST": _decide}),
    Route(name="resolve", head="/promises/", tail="/resolve", methods={"POST": _callback("resolve")}),
    Route(name="reject", head="/promises/", tail="/reject", methods={"POST": _callback("reject")}),
    Route(name="cancel-promise", head="/promises/", tail="/cancel", methods={"POST": _callback("cancel")}),
    Route(name="asset", head=ASSETS, takes="name", methods={"GET": _asset}),
    Route(name="openapi", head="/resonate/openapi.json", exact=True, methods={"GET": _openapi}),
)
"""Every mounted route. More than one may match a path; the first that has the method answers."""


def _allow(routes: Iterable[Route]) -> str:
    methods = {method for route in routes for method in route.methods}
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods | {"OPTIONS"}))


def _without_body(response: Response) -> Response:
    return Response(status=response.status, headers=response.headers)
