"""Canceling over HTTP: who may, what is answered, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from resonate_web import ConfigError, InvalidId
from resonate_web.config import Settings, from_mapping
from resonate_web.gateway.routes import Gateway
from resonate_web.protocol.records import Promise, PromiseState
from resonate_web.resonate import Resonate
from resonate_web.testing.visitor import FORM, Visitor, nonce_of

Make = Callable[..., Gateway]


def waits(ctx: Any) -> Any:
    gate = yield ctx.promise("gate")
    return (yield gate)


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Resonate] = []

    def one(*ids: str, **settings: Any) -> Gateway:
        core = Resonate(Settings(**{"store": "memory://", "worker": False, **settings}))
        core.register(waits)
        made.append(core)
        gateway = Gateway(core, secrets=lambda: ["secret"])
        for id in ids or ("order/42",):
            core.launch(id, waits)
        return gateway

    yield one
    for core in made:
        core.close()


def test_a_signed_link_cancels(make: Make) -> None:
    """202 with the document of the canceled run; again 200, and nothing changes any more."""
    gateway = make()
    visitor, url = Visitor(gateway), gateway.cancel_url("order/42")
    first, again = visitor.post(url, {}), visitor.post(url, {})
    assert [first.status, again.status] == [202, 200]
    assert first.json == again.json
    assert (first.json["id"], first.json["status"], first.json["done"]) == ("order/42", "canceled", True)
    assert gateway.resonate.record("order/42").state is PromiseState.CANCELED


def test_a_program_needs_no_body(make: Make) -> None:
    """`curl -X POST` is enough; a body without a type is not one of ours."""
    gateway = make("a", "b", "c")
    visitor = Visitor(gateway)
    assert visitor.ask("POST", gateway.cancel_url("a")).status == 202
    assert visitor.ask("POST", gateway.cancel_url("b"), b"", Content_Type="application/json").status == 202
    assert visitor.ask("POST", gateway.cancel_url("c"), b"{}").status == 415
    assert visitor.ask("POST", gateway.cancel_url("c"), b"{}", Content_Type="text/plain").status == 415


def test_a_finished_run_stays_what_it_is(make: Make) -> None:
    """200 with its document."""
    gateway = make()
    gateway.resonate.promises.resolve("order/42", "done")
    answer = Visitor(gateway).post(gateway.cancel_url("order/42"), {})
    assert (answer.status, answer.json["status"], answer.json["result"]) == (200, "succeeded", "done")


def test_reading_does_not_imply_canceling(make: Make) -> None:
    """The status link, another run's cancel link, unknown runs and reserved ids: one 404, and the run goes on."""
    gateway = make("order/42", "order/43")
    signature = urlsplit(gateway.status_url("order/42")).query
    other = urlsplit(gateway.cancel_url("order/43")).query
    strangers = [
        "/status/order/42/cancel",
        f"/status/order/42/cancel?{signature}",
        f"/status/order/42/cancel?{other}",
        gateway.cancel_url("order/42")[:-1],
        gateway.cancel_url("order/44"),
        "/status/~key/cancel",
        "/status/order/42:@gate/cancel",
        "/status//cancel",
        "/status/" + "x" * 201 + "/cancel",
    ]
    visitor = Visitor(gateway)
    answers = [visitor.post(url, {}) for url in strangers]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.body for answer in answers}) == 1
    assert gateway.resonate.record("order/42").state is PromiseState.PENDING


def test_a_cancel_link_is_no_status_link(make: Make) -> None:
    """Its signature under the other name opens nothing either."""
    gateway = make()
    query = urlsplit(gateway.cancel_url("order/42")).query
    assert Visitor(gateway).get(f"/status/order/42?{query}").status == 404


def test_other_sites_cannot_cancel(make: Make) -> None:
    """Where a cookie says who it is, another site must not make use of it."""
    gateway = make(cancel_access="public", status_access="public")
    visitor = Visitor(gateway)
    assert visitor.post("/status/order/42/cancel", {}, Origin="https://evil.example").status == 403
    assert visitor.ask("POST", "/status/order/42/cancel", Sec_Fetch_Site="cross-site").status == 403
    assert visitor.ask("POST", "/status/order/42/cancel", b"a=b", Content_Type=FORM).status == 403
    assert visitor.post("/status/order/42/cancel", {}, Origin=visitor.origin).status == 202


def test_a_rule_decides_by_request_and_promise(make: Make) -> None:
    """The callable gets the framework's request and the run's promise; its no is a 404."""

    def owner(request: Visitor, promise: Promise) -> bool:
        return request.principal == "ann" and promise.id == "order/42"

    gateway = make("order/42", "order/43", cancel_access=owner)
    assert gateway.cancel_url("order/42") == "/status/order/42/cancel"
    ann, bob = Visitor(gateway, "ann"), Visitor(gateway, "bob")
    assert bob.post("/status/order/42/cancel", {}).status == 404
    assert ann.post("/status/order/43/cancel", {}).status == 404
    assert ann.post("/status/order/42/cancel", {}).status == 202


def test_the_newest_try_of_a_failed_run_is_canceled(make: Make) -> None:
    """The link is the same for all tries; the first one has ended already."""
    gateway = make()
    gateway.resonate.promises.reject("order/42", "no")
    gateway.resonate.retry("order/42")
    assert gateway.cancel_url("order/42~2") == gateway.cancel_url("order/42")
    answer = Visitor(gateway).post(gateway.cancel_url("order/42"), {})
    assert (answer.status, answer.json["id"], answer.json["status"]) == (202, "order/42", "canceled")
    states = [gateway.resonate.record(id).state for id in ("order/42", "order/42~2")]
    assert states == [PromiseState.REJECTED, PromiseState.CANCELED]


def test_a_person_finds_a_form(make: Make) -> None:
    """The cancel link leads to the status page, which then has a form; sent, it leads back to the status."""
    gateway = make()
    person = Visitor(gateway)
    led = person.page(gateway.cancel_url("order/42"))
    assert led.status == 303
    page = person.page(led.header("location") or "")
    assert "Set-Cookie" in dict(page.response.headers)
    action = page.text.partition('method="post" action="')[2].partition('"')[0].replace("&amp;", "&")
    sent = person.send(action, {"nonce": nonce_of(page)}, Origin=person.origin)
    assert (sent.status, sent.header("location")) == (303, gateway.status_url("order/42"))
    assert gateway.resonate.record("order/42").state is PromiseState.CANCELED
    assert 'name="nonce"' not in person.page(led.header("location") or "").text


def test_the_status_page_has_no_form_for_readers(make: Make) -> None:
    """Nor does it set a cookie for them."""
    gateway = make()
    page = Visitor(gateway).page(gateway.status_url("order/42"))
    assert 'name="nonce"' not in page.text
    assert page.header("set-cookie") is None


def test_a_run_may_be_called_cancel(make: Make) -> None:
    """`<id>/cancel` is a run of its own: it is read, and canceled, under its own name."""
    gateway = make("order", "order/cancel", "a/b c/cancel/cancel", status_access="public")
    visitor = Visitor(gateway)
    assert visitor.get("/status/order/cancel").json["id"] == "order/cancel"
    assert visitor.post(gateway.cancel_url("order/cancel"), {}).json["id"] == "order/cancel"
    assert visitor.get("/status/order").json["status"] == "running"
    odd = gateway.cancel_url("a/b c/cancel/cancel")
    assert visitor.page(odd).status == 303
    assert visitor.post(odd, {}).json["id"] == "a/b c/cancel/cancel"


def test_what_a_cancel_url_takes(make: Make) -> None:
    """Ids of runs; the setting takes a word of two, or a callable."""
    for id in ("~key", "a:1", ""):
        with pytest.raises(InvalidId):
            make().cancel_url(id)
    with pytest.raises(ConfigError, match="RESONATE_CANCEL_ACCESS"):
        from_mapping({"RESONATE_CANCEL_ACCESS": "everybody"}, {})
    assert (
        make(base_url="https://x.example", prefix="/p")
        .cancel_url("a")
        .startswith("https://x.example/p/status/a/cancel?sig=")
    )
