"""Starting and watching runs through Flask's test client."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from resonate_web.errors import IdInUse, NotRegistered, Unserializable
from resonate_web.flask import Resonate, get_resonate

WAIT_S = 10

resonate = Resonate()
waiting: SimpleQueue[str] = SimpleQueue()


resonate.set_dependency("waiting", waiting)


@resonate.register
def gated(ctx, order):
    gate = yield ctx.promise("gate")
    yield ctx.run(ctx.get_dependency("waiting").put, ctx.id)  # starts only when the promise is stored
    return (yield gate)


def make(**config: Any) -> Flask:
    app = Flask("site")
    app.config.update({"RESONATE_STORE": "memory://", "SECRET_KEY": "development", "TESTING": True, **config})
    resonate.init_app(app)

    @app.post("/orders/<path:id>")
    def create(id):
        return resonate.start(id, gated, request.get_json(silent=True))

    @app.post("/options/<path:id>")
    def create_with_options(id):
        return resonate.options(tags={"shop": "berlin"}).options(on_failed="new").start(id, gated, None)

    @app.post("/async/<path:id>")
    async def create_asynchronously(id):
        return await resonate.astart(id, gated, request.get_json(silent=True))

    @app.post("/mistakes/<kind>")
    def mistakes(kind):
        return resonate.start("a", "unknown") if kind == "name" else resonate.start("a", gated, object())

    @app.get("/url/<path:id>")
    def url(id):
        return resonate.status_url(id)

    return app


@pytest.fixture
def app() -> Iterator[Flask]:
    while not waiting.empty():
        waiting.get()
    made = make()
    yield made
    get_resonate(made).core.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def finish(app: Flask, id: str, value: object) -> object:
    with app.app_context():
        assert waiting.get(timeout=WAIT_S) == id
        resonate.promises.resolve(f"{id}:@gate", value)
        return resonate.get(id).result(WAIT_S)


def test_the_whole_story(app: Flask, client: FlaskClient) -> None:
    """202 with a link, the link shows a running and then an ended run, and the same POST is then a 200."""
    started = client.post("/orders/order/42", json={"n": 1})
    assert started.status_code == 202
    link = started.headers["Location"]
    assert started.json is not None
    assert started.json["links"]["self"] == link
    assert client.get(link).get_json()["done"] is False
    assert finish(app, "order/42", {"total": 3}) == {"total": 3}
    shown = client.get(link)
    assert (shown.status_code, shown.get_json()["status"]) == (200, "succeeded")
    assert shown.get_json()["result"] == {"total": 3}
    again = client.post("/orders/order/42", json={"n": 1})
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.get_json()["result"] == {"total": 3}


def test_an_async_view_awaits_the_start(app: Flask, client: FlaskClient) -> None:
    """`astart` answers as `start` does; it waits for no run, because the view holds a thread."""
    started = client.post("/async/a", json=1, headers={"Prefer": "wait=5"})
    assert (started.status_code, started.headers.get("Preference-Applied")) == (202, None)
    assert client.post("/orders/a", json=1).headers["Location"] == started.headers["Location"]
    assert client.post("/async/a", json=2).status_code == 409


def test_a_poll_with_the_tag_is_304(app: Flask, client: FlaskClient) -> None:
    """Flask adds neither a body nor a type to it."""
    link = client.post("/orders/a").headers["Location"]
    finish(app, "a", 1)  # until then the document may change between two polls
    tag = client.get(link).headers["ETag"]
    seen = client.get(link, headers={"If-None-Match": tag})
    assert (seen.status_code, seen.data, seen.headers["ETag"]) == (304, b"", tag)
    assert "Content-Type" not in seen.headers


def test_another_order_under_the_same_id_is_409(client: FlaskClient) -> None:
    """A problem document without result, Location or links."""
    client.post("/orders/a", json={"n": 1})
    refused = client.post("/orders/a", json={"n": 2})
    assert refused.status_code == 409
    assert refused.content_type == "application/problem+json"
    assert refused.get_json() == {
        "type": "urn:resonate-web:problem:id-in-use",
        "title": "The id belongs to a run with another function, other arguments or another principal.",
        "status": 409,
    }
    assert "Location" not in refused.headers


@pytest.mark.parametrize(
    ("url", "body", "status", "slug"),
    [
        ("/orders/~a", b"", 400, "invalid-id"),
        ("/orders/a%7Fb", b"", 400, "invalid-id"),
        ("/orders/a", b"x" * 10_000_000, 413, "too-large"),
    ],
)
def test_what_the_client_did_wrong_is_a_problem(
    app: Flask, client: FlaskClient, url: str, body: bytes, status: int, slug: str
) -> None:
    """400 and 413 come from start itself, and nothing is stored."""
    refused = client.post(url, data=body)
    assert (refused.status_code, refused.get_json()["type"]) == (status, f"urn:resonate-web:problem:{slug}")
    assert get_resonate(app).core.runs() == []


def test_what_the_view_did_wrong_is_raised(client: FlaskClient) -> None:
    """Flask shows such errors as it shows any other of the app's own."""
    with pytest.raises(NotRegistered):
        client.post("/mistakes/name")
    with pytest.raises(Unserializable):
        client.post("/mistakes/value")


def test_an_app_may_answer_our_errors_itself(app: Flask, client: FlaskClient) -> None:
    """A handler for the class that the app registers later wins."""
    app.register_error_handler(IdInUse, lambda error: ("taken", 409))
    client.post("/orders/a", json=1)
    assert client.post("/orders/a", json=2).text == "taken"


def test_a_store_that_is_away_is_503_for_us_only(tmp_path: Path) -> None:
    """Starting and polling say when to try again; the app's other routes are served."""
    app = make(RESONATE_STORE="sqlite:////proc/no/such.db", RESONATE_RUN_DIR=str(tmp_path))
    app.add_url_rule("/hello", "hello", lambda: "hello")
    client = app.test_client()
    assert client.get("/hello").text == "hello"
    refused = client.post("/orders/a")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    link = client.get("/url/a").text
    assert client.get(link).status_code == 503
    get_resonate(app).core.close()


def test_options_do_not_mix_with_arguments(app: Flask, client: FlaskClient) -> None:
    """They are given before, add up, and leave the workflow's arguments alone."""
    assert client.post("/options/a").status_code == 202
    found = get_resonate(app).core.view("a")
    assert found is not None
    assert found.promise.tags["shop"] == "berlin"


def test_a_link_knows_where_the_app_is_mounted(client: FlaskClient) -> None:
    """SCRIPT_NAME is part of the Location and not of the path that is compared."""
    started = client.post("/orders/a", base_url="http://localhost/shop")
    link = started.headers["Location"]
    assert link.startswith("/shop/status/a?sig=")
    assert client.get(link.removeprefix("/shop"), base_url="http://localhost/shop").status_code == 200
    assert client.get("/url/a", base_url="http://localhost/shop").text == link


def test_a_link_outside_of_a_request(app: Flask, client: FlaskClient) -> None:
    """A step that sends a mail makes the same link, below APPLICATION_ROOT."""
    with app.app_context():
        assert resonate.status_url("a") == client.get("/url/a").text
        app.config["APPLICATION_ROOT"] = "/shop/"
        assert resonate.status_url("a").startswith("/shop/status/a?sig=")


def test_rotated_secrets_keep_links_open() -> None:
    """A link of a fallback opens, a link of a dropped key does not; the current key signs."""
    old, new = make(SECRET_KEY="old"), make(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["mid", "old"])
    with old.app_context():
        link = resonate.status_url("a")
    with new.app_context():
        fresh = resonate.status_url("a")
    client = new.test_client()
    client.post("/orders/a")
    assert client.get(link).status_code == client.get(fresh).status_code == 200
    with make(SECRET_KEY="new").app_context():
        assert resonate.status_url("a") == fresh
    late = make(SECRET_KEY="new").test_client()
    late.post("/orders/a")
    assert late.get(link).status_code == 404


def test_a_secret_set_after_the_extension_counts() -> None:
    """The keys are looked up when the first link is made, not at init_app."""
    early, late = make(), make(SECRET_KEY=None)
    late.secret_key = "development"
    with early.app_context():
        link = resonate.status_url("a")
    with late.app_context():
        assert resonate.status_url("a") == link


def test_without_a_secret_links_survive_a_restart(tmp_path: Any) -> None:
    """The store keeps a key of its own, the same for every process."""
    links = []
    for _ in range(2):
        app = make(SECRET_KEY=None, RESONATE_STORE=f"sqlite:///{tmp_path / 'resonate.db'}")
        links.append(app.test_client().post("/orders/a").headers["Location"])
        get_resonate(app).core.close()
    assert links[0] == links[1]


def basic(who: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{who}:pw".encode()).decode()}


def test_the_default_principal_is_a_hash_of_the_credentials(app: Flask, client: FlaskClient) -> None:
    """Other credentials, or none, do not join; the stored name holds nothing of them."""
    assert client.post("/orders/a", headers=basic("alice")).status_code == 202
    assert client.post("/orders/a", headers=basic("bob")).status_code == 409
    assert client.post("/orders/a").status_code == 409
    assert client.post("/orders/a", headers=basic("alice")).headers["Idempotency-Replayed"] == "true"
    found = get_resonate(app).core.view("a")
    assert found is not None
    assert found.promise.tags["resonate_web:principal"].startswith("authorization:")


def test_flask_logins_user_is_the_principal(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Flask-Login is set up its user counts, and the header only for those who are not logged in."""
    user = SimpleNamespace(is_authenticated=True, get_id=lambda: "7")
    monkeypatch.setitem(__import__("sys").modules, "flask_login", SimpleNamespace(current_user=user))
    app.login_manager = object()  # type: ignore[attr-defined]
    client.post("/orders/a", headers=basic("alice"))
    user.is_authenticated = False
    client.post("/orders/b", headers=basic("alice"))
    tags = [view.promise.tags for id in ("a", "b") if (view := get_resonate(app).core.view(id))]
    assert tags[0]["resonate_web:principal"] == "user:7"
    assert tags[1]["resonate_web:principal"].startswith("authorization:")


def test_a_configured_principal_gets_flasks_request() -> None:
    """The callable sees the real request; the run is its and nobody else's."""
    app = make(RESONATE_PRINCIPAL=lambda request: request.headers.get("X-User"))
    client = app.test_client()
    client.post("/orders/a", headers={"X-User": "alice"})
    found = get_resonate(app).core.view("a")
    assert found is not None
    assert found.promise.tags["resonate_web:principal"] == "alice"
    assert client.post("/orders/a", headers={"X-User": "bob"}).status_code == 409


def test_a_rule_may_ask_whose_run_it_is() -> None:
    """status_access as a callable gets Flask's request and the run's promise, with the starter's name."""
    app = make(
        RESONATE_PRINCIPAL=lambda request: request.headers.get("X-User"),
        RESONATE_STATUS_ACCESS=lambda request, promise: (
            promise.tags.get("resonate_web:principal") == request.headers.get("X-User")
        ),
    )
    client = app.test_client()
    link = client.post("/orders/a", headers={"X-User": "alice"}).headers["Location"]
    assert link == "/status/a"
    assert client.get(link, headers={"X-User": "alice"}).status_code == 200
    assert client.get(link, headers={"X-User": "bob"}).status_code == 404


def test_a_run_needs_no_request(app: Flask) -> None:
    """In a command or a shell the verbs of the client are there, with the app's own store."""
    with app.app_context():
        assert resonate.begin_run("a", gated, None).id == "a"
        assert finish(app, "a", "yes") == "yes"
        assert resonate.options(tags={"shop": "x"}).begin_run("b", gated, None).id == "b"


def test_a_body_in_chunks_is_read_up_to_the_limit() -> None:
    """Whoever may not settle anything must not fill the memory either: the rest of the body is left unread."""
    source = io.BytesIO(b"x" * 4_000_000)
    config = {"RESONATE_WEBHOOK_KEYS": "whsec_" + base64.b64encode(b"k" * 32).decode()}
    answer = (
        make(**config)
        .test_client()
        .post(
            "/promises/order/42:@shipped/resolve",
            input_stream=source,
            headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json"},
            environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
        )
    )
    assert (answer.status_code, answer.get_json()["type"].rpartition(":")[2]) == (413, "too-large")
    assert source.tell() == 1_048_577
