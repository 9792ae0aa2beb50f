"""Idempotent views of Django: sync and async, under WSGI and ASGI; forms, transactions, classes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from bookshop.models import Order
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from resonate_web.config import Settings
from resonate_web.django.site import Site
from resonate_web.django.verbs import Resonate
from resonate_web.gateway.messages import Headers
from resonate_web.testing.idempotency_cases import CASES, HANDLERS, Answered, Handler, Missing, Reply, Shop

FORMS = ["django.middleware.csrf.CsrfViewMiddleware"]


def _settings() -> Settings:
    return Settings(store="memory://", principal=lambda request: request.headers.get("X-User"))


class DjangoShop:
    """The shop as Django views: `wsgi` or `asgi` handlers, `sync` or `async` views."""

    def __init__(self, handler: str, views: str) -> None:
        self.runs: list[str] = []
        self.site = Site(_settings)
        self.resonate = Resonate(self.site)
        self.handler = handler
        decorate: Any = self.resonate.idempotent
        make = self._view if views == "sync" else self._async_view
        self.urls = ModuleType("shop_of_cases")
        self.urls.urlpatterns = [  # type: ignore[attr-defined]
            path(f"{name}/<number>", decorate(**handler.rules)(make(name, handler)))
            for name, handler in HANDLERS.items()
        ]

    def _view(self, name: str, handler: Handler) -> Callable[..., HttpResponseBase]:
        def view(request: HttpRequest, number: str) -> HttpResponseBase:
            self.runs.append(name)
            try:
                return self._told(handler.answer(self.runs.count(name), request.body))
            except Missing:
                raise Http404 from None

        return view

    def _async_view(self, name: str, handler: Handler) -> Callable[..., Any]:
        view = self._view(name, handler)

        async def async_view(request: HttpRequest, number: str) -> HttpResponseBase:
            return view(request, number)

        return async_view

    def _told(self, reply: Reply) -> HttpResponseBase:
        response: HttpResponseBase
        if reply.pieces is None:
            response = HttpResponse(reply.body, status=reply.status)
        else:
            pieces = iter(reply.pieces) if self.handler == "wsgi" else _on_loop(reply.pieces)
            response = StreamingHttpResponse(pieces, status=reply.status)
        for name, value in reply.headers:
            if name == "Set-Cookie":
                response.cookies.load(value)
            else:
                response.headers[name] = value
        return response

    def ask(self, method: str, path: str, body: bytes = b"{}", /, **fields: str) -> Answered:
        """Send a request."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        given: dict[str, Any] = {
            "data": body,
            "content_type": headers.pop("Content-Type", "application/json"),
            "headers": headers,
        }
        if self.handler == "wsgi":
            response: Any = Client(raise_request_exception=False).generic(method, path, **given)
            body = b"".join(response.streaming_content) if response.streaming else response.content
            return _answered(response, body)
        return asyncio.run(_asked(method, path, given))


async def _asked(method: str, path: str, given: dict[str, Any]) -> Answered:
    response: Any = await AsyncClient(raise_request_exception=False).generic(method, path, **given)
    if not response.streaming:
        return _answered(response, response.content)
    return _answered(response, b"".join([piece async for piece in response.streaming_content]))


def _answered(response: Any, body: bytes) -> Answered:
    cookies = [("Set-Cookie", cookie.OutputString()) for cookie in response.cookies.values()]
    return Answered(response.status_code, Headers([*response.items(), *cookies]), body)


async def _on_loop(pieces: Any) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


KINDS = [("wsgi", "sync"), ("wsgi", "async"), ("asgi", "sync"), ("asgi", "async")]


@pytest.fixture(params=KINDS, ids="-".join)
def shop(request: pytest.FixtureRequest) -> Iterator[DjangoShop]:
    """Return a shop of its own for the test, served by a project without middlewares."""
    made = DjangoShop(*request.param)
    with override_settings(ROOT_URLCONF=made.urls, MIDDLEWARE=[]):
        yield made
    made.site.forget()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_view_is_idempotent(case: Callable[[Shop], None], shop: DjangoShop) -> None:
    """Each case holds for each kind of view under each kind of handler."""
    case(shop)


Serve = Callable[..., Client]


@pytest.fixture
def resonate() -> Iterator[Resonate]:
    """Return a plugin with a store of its own."""
    made = Resonate(Site(_settings))
    yield made
    made._site.forget()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return how to serve one view at `/pay`, through these middlewares."""
    active: list[override_settings] = []

    def served(view: Any, *middleware: str, **changed: Any) -> Client:
        urls = ModuleType("one_view")
        urls.urlpatterns = [path("pay", view)]  # type: ignore[attr-defined]
        active.append(override_settings(ROOT_URLCONF=urls, MIDDLEWARE=list(middleware), **changed))
        active[-1].enable()
        return Client(raise_request_exception=False)

    yield served
    for one in reversed(active):
        one.disable()


def post(client: Client, key: str = "k", **given: Any) -> Any:
    """Post with a key, as Ada."""
    return client.post("/pay", headers={"Idempotency-Key": key, "X-User": "ada"}, **given)


def test_a_form_that_was_parsed_for_its_token(resonate: Resonate, serve: Serve) -> None:
    """The CSRF check uses up a form with files; what it held still tells requests apart, and the view reads it."""

    @resonate.idempotent
    def pay(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.POST["a"].encode() + request.FILES["file"].read())  # type: ignore[union-attr]

    serve(pay, *FORMS)
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = token = "a" * 32

    def sent(a: str, content: bytes) -> Any:
        return post(client, data={"csrfmiddlewaretoken": token, "a": a, "file": SimpleUploadedFile("f", content)})

    first, again = sent("1", b"one"), sent("1", b"one")
    assert (first.status_code, first.content) == (200, b"1one")
    assert (again.content, again["Idempotency-Replayed"]) == (b"1one", "true")
    assert sent("2", b"one").status_code == 422
    assert sent("1", b"two").status_code == 422


def test_djangos_own_limit_is_a_413(resonate: Resonate, serve: Serve) -> None:
    """A body over DATA_UPLOAD_MAX_MEMORY_SIZE is refused like one over ours."""
    client = serve(resonate.idempotent(lambda request: HttpResponse("told")), DATA_UPLOAD_MAX_MEMORY_SIZE=10)
    answer = post(client, data=b"x" * 11, content_type="text/plain")
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:resonate-web:problem:too-large")


@pytest.fixture
def atomic_requests() -> Iterator[None]:
    """Let Django put a transaction around each view."""
    connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
    yield
    connections["default"].settings_dict["ATOMIC_REQUESTS"] = False


@pytest.mark.usefixtures("atomic_requests")
def test_the_transaction_of_a_request_ends_before_its_answer_is_stored(resonate: Resonate, serve: Serve) -> None:
    """What is replayed was committed; a view that fails is rolled back and frees its key."""
    committed: list[bool] = []

    @resonate.idempotent
    def pay(request: HttpRequest) -> HttpResponse:
        assert connections["default"].in_atomic_block
        Order.objects.create(id=len(committed) + 1)
        if not committed:
            committed.append(False)
            raise RuntimeError("as the test asked for")
        return HttpResponse("told")

    client = serve(pay)
    assert post(client).status_code == 500
    assert Order.objects.count() == 0
    assert post(client).content == b"told"
    assert post(client)["Idempotency-Replayed"] == "true"
    assert Order.objects.count() == 1


@pytest.mark.usefixtures("atomic_requests")
def test_a_method_within_the_transaction_is_refused(resonate: Resonate, serve: Serve) -> None:
    """Its answer would be stored before the commit: the error says where the decorator belongs."""

    class Within(View):
        @method_decorator(resonate.idempotent)
        def post(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("told")

    serve(Within.as_view())
    with pytest.raises(Exception, match="its dispatch"):
        post(Client())

    @method_decorator(resonate.idempotent, name="dispatch")
    class Around(Within):
        def post(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse("told")

    client = serve(Around.as_view())
    assert [post(client).content for _ in range(2)] == [b"told"] * 2


def test_a_template_response_is_rendered_and_stored(resonate: Resonate, serve: Serve) -> None:
    """Its text is made when it is stored."""
    tries: list[int] = []

    @resonate.idempotent
    def pay(request: HttpRequest) -> HttpResponseBase:
        tries.append(1)
        return TemplateResponse(request, "admin/404.html", {"title": "told"}, status=201)

    client = serve(pay, "django.contrib.sessions.middleware.SessionMiddleware")
    with override_settings(TEMPLATES=_templates("run {{ number }}")):
        first, second = post(client), post(client)
    assert (first.status_code, second.status_code, second.content) == (201, 201, first.content)
    assert len(tries) == 1


def _templates(text: str) -> list[dict[str, Any]]:
    loader = ("django.template.loaders.locmem.Loader", {"admin/404.html": text})
    return [
        {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [], "OPTIONS": {"loaders": [loader]}}
    ]


def test_marks_of_the_view_stay(resonate: Resonate) -> None:
    """Other decorators leave their marks on the function: they are still seen."""
    from django.views.decorators.csrf import csrf_exempt

    view: Any = resonate.idempotent(csrf_exempt(lambda request: HttpResponse("told")))
    assert view.csrf_exempt


@pytest.mark.parametrize("awaited", [False, True])
def test_a_fingerprint_reads_djangos_request(resonate: Resonate, serve: Serve, awaited: bool) -> None:
    """An async view may await it."""

    def order(request: HttpRequest) -> str:
        return str(json.loads(request.body)["order"])

    async def order_later(request: HttpRequest) -> str:
        return order(request)

    @resonate.idempotent(fingerprint=order_later if awaited else order)
    async def pay(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.body)

    client = serve(pay)

    def sent(number: int, when: int) -> Any:
        return post(client, data={"order": number, "at": when}, content_type="application/json")

    assert sent(1, 2).content == sent(1, 3).content
    assert sent(2, 2).status_code == 422
