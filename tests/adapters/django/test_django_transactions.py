"""Starts and transactions; who is asking; connections around steps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import workflows
from bookshop.models import Order
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client, TestCase

from resonate_web.django import resonate
from resonate_web.django.transactions import close_old
from resonate_web.errors import InvalidId, NotFound, NotRegistered, Unserializable, WrongCall
from resonate_web.resonate.launch import PRINCIPAL

Configure = Callable[..., None]


def post(path: str, document: Any = None, **fields: str) -> Any:
    client = Client(raise_request_exception=False, headers=fields)
    return client.post(path, json.dumps(document or {}), content_type="application/json")


def test_a_start_in_atomic_is_refused() -> None:
    """A rollback would not undo it; whoever means it says so."""
    with pytest.raises(WrongCall, match=r"atomic\(\) on 'default'.*start_on_commit.*allow_in_atomic"):
        Client().post("/start-in-atomic")
    assert post("/start-in-atomic?allow").status_code == 202


def test_a_start_on_commit_is_answered_before_it_exists() -> None:
    """The answer is that of a start, with a link that works once the transaction is committed."""
    answer = post("/start-on-commit", {"id": "order/1"})
    assert (answer.status_code, answer["Retry-After"]) == (202, "1")
    assert (answer.json()["id"], answer.json()["done"], answer.json()["steps"]) == ("order/1", False, [])
    assert resonate.get("order/1").result(5) == {"order": {"id": "order/1"}}
    assert Client().get(answer["Location"]).json()["status"] == "succeeded"
    assert Order.objects.count() == 1
    browser = post("/start-on-commit", {"id": "order/2"}, accept="text/html")
    assert (browser.status_code, browser["Location"]) == (303, resonate.status_url("order/2"))


def test_a_rollback_starts_nothing() -> None:
    """Neither the row nor the run is there."""
    answer = post("/start-on-commit", {"id": "order/1", "fail": True})
    assert answer.status_code == 503
    assert Order.objects.count() == 0
    with pytest.raises(NotFound):
        resonate.get("order/1")


def test_what_is_wrong_with_a_start_on_commit_is_said_at_once() -> None:
    """Not in the hook, when the application's own rows are committed already."""
    with transaction.atomic():
        cases: list[Any] = [(InvalidId, ("a//b", workflows.quick)), (NotRegistered, ("a", print))]
        for wrong, args in cases:
            with pytest.raises(wrong):
                resonate.start_on_commit(*args)
        with pytest.raises(Unserializable):
            resonate.start_on_commit("a", workflows.quick, object())
    with pytest.raises(NotFound):
        resonate.get("a")


def test_outside_of_a_transaction_a_start_on_commit_is_a_start() -> None:
    """As Django runs every such hook."""
    resonate.start_on_commit("a", workflows.quick)
    assert resonate.get("a").result(5) == {"order": None}


def test_a_hook_of_another_database_waits_for_that() -> None:
    """`using=` names it."""
    with transaction.atomic(using="second"):
        resonate.options(using="second").start_on_commit("a", workflows.quick)
        with pytest.raises(NotFound):
            resonate.get("a")
    assert resonate.get("a").result(5) == {"order": None}


def test_the_transaction_of_a_test_case_is_not_the_projects() -> None:
    """A view that starts may be tested in TestCase; its hooks run by captureOnCommitCallbacks."""

    class Shop(TestCase):
        databases = {"default"}  # noqa: RUF012  (as Django declares it)

        def test(self) -> None:
            assert post("/start/quick", {"id": "a"}).status_code == 202
            with self.captureOnCommitCallbacks(execute=True):
                assert post("/start-on-commit", {"id": "b"}).status_code == 202
            assert resonate.get("b").result(5) == {"order": {"id": "b"}}

    result = Shop("test").run()
    assert result is not None
    assert result.failures + result.errors == []


def test_atomic_requests_wrap_no_route_of_ours(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a status opens no transaction, under ASGI it could not."""
    resonate.run("a", workflows.quick)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert Client().get(resonate.status_url("a")).status_code == 200
    assert post("/start/quick", {"id": "b"}).status_code == 500


def test_connections_are_closed_outside_of_transactions_only() -> None:
    """An old one goes, one in a transaction stays."""
    Order.objects.count()
    connection.close_at = 0
    with transaction.atomic():
        close_old()
        assert connection.connection is not None
    connection.close_at = 0
    close_old()
    assert connection.connection is None


def test_the_principal_is_djangos_user() -> None:
    """Else a hash of Authorization, else nobody; another one's start of the same id learns nothing."""
    user = User.objects.create_user("ada", password="secret")
    client = Client()
    client.force_login(user)
    for asker, principal in [(client, f"user:{user.pk}"), (Client(), None)]:
        id = "mine" if principal else "nobody's"
        assert asker.post("/start/quick", {"id": id}, content_type="application/json").status_code == 202
        assert resonate.promises.get(id).tags.get(PRINCIPAL) == principal
    post("/start/quick", {"id": "b"}, authorization="Bearer x")
    assert resonate.promises.get("b").tags[PRINCIPAL].startswith("authorization:")
    stranger = post("/start/quick", {"id": "mine"})
    assert (stranger.status_code, stranger.headers.get("Location")) == (409, None)
    client.post("/start-on-commit", json.dumps({"id": "c"}), content_type="application/json")
    assert resonate.promises.get("c").tags[PRINCIPAL] == f"user:{user.pk}"
    user.delete()


def test_a_request_is_needed_for_an_answer() -> None:
    """The error names the middleware and the other verbs."""
    with pytest.raises(WrongCall, match=r"resonate_web\.django\.middleware\.Middleware.*begin_run"):
        resonate.start("a", workflows.quick)


async def _awaited() -> list[Any]:
    handle = await resonate.abegin_run("a", workflows.quick, 1)
    return [await handle, await resonate.arun("a", workflows.quick, 1), (await resonate.aget("a")).id]


def test_the_verbs_have_twins_that_are_awaited() -> None:
    """For async views, commands and shells."""
    assert asyncio.run(_awaited()) == [{"order": 1}, {"order": 1}, "a"]
