"""The admin: what it shows, who may do what, and what is noted; the same for every store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bookshop import workflows
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from resonate_web.django import resonate, site
from resonate_web.errors import RunError
from resonate_web.testing.servers import until

Login = Callable[..., Client]

ALL = ("view_run", "cancel_run", "resolve_promise", "retry_run")
LIST = "/admin/resonate/run/"


@pytest.fixture(params=["memory", "file"], autouse=True)
def _store(request: pytest.FixtureRequest, configure: Callable[..., None], tmp_path: Path) -> Iterator[None]:
    if request.param == "file":
        configure(RESONATE={"STORE": f"sqlite:///{tmp_path}/resonate.db"})
    yield
    workflows.AWAY.clear()


@pytest.fixture
def login() -> Iterator[Login]:
    """Return how to get a client of a member of the staff with these permissions."""
    made: list[User] = []

    def client(*permissions: str) -> Client:
        user = User.objects.create_user(f"user{len(made)}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        made.append(user)
        found = Client(enforce_csrf_checks=True)
        found.force_login(user)
        return found

    yield client
    LogEntry.objects.all().delete()
    for user in made:
        user.delete()


def page(name: str, id: str) -> str:
    return reverse(f"admin:resonate_run_{name}", args=[quote(id)])


def shown(client: Client, name: str, id: str) -> str:
    answer = client.get(page(name, id))
    assert answer.status_code == 200
    return answer.content.decode()


def confirmed(client: Client, name: str, id: str, text: str = "") -> str:
    """Confirm an action on its page; return the page that follows."""
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown(client, name, id))
    assert token is not None
    answer = client.post(page(name, id), {"csrfmiddlewaretoken": token[1], "text": text}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def waits(id: str) -> Callable[[], bool]:
    """Return whether a run has suspended."""
    return lambda: site.core.view(id).status == "waiting"  # type: ignore[union-attr]


def test_runs_are_listed_by_state_and_by_page(login: Login) -> None:
    """Sixty runs are two pages; each leads to its run; a filter and an id narrow them."""
    client = login("view_run")
    for n in range(60):
        resonate.begin_run(f"order/{n:02}", workflows.quick)
    resonate.get("order/59").result(5)
    first = client.get(LIST).content.decode()
    assert "order/00" in first
    assert "order/59" not in first
    second = client.get(LIST + "?after=order/49").content.decode()
    assert "order/59" in second
    assert "order/59" in client.get(LIST + "?state=resolved&after=order/58").content.decode()
    assert "No runs." in client.get(LIST + "?state=blocked").content.decode()
    assert client.get(LIST + "?id=order/07")["Location"] == page("change", "order/07")


def test_a_run_is_shown_with_all_that_it_recorded(login: Login) -> None:
    """Steps, attempts, errors with their traceback; whoever may only look gets no buttons."""
    with pytest.raises(TypeError):
        resonate.run("a/b 50%", workflows.failing)
    text = shown(login("view_run"), "change", "a/b 50%")
    assert "no such card" in text
    assert "Traceback" in text
    assert "in refuse" in text
    assert page("retry", "a/b 50%") not in text
    assert page("retry", "a/b 50%") in shown(login(*ALL), "change", "a/b 50%")


def test_nobody_gets_in_without_permission(login: Login) -> None:
    """Strangers are sent to the login, staff without a permission is refused, for reading and for each action."""
    resonate.begin_run("a", workflows.asking)
    assert Client().get(LIST).status_code == 302
    assert login().get(LIST).status_code == 403
    assert login().get(page("change", "a")).status_code == 403
    client = login("view_run")
    for action in ("cancel", "proceed", "retry", "resolve", "reject"):
        assert client.get(page(action, "a")).status_code == 403
        assert client.post(page(action, "a")).status_code == 403
    assert login("cancel_run").get(page("cancel", "a")).status_code == 403


def test_nothing_is_added_changed_or_deleted(login: Login) -> None:
    """Not even by a superuser."""
    resonate.run("a", workflows.quick)
    client = login(*ALL)
    User.objects.update(is_superuser=True)
    assert client.get(LIST + "add/").status_code == 403
    assert client.get(page("delete", "a")).status_code == 403
    assert client.post(page("change", "a"), {}).status_code == 403  # Django's own check of the missing token
    assert client.get(page("change", "unknown")).status_code == 404


def test_an_action_needs_the_page_and_its_token(login: Login) -> None:
    """A GET decides nothing, and a POST without Django's token is refused."""
    resonate.begin_run("a", workflows.asking)
    until(waits("a"))
    client = login(*ALL)
    for _ in range(3):
        assert "does not run again" in shown(client, "cancel", "a")
    assert client.post(page("cancel", "a")).status_code == 403
    assert waits("a")()


def test_a_run_is_canceled_and_that_is_noted(login: Login) -> None:
    """The log of the admin names the person, the run and what was done; a second time changes nothing."""
    resonate.begin_run("a/b", workflows.asking)
    client = login(*ALL)
    assert "Canceled a/b" in confirmed(client, "cancel", "a/b")
    [entry] = LogEntry.objects.all()
    assert (entry.user.get_username(), entry.object_id, entry.change_message) == ("user0", "a/b", "Canceled a/b")
    assert entry.get_admin_url() == page("change", "a/b")
    assert "Canceled a/b" in shown(client, "history", "a/b")
    confirmed(client, "cancel", "a/b")
    assert site.core.view("a/b").status == "canceled"  # type: ignore[union-attr]


def test_a_promise_is_resolved_with_json(login: Login) -> None:
    """What is no JSON is said, and nothing is settled."""
    resonate.begin_run("a", workflows.asking)
    until(waits("a"))
    client = login(*ALL)
    assert page("resolve", "a:@answer") in shown(client, "change", "a")
    assert "is not JSON" in confirmed(client, "resolve", "a:@answer", "yes")
    assert "Resolved a:@answer" in confirmed(client, "resolve", "a:@answer", '{"yes": 1}')
    assert resonate.get("a").result(5) == {"yes": 1}
    assert page("resolve", "a:@answer") not in shown(client, "change", "a")


def test_a_promise_is_rejected_with_a_message(login: Login) -> None:
    """The workflow gets the error."""
    resonate.begin_run("a", workflows.asking)
    until(waits("a"))
    confirmed(login(*ALL), "reject", "a:@answer", "out of stock")
    with pytest.raises(RunError, match="out of stock"):
        resonate.get("a").result(5)


@pytest.mark.parametrize(("action", "outcome"), [("resolve", "approved"), ("reject", "rejected")])
def test_an_approval_is_decided_in_place_of_its_approvers(login: Login, action: str, outcome: str) -> None:
    """The decision names the member of the staff and carries the comment."""
    resonate.begin_run("a", workflows.approving)
    until(waits("a"))
    confirmed(login(*ALL), action, "a:@manager", "by phone")
    user = User.objects.get()
    assert resonate.get("a").result(5) == [outcome, f"user:{user.pk}", "by phone"]


def test_a_failed_step_is_tried_at_once(login: Login) -> None:
    """Its wait for the next attempt is skipped."""
    workflows.AWAY.append(True)
    handle = resonate.begin_run("a", workflows.paying)
    client = login(*ALL)
    until(lambda: "Try the failed step now" in shown(client, "change", "a"))
    assert "the bank does not answer" in shown(client, "change", "a")
    workflows.AWAY.clear()
    assert "Let a go on" in confirmed(client, "proceed", "a")
    assert handle.result(1) == "charged"
    assert "has ended" in confirmed(client, "proceed", "a")


def test_a_failed_run_is_tried_anew(login: Login) -> None:
    """The next try has a name of its own, and the page of the run shows it."""
    with pytest.raises(TypeError):
        resonate.run("a", workflows.failing)
    assert "Started a~2" in confirmed(login(*ALL), "retry", "a")
    assert resonate.promises.get("a~2") is not None


def test_a_blocked_run_is_continued(login: Login, configure: Callable[..., None], tmp_path: Path) -> None:
    """Its reason is shown, and it goes on once its code is right again."""
    configure(RESONATE={"STORE": f"sqlite:///{tmp_path}/restarted.db"})
    resonate.begin_run("a", workflows.shifting)
    until(waits("a"))
    site.forget()
    workflows.AWAY.append(True)
    client = login(*ALL)
    confirmed(client, "resolve", "a:@answer", "1")
    until(lambda: site.core.view("a").status == "blocked")  # type: ignore[union-attr]
    assert "recorded: step" in shown(client, "change", "a")
    assert "a</a>" in client.get(LIST + "?state=blocked").content.decode()
    workflows.AWAY.clear()
    confirmed(client, "proceed", "a")
    assert resonate.get("a").result(5) == 1
