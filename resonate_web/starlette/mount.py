"""The gateway's routes as Starlette's, and what may not lie beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from resonate_web.errors import ConfigError
from resonate_web.gateway import problems
from resonate_web.gateway.pages import Override
from resonate_web.gateway.route import Route
from resonate_web.gateway.routes import ROUTES
from resonate_web.starlette import messages
from resonate_web.starlette.life import Life

_ELSEWHERE = "/resonate-looks-where-this-route-matches"


class Templates(Protocol):
    """What is needed of a `Jinja2Templates`."""

    env: Any


class Mounted(BaseRoute):
    """One of the gateway's routes: with every method, whatever the rest of the path holds. The gateway judges it."""

    def __init__(self, life: Life, route: Route) -> None:
        self.name = f"resonate:{route.name}"
        rest = "" if route.exact else f"{{{route.takes}:path}}{route.tail}"
        self.path = f"{life.state.core.settings.prefix}{route.head}{rest}"
        self.include_in_schema = False
        self.life = life
        self._route = route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Tell whether a request is ours; one for a WebSocket is not."""
        prefix = self.life.state.core.settings.prefix
        path = messages.path_of(scope, messages.root_of(scope)) if scope["type"] == "http" else ""
        if not path.startswith(prefix) or self._route.argument(path.removeprefix(prefix)) is None:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.handle}

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        """Refuse: a link carries a signature, which `resonate.status_url(id)` makes."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever its method."""
        state = self.life.wake()
        settings = state.core.settings
        try:
            posted = scope["method"] == "POST"
            body = await messages.body_of(scope, receive, settings.max_body) if posted else b""
            identify = messages.identifier(settings, state.core.secret)
            request = messages.request_of(scope, messages.root_of(scope), identify, lambda: body)
            flow = state.gateway.handle(request)
            response = problems.not_found() if flow is None else await self.life.perform(flow)
        except problems.ANSWERED as error:
            response = problems.problem_of(error)
        except ClientDisconnect:
            return
        await messages.rendered(response, state.core.on_loop)(scope, receive, send)


def routes(life: Life) -> list[BaseRoute]:
    """Return the routes for a Starlette app."""
    return [Mounted(life, route) for route in ROUTES]


def override(templates: Templates) -> Override:
    """Return how a page is rendered with the app's own template of that name, where it has one."""

    def render(name: str, context: dict[str, Any]) -> str | None:
        try:
            template = templates.env.get_template(name)
        except LookupError:  # jinja2's TemplateNotFound, without importing what the app may not have
            return None
        return str(template.render(context))

    return render


def refuse_conflicts(routes: Iterable[BaseRoute], life: Life) -> None:
    """Raise ConfigError when a route of the app's own lies where ours are mounted, naming both, or ours are moved."""
    prefix = life.state.core.settings.prefix
    heads = list(dict.fromkeys((prefix + route.head, route.exact) for route in ROUTES))
    for above, route in _flat(routes):
        if isinstance(route, Mounted) and route.life is life:
            if above:
                raise ConfigError(
                    f"the routes of resonate_web are mounted below {above!r}, where its links do not lead: put them "
                    f"among the app's own routes and move them with prefix={above!r}"
                )
            continue
        path = getattr(route, "path", None)
        shown = repr(route) if path is None else f"{above}{path}"
        for head, exact in heads:
            if _takes(route, head) if path is None else _meets(shown, head, exact):
                ours = head if exact else f"{head}<id>"
                raise ConfigError(
                    f"the app's route {shown!r} ({getattr(route, 'name', None)}) lies where {ours!r} of resonate_web "
                    "is mounted: rename it, or move ours with prefix="
                )


def _flat(routes: Iterable[BaseRoute], above: str = "") -> Iterator[tuple[str, BaseRoute]]:
    for route in routes:
        yield above, route
        below = getattr(route, "routes", None)
        if below:
            yield from _flat(below, above + getattr(route, "path", ""))


def _meets(path: str, head: str, exact: bool) -> bool:
    return path == head if exact else f"{path}/".startswith(head)


def _takes(route: BaseRoute, head: str) -> bool:
    """Tell whether a route that shows no path takes what lies under `head`, and not just everything."""
    here, elsewhere = (
        route.matches({"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []})[0]
        for path in (f"{head}x", _ELSEWHERE)
    )
    return here is not Match.NONE and elsewhere is Match.NONE
