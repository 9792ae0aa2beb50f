"""The routes, as data, and the gateway that answers them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from resonate_web.errors import InvalidId, ResonateError
from resonate_web.gateway import starting, status
from resonate_web.gateway.access import Access
from resonate_web.gateway.messages import Request, Response
from resonate_web.gateway.problems import method_not_allowed, not_found, problem_of
from resonate_web.gateway.signing import Signer, checked_keys, key_ring
from resonate_web.protocol import tags
from resonate_web.resonate import Options, Resonate
from resonate_web.workflow.ids import root_id

logger = logging.getLogger(__name__)

Answer = Callable[["Gateway", Request, str], Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Paths that begin with `head` and end with `tail`; what lies between is the route's one argument.

    `methods` names the answer of each method; HEAD and OPTIONS follow from it.
    """

    name: str
    head: str
    tail: str = ""
    methods: Mapping[str, Answer]

    def argument(self, path: str) -> str | None:
        """Return what the path holds between head and tail, None if it is not of this route."""
        if not (path.startswith(self.head) and path.endswith(self.tail)):
            return None
        end = len(path) - len(self.tail)
        return path[len(self.head) : end] if end >= len(self.head) else None


class Gateway:
    """All of the library's HTTP for one application; an adapter calls `handle` and `start`."""

    def __init__(self, resonate: Resonate, *, secrets: Callable[[], Iterable[str | bytes]] = tuple) -> None:
        """Bind to a client; nothing is opened. `secrets` gives the framework's secrets, oldest first.

        Raises: ConfigError for a signing key that is too short.
        """
        settings = resonate.settings
        own = checked_keys(settings.signing_keys)
        self.resonate = resonate
        self.access = Access(settings, Signer(lambda: key_ring(own, secrets(), resonate.secret)))

    def handle(self, request: Request) -> Response | None:
        """Answer a request of one of our paths, whatever its method; None for a path that is not ours."""
        prefix = self.resonate.settings.prefix
        if not request.path.startswith(prefix):
            return None
        path = request.path[len(prefix) :]
        found = [(route, argument) for route in ROUTES if (argument := route.argument(path)) is not None]
        if not found:
            return None
        method = "GET" if request.method == "HEAD" else request.method
        for route, argument in found:
            if method in route.methods:
                response = self._answered(route.methods[method], request, argument)
                return _without_body(response) if request.method == "HEAD" else response
        allow = _allow(route for route, _ in found)
        return Response(status=204, headers=(("Allow", allow),)) if method == "OPTIONS" else method_not_allowed(allow)

    def start(
        self,
        request: Request,
        id: str,
        fn: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Options,
    ) -> Response:
        """Start a run for a request, or join it; see `starting.start`."""
        return starting.start(self.resonate, self.access, request, id, fn, args, kwargs, options)

    def status_url(self, id: str, root: str = "") -> str:
        """Return the URL under which a run's status is read, the same for all tries of it. Raises: InvalidId."""
        started, separator, number = id.rpartition("~")
        return self.access.status_url(root_id(started if separator and number.isdecimal() else id), root)

    def _answered(self, answer: Answer, request: Request, argument: str) -> Response:
        try:
            return answer(self, request, argument)
        except ResonateError as error:
            if error.status == 500:
                logger.exception("a request to a mounted route failed", extra={"action": "handle"})
            return problem_of(error)


def _status(gateway: Gateway, request: Request, argument: str) -> Response:
    try:
        id = root_id(argument)
    except InvalidId:  # also what only we may name: ids with '~' or ':'
        return not_found()
    if not gateway.access.opens(request, id):
        return not_found()
    run = gateway.resonate.view(id)
    if run is None or not tags.is_targeted(run.promise.tags) or not gateway.access.shows(request, run.promise):
        return not_found()
    return status.respond(request, run, id, gateway.status_url(id, request.root))


ROUTES = (Route(name="status", head="/status/", methods={"GET": _status}),)
"""Every mounted route. More than one may match a path; the first that has the method answers."""


def _allow(routes: Iterable[Route]) -> str:
    methods = {method for route in routes for method in route.methods}
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods | {"OPTIONS"}))


def _without_body(response: Response) -> Response:
    return Response(status=response.status, headers=response.headers)
