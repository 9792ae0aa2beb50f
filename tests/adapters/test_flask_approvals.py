"""Approvals, cancel links and callbacks in a Flask app: what the adapter adds to the gateway."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import flask
import pytest
from flask_wtf import CSRFProtect
from standardwebhooks import Webhook

from resonate_web import ConfigError
from resonate_web.flask import Resonate, get_resonate
from resonate_web.testing.servers import until

PAGE = "text/html,application/xhtml+xml"
KEY = base64.b64encode(b"the key of a carrier that calls us").decode()


def asks(ctx: Any) -> Any:
    """Ask somebody, then wait for a machine."""
    decision = yield (yield ctx.approval("manager", summary="Order 42"))
    shipped = yield ctx.promise("shipped")
    return [decision.by, (yield shipped)]


class Shop:
    """An app with a run that asks, and a browser."""

    def __init__(self) -> None:
        self.app = flask.Flask("shop")
        self.app.config.update(
            SECRET_KEY="a secret of the shop",
            RESONATE_STORE="memory://",
            RESONATE_BASE_URL="https://shop.example",
            RESONATE_WEBHOOK_KEYS=(KEY,),
        )
        self.resonate = Resonate(self.app)
        self.resonate.register(asks)
        self.app.add_url_rule("/start", view_func=lambda: self.resonate.start("order/42", asks), methods=["POST"])

    def link(self) -> str:
        """Start the run; return the path of its link."""
        assert self.app.test_client().post("/start").status_code == 202
        with self.app.app_context():
            until(self.resonate.approvals.pending)
            return self.resonate.approvals.link("order/42:@manager").removeprefix("https://shop.example")


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    with made.app.app_context():
        made.resonate.close()


def _nonce(page: Any) -> str:
    found = re.search(r'name="nonce" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def test_a_form_that_the_app_has_read_already_still_arrives(shop: Shop) -> None:
    """Hooks for the whole app, such as those against forged forms, parse it first and use the body up."""
    seen: list[str] = []
    shop.app.before_request(lambda: seen.extend(flask.request.form))
    link, browser = shop.link(), shop.app.test_client()
    inputs = {"nonce": _nonce(browser.get(link, headers={"Accept": PAGE})), "decision": "reject", "comment": "ü & ü"}
    sent = browser.post(link, data=inputs, headers={"Accept": PAGE, "Origin": "http://localhost"})
    assert (sent.status_code, sent.headers["Location"]) == (303, link)
    assert seen == ["nonce", "decision", "comment"]
    assert browser.get(link).get_json()["outcome"]["comment"] == "ü & ü"


def test_the_origin_is_that_of_the_request(shop: Shop) -> None:
    """The host that Flask sees, or RESONATE_BASE_URL; no other."""
    link, client = shop.link(), shop.app.test_client()
    for origin, status in (("http://localhost", 422), ("https://shop.example", 422), ("http://evil.example", 403)):
        assert client.post(link, json={}, headers={"Origin": origin}).status_code == status


def test_a_run_is_decided_called_back_and_cancelable(shop: Shop) -> None:
    """The whole way of a run through all its routes, on Flask's test client."""
    link, client = shop.link(), shop.app.test_client()
    assert client.post(link, json={"decision": "approve"}).status_code == 200
    until(lambda: client.post("/start").get_json()["steps"][-1]["name"] == "shipped")
    message, now, body = "order/42:@shipped:resolve", datetime.fromtimestamp(int(time.time()), UTC), '{"value": "1Z"}'
    headers = {
        "webhook-id": message,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(KEY).sign(message, now, body),
    }
    assert client.post("/promises/order/42:@shipped/resolve", data=body, headers=headers).status_code == 200
    with shop.app.app_context():
        assert shop.resonate.get("order/42").result(10) == ["link", "1Z"]
        url = shop.resonate.cancel_url("order/42")
    assert url.startswith("https://shop.example/status/order/42/cancel?sig=")
    assert client.post(url.removeprefix("https://shop.example")).get_json()["status"] == "succeeded"


def test_the_list_is_at_its_own_path(shop: Shop) -> None:
    """`/approvals` without a slash is ours, what only begins so is the app's."""
    assert shop.app.test_client().get("/approvals").status_code == 401
    assert shop.app.test_client().get("/approvals-of-ours").status_code == 404
    taken = flask.Flask("taken")
    taken.config["RESONATE_STORE"] = "memory://"
    taken.add_url_rule("/approvals-of-ours", "fine", lambda: "fine")
    Resonate(taken)
    taken = flask.Flask("taken")
    taken.add_url_rule("/approvals", "mine", lambda: "mine")
    with pytest.raises(ConfigError, match="'/approvals' \\(mine\\)"):
        Resonate(taken)


def test_the_command_line_lists_and_revokes(shop: Shop) -> None:
    """`flask resonate approvals` and `flask resonate revoke`."""
    runner = shop.app.test_cli_runner()
    assert runner.invoke(args=["resonate", "approvals"]).output == "no approvals wait\n"
    shop.link()
    line = "order/42:@manager  0 of 1  whoever has the link  no deadline  Order 42\n"
    assert runner.invoke(args=["resonate", "approvals"]).output == line
    assert runner.invoke(args=["resonate", "approvals", "--approver", "ann"]).output == "no approvals wait\n"
    revoked = runner.invoke(args=["resonate", "revoke", "order/42:@manager", "--by", "boss"])
    assert revoked.output == "order/42:@manager  revoked\n"
    again = runner.invoke(args=["resonate", "revoke", "order/42:@manager"])
    assert again.output == "order/42:@manager  was revoked already; nothing was changed\n"
    assert runner.invoke(args=["resonate", "revoke", "nothing"]).exit_code == 1
    assert "revoked by boss at" in runner.invoke(args=["resonate", "tree", "order/42"]).output
    assert get_resonate(shop.app).core.approvals.get("order/42:@manager").state == "revoked"


@pytest.mark.parametrize("first", ["us", "them"])
def test_an_app_that_protects_its_forms_leaves_ours_to_us(first: str) -> None:
    """Flask-WTF's protection of all views wants its own token; our routes check their own, whoever came first."""
    app = flask.Flask("shop")
    app.config.update(SECRET_KEY="a secret of the shop", RESONATE_STORE="memory://")
    makers = [lambda: Resonate(app), lambda: CSRFProtect(app)]
    for make in makers if first == "us" else reversed(makers):
        make()
    app.add_url_rule("/own", view_func=lambda: "sent", methods=["POST"])
    client = app.test_client()
    assert client.post("/own").status_code == 400
    assert client.post("/approvals/forged", data={"decision": "approve"}).status_code == 404
    get_resonate(app).core.close()
