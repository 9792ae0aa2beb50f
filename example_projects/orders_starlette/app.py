"""A shop whose orders survive any crash: `uvicorn app:app`, or `uvicorn --workers 2 app:app`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from forms import LONGEST_BODY, PROBLEM, TOO_LARGE, by_person, from_body, invalid
from progress import HEADERS, context
from resonate_web import IdInUse, InvalidId
from resonate_web.starlette import Resonate
from workflows import process_order

HERE = Path(__file__).parent


def page(request: Request) -> Response:
    """Show the order form and, with `?order=<id>`, how that order stands; in a thread, because it reads the store."""
    return shown(request, order=request.query_params.get("order"))


async def create_order(request: Request) -> Response:
    """Start an order from JSON or the page's form, once for each id; answered when it is on disk."""
    sent = request.headers.get("Content-Type", "")
    checked = from_body(sent, await body_of(request))
    person = by_person(sent, request.headers.get("Accept", ""))
    status = 400
    if not checked.errors:
        order = checked.order
        try:
            accepted = await resonate.astart(f"order/{order['id']}", process_order, order)
            return RedirectResponse(place(request, order["id"]), 303) if person else accepted
        except InvalidId as error:
            checked.errors["id"] = f"cannot be used: {error}"
        except IdInUse:
            if not person:
                raise  # answered as a problem document
            checked.errors["id"], status = "belongs to an order with other contents", 409
    return shown(request, checked.errors, checked.form, status=status) if person else problem(invalid(checked.errors))


async def body_of(request: Request) -> bytes:
    """Return the body. Raises: HTTPException for one that no order needs."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            raise HTTPException(413)
    return body


async def too_large(request: Request, error: Exception) -> Response:
    """Refuse a body that no order needs."""
    return problem(TOO_LARGE)


def shown(
    request: Request,
    errors: Mapping[str, str] = {},
    form: Mapping[str, str] = {},
    *,
    order: str | None = None,
    status: int = 200,
) -> Response:
    """Return the page."""
    found = context(resonate.core, resonate.status_url, order, errors, form)
    return templates.TemplateResponse(request, "page.html", found, status, HEADERS)


def problem(document: dict[str, Any]) -> Response:
    """Return a problem document."""
    return JSONResponse(document, document["status"], media_type=PROBLEM)


def place(request: Request, id: str) -> str:
    """Return where the page shows an order."""
    return f"{path(request, 'page')}?{urlencode({'order': id})}"


def path(request: Request, name: str, **params: Any) -> str:
    """Return the path of a route, also where the app is mounted."""
    return request.url_for(name, **params).path


def links(request: Request) -> dict[str, Any]:
    """Give the template what it calls for links."""
    return {"url": lambda name: path(request, name), "static": lambda name: path(request, "static", path=name)}


templates = Jinja2Templates(HERE / "templates", context_processors=[links])
app = Starlette(
    routes=[
        Route("/", page),
        Route("/orders", create_order, methods=["POST"]),
        Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
    ],
    exception_handlers={413: too_large},
)

# A demo without accounts: anybody may read any order's status. Interrupted orders are taken up with the app's lifespan.
resonate = Resonate(app, status_access="public")
resonate.register(process_order)
