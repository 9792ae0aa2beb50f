"""Idempotent views of Flask."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from flask.views import MethodView

from resonate_web.errors import ConfigError
from resonate_web.flask import Resonate, get_resonate
from resonate_web.gateway.messages import Headers
from resonate_web.testing.idempotency_cases import CASES, HANDLERS, Answered, Handler, Missing, Reply, Shop

METHODS = ["GET", "POST", "PATCH"]


def _told(reply: Reply) -> flask.Response:
    body: Any = reply.body if reply.pieces is None else iter(reply.pieces)
    response = flask.Response(body, reply.status)
    for name, value in reply.headers:
        if name == "Content-Type":
            del response.headers[name]
        response.headers.add(name, value)
    return response


class FlaskShop:
    """The shop as a Flask app."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.app = flask.Flask(__name__)
        self.resonate = Resonate(self.app, store="memory://", principal=lambda request: request.headers.get("X-User"))
        for name, handler in HANDLERS.items():
            decorate: Any = self.resonate.idempotent
            view = decorate(**handler.rules)(self._view(name, handler))
            self.app.add_url_rule(f"/{name}/<number>", name, view, methods=METHODS)

    def _view(self, name: str, handler: Handler) -> Callable[..., Any]:
        def view(number: str) -> flask.Response:
            self.runs.append(name)
            try:
                return _told(handler.answer(self.runs.count(name), flask.request.get_data()))
            except Missing:
                return flask.abort(404)

        return view

    def ask(self, method: str, path: str, body: bytes = b"{}", /, **fields: str) -> Answered:
        """Send a request."""
        headers = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in fields.items()}}
        answer = self.app.test_client(use_cookies=False).open(path, method=method, data=body, headers=headers)
        return Answered(answer.status_code, Headers(answer.headers.items()), answer.data)


@pytest.fixture
def shop() -> Iterator[FlaskShop]:
    """Return a shop of its own for the test."""
    made = FlaskShop()
    yield made
    get_resonate(made.app).core.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_view_is_idempotent(case: Callable[[Shop], None], shop: FlaskShop) -> None:
    """Each case holds under Flask."""
    case(shop)


def post(shop: FlaskShop, path: str, **given: Any) -> Any:
    """Post with a key."""
    headers = {"Idempotency-Key": "k", **given.pop("headers", {})}
    return shop.app.test_client().post(path, headers=headers, **given)


@pytest.mark.parametrize("answer", ["told", ("told", 202), ("told", 202, {"Location": "/a"}), {"a": 1}, [1]])
def test_a_view_may_return_what_flask_takes(shop: FlaskShop, answer: Any) -> None:
    """A text, a tuple, a dict, a list: what Flask makes of it is stored."""
    shop.app.add_url_rule(
        "/any", view_func=shop.resonate.idempotent(allow_anonymous=True)(lambda: answer), methods=["POST"]
    )
    first, second = post(shop, "/any"), post(shop, "/any")
    assert (second.status_code, second.data, second.content_type) == (
        first.status_code,
        first.data,
        first.content_type,
    )
    assert second.headers.get("Location") == first.headers.get("Location")
    assert second.headers["Idempotency-Replayed"] == "true"


def test_an_error_handler_of_the_app_answers(shop: FlaskShop) -> None:
    """What it makes of an exception is stored like any other answer."""
    tries: list[int] = []

    @shop.app.errorhandler(LookupError)
    def sold_out(error: LookupError) -> Any:
        return {"error": "sold out"}, 410

    @shop.app.post("/raises")
    @shop.resonate.idempotent(allow_anonymous=True)
    def raises() -> Any:
        tries.append(1)
        raise LookupError

    answers = [post(shop, "/raises") for _ in range(2)]
    assert [(answer.status_code, answer.json) for answer in answers] == [(410, {"error": "sold out"})] * 2
    assert tries == [1]


def test_a_class_can_be_decorated(shop: FlaskShop) -> None:
    """As a `MethodView` takes decorators."""
    tries: list[int] = []

    class Pay(MethodView):
        decorators = [shop.resonate.idempotent(allow_anonymous=True)]  # noqa: RUF012

        def post(self) -> Any:
            tries.append(1)
            return "told"

    shop.app.add_url_rule("/class", view_func=Pay.as_view("class"))
    assert [post(shop, "/class").data for _ in range(2)] == [b"told"] * 2
    assert tries == [1]


def test_the_apps_hooks_see_every_request(shop: FlaskShop) -> None:
    """A login in `before_request` is asked for a replay too, and `after_request` may set its cookie on it."""
    shop.app.before_request(lambda: None if flask.request.headers.get("X-User") else flask.abort(401))

    @shop.app.after_request
    def after(response: flask.Response) -> flask.Response:
        response.set_cookie("visit", "1")
        return response

    ada = {"X-User": "ada"}
    assert [post(shop, "/pay/1", headers=ada).status_code for _ in range(2)] == [201, 201]
    assert "visit=1" in post(shop, "/pay/1", headers=ada).headers["Set-Cookie"]
    assert post(shop, "/pay/1").status_code == 401
    assert shop.runs == ["pay"]


def test_the_body_is_still_there_for_the_view(shop: FlaskShop) -> None:
    """As JSON, as a form and as files."""

    @shop.app.post("/form")
    @shop.resonate.idempotent(allow_anonymous=True)
    def form() -> Any:
        request = flask.request
        file = request.files.get("file")
        return {"a": request.form.get("a"), "file": None if file is None else file.read().decode()}

    assert post(shop, "/form", data={"a": "1"}).json == {"a": "1", "file": None}
    fields = {"a": "2", "file": (io.BytesIO(b"content"), "a.txt")}
    other = post(shop, "/form", data=fields, headers={"Idempotency-Key": "other"})
    assert other.json == {"a": "2", "file": "content"}


@pytest.mark.parametrize("encoding", ["urlencoded", "multipart"])
def test_a_form_that_was_parsed_before_has_a_fingerprint(shop: FlaskShop, encoding: str) -> None:
    """A hook that looks into the form uses the body up; what it held still tells requests apart."""
    seen: list[str | None] = []
    shop.app.before_request(lambda: seen.append(flask.request.form.get("a")))

    @shop.app.post("/form")
    @shop.resonate.idempotent(allow_anonymous=True)
    def form() -> Any:
        file = flask.request.files.get("file")
        return {"a": flask.request.form["a"], "file": None if file is None else file.read().decode()}

    def sent(a: str, content: bytes) -> Any:
        if encoding == "urlencoded":
            return post(shop, "/form", data={"a": a})
        boundary = "border"
        parts = f'--{boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\n{a}\r\n--{boundary}\r\n'
        parts += 'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        body = parts.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        return post(shop, "/form", data=body, content_type=f"multipart/form-data; boundary={boundary}")

    first, again = sent("1", b"one"), sent("1", b"one")
    assert first.status_code == 200
    assert (again.data, again.headers["Idempotency-Replayed"]) == (first.data, "true")
    assert sent("2", b"one").status_code == 422
    if encoding == "multipart":
        assert first.json["file"] == "one"
        assert sent("1", b"two").status_code == 422


@pytest.mark.parametrize(("size", "status"), [(1_048_576, 201), (1_048_577, 413)])
def test_a_body_in_chunks_has_a_limit(shop: FlaskShop, size: int, status: int) -> None:
    """It has no length that could be believed, so it is read up to the limit; the view finds it whole."""
    answer = shop.app.test_client().post(
        "/pay/1",
        input_stream=io.BytesIO(b"x" * size),
        headers={"Idempotency-Key": "k", "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )
    assert answer.status_code == status
    if status == 201:
        assert json.loads(answer.data)["got"] == "x" * size


def test_the_decorator_goes_below_the_routes(shop: FlaskShop) -> None:
    """The other way round it would do nothing, so the first request says so."""

    @shop.resonate.idempotent
    @shop.app.post("/wrong")
    def wrong() -> Any:
        return "told"

    shop.app.testing = True
    with pytest.raises(ConfigError, match="below the route's decorator"):
        shop.app.test_client().get("/")


def test_a_view_is_decorated_once(shop: FlaskShop) -> None:
    """The inner key would always be in use, and that would be stored as the answer; two routes may share a view."""

    def view() -> str:
        return "told"

    once, other = shop.resonate.idempotent(view), shop.resonate.idempotent(view)
    assert once is not other
    with pytest.raises(ConfigError, match="view is idempotent already"):
        shop.resonate.idempotent(once)


def test_a_fingerprint_reads_flasks_request(shop: FlaskShop) -> None:
    """It gets the request that the view gets."""

    @shop.app.post("/print")
    @shop.resonate.idempotent(allow_anonymous=True, fingerprint=lambda request: str((request.json or {})["order"]))
    def printed() -> str:
        return "told"

    assert post(shop, "/print", json={"order": 1, "sent": 1}).status_code == 200
    assert post(shop, "/print", json={"order": 1, "sent": 2}).headers["Idempotency-Replayed"] == "true"
    assert post(shop, "/print", json={"order": 2, "sent": 2}).status_code == 422
