"""The setting RESONATE, the system checks, what importing and setting up does, autodiscovery, mounting."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bookshop import views, workflows
from django.core import checks as framework
from django.core import mail
from django.http import HttpResponse
from django.test import Client
from django.urls import include, path, re_path, set_script_prefix

from resonate_web.django import checks, conf, resonate, site
from resonate_web.django.declaring import register_workflows
from resonate_web.errors import AlreadyRegistered, ConfigError

Configure = Callable[..., None]


def urlconf(*patterns: Any) -> ModuleType:
    """Return a URLconf module."""
    module = ModuleType("urls_of_a_test")
    vars(module).update(urlpatterns=list(patterns))
    sys.modules[module.__name__] = module
    return module


def mine(request: Any, **given: Any) -> HttpResponse:
    return HttpResponse("mine")


def ids(messages: list[framework.CheckMessage]) -> list[str]:
    return [str(message.id) for message in messages if message.id != "resonate.W001"]


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look as if no test environment was set up."""
    monkeypatch.delattr(mail, "outbox")


def test_under_the_test_runner_the_store_is_in_memory(configure: Configure) -> None:
    """Unless one is set."""
    assert conf.current().store == "memory://"
    configure(RESONATE={"STORE": "django://default"})
    assert conf.current().store.endswith("default-test.sqlite3")


def test_the_default_store_is_in_the_base_dir(outside: None, configure: Configure, tmp_path: Path) -> None:
    """A file named for us; without BASE_DIR the error says what to set."""
    configure(BASE_DIR=tmp_path)
    assert conf.current().store == f"sqlite:///{tmp_path}/resonate.db"
    configure(BASE_DIR=None)
    with pytest.raises(ConfigError, match=r"RESONATE\['STORE'\]"):
        conf.current()


def test_the_setting_beats_the_environment(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are fields in upper case, without prefix."""
    monkeypatch.setenv("RESONATE_GROUP", "env")
    monkeypatch.setenv("RESONATE_THREADS", "3")
    configure(RESONATE={"GROUP": "setting"})
    assert (conf.current().group, conf.current().threads) == ("setting", 3)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"STOER": "memory://"}, "RESONATE_STORE"),
        ({"PREFIX": "/durable"}, "include"),
        ("memory://", "must be a dict"),
        ({"SIGNING_KEYS": ["short"]}, "16"),
    ],
)
def test_a_wrong_setting_is_a_check(configure: Configure, setting: object, told: str) -> None:
    """`manage.py check` says it, naming what was meant."""
    configure(RESONATE=setting)
    [error] = [m for m in checks.check() if m.id == "resonate.E001"]
    assert told in error.msg


@pytest.mark.parametrize(
    ("store", "told"), [("django://nowhere", "default, second, volatile"), ("django://volatile", "memory://")]
)
def test_a_database_that_cannot_hold_the_store_is_a_check(
    outside: None, configure: Configure, store: str, told: str
) -> None:
    """An unknown alias names the known ones, one in memory says what to do; using either raises the same."""
    configure(RESONATE={"STORE": store})
    [error] = [m for m in checks.check() if m.id == "resonate.E002"]
    assert told in error.msg
    with pytest.raises(ConfigError, match=error.msg[:40].replace("[", r"\[")):
        resonate.get("a")


def test_postgresql_is_for_later(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the store's own."""
    from django.db import connections

    monkeypatch.setattr(connections["volatile"], "vendor", "postgresql")
    configure(RESONATE={"STORE": "django://volatile"})
    with pytest.raises(ConfigError, match="PostgreSQL is not available"):
        conf.current()


def test_what_is_missing_is_a_check(configure: Configure) -> None:
    """Middleware, routes, a key worth its name; in production a base URL."""
    assert ids(checks.check()) == []
    configure(MIDDLEWARE=[], SECRET_KEY="short", ROOT_URLCONF=urlconf(path("", mine)))
    assert ids(checks.check()) == ["resonate.E006", "resonate.E003", "resonate.E004"]
    assert ids(checks.check_deployed()) == ["resonate.W002"]
    configure(RESONATE={"BASE_URL": "https://shop.example"})
    assert ids(checks.check_deployed()) == []


def test_the_checks_run_with_the_others() -> None:
    """They are registered under their tag, the deployment one only with --deploy."""
    found = framework.run_checks(tags=["resonate"], include_deployment_checks=True)
    assert "resonate.W002" in ids(found)
    assert "resonate.W002" not in ids(framework.run_checks(tags=["resonate"]))


@pytest.mark.parametrize(
    "own", [path("status/<name>", mine), re_path("^status/mine$", mine), path("<path:rest>", mine)]
)
def test_a_route_of_the_projects_in_our_way_is_a_check(configure: Configure, own: Any) -> None:
    """Before ours it would hide ours; the message names both."""
    configure(ROOT_URLCONF=urlconf(own, path("", include("resonate_web.django.urls"))))
    errors = [m for m in checks.check() if m.id == "resonate.E005"]
    assert errors
    assert "/status/<id>" in errors[0].msg


def test_a_route_behind_ours_is_a_check_and_a_neighbour_is_not(configure: Configure) -> None:
    """Nobody would ever reach it; a health page and a catch-all behind ours are fine."""
    ours = path("", include("resonate_web.django.urls"))
    configure(ROOT_URLCONF=urlconf(ours, path("status/<name>", mine)))
    assert ids(checks.check()) == ["resonate.E005"]
    configure(ROOT_URLCONF=urlconf(ours, path("approvals", mine)))
    assert ids(checks.check()) == ["resonate.E005"]
    neighbours = [path("status", mine), path("approvals-of-mine", mine), path("<path:rest>", mine)]
    configure(ROOT_URLCONF=urlconf(ours, *neighbours))
    assert ids(checks.check()) == []
    assert Client().get("/approvals-of-mine").content == b"mine"
    assert Client().get("/status").content == b"mine"
    assert Client().get("/a/b").content == b"mine"


@pytest.mark.parametrize("prefix", ["durable/", "a/b/"])
def test_the_routes_are_where_they_are_included(configure: Configure, prefix: str) -> None:
    """Links lead there, below SCRIPT_NAME."""
    ours = path(prefix, include("resonate_web.django.urls"))
    configure(ROOT_URLCONF=urlconf(path("start/<workflow>", views.start), ours))
    started = Client().post("/start/quick", {"id": "a"}, content_type="application/json")
    assert started["Location"].startswith(f"/{prefix}status/a?sig=")
    assert Client().get(started["Location"]).status_code == 200
    below = Client(SCRIPT_NAME="/shop").post("/start/quick", {"id": "a"}, content_type="application/json")
    assert below["Location"] == "/shop" + started["Location"]
    set_script_prefix("/")
    assert resonate.status_url("a") == started["Location"]


def test_a_mount_that_cannot_work_says_so(configure: Configure) -> None:
    """A parameter in the prefix, or a prefix without its slash."""
    ours = include("resonate_web.django.urls")
    for route in ("<tenant>/", "durable"):
        configure(ROOT_URLCONF=urlconf(path(route, ours)))
        assert ids(checks.check()) == ["resonate.E004"]


def test_changing_the_setting_makes_a_new_client(configure: Configure) -> None:
    """override_settings works, and the one before is stopped."""
    before = site.core
    resonate.run("a", workflows.quick)
    configure(RESONATE={"GROUP": "other"})
    assert site.core is not before
    assert site.core.settings.group == "other"
    with pytest.raises(LookupError):
        resonate.get("a")


def test_setting_up_opens_nothing() -> None:
    """Neither importing the project nor the checks made a client or a thread."""
    checks.check()
    assert site.opened is None
    assert [t.name for t in threading.enumerate() if t.name.startswith("resonate")] == []


@pytest.mark.parametrize("module", ["resonate_web.django", "resonate_web.django.asgi"])
def test_an_import_needs_no_settings(module: str) -> None:
    """It starts no thread and loads no database library, before the project is set up."""
    code = f"import sys, threading, {module}; print(threading.active_count(), 'sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1 False\n", "")


def test_workflows_are_discovered() -> None:
    """Generator functions of each app's workflows.py that take ctx; neither steps, nor private, nor imported ones."""
    names = {entry.name for entry in site.registry.entries()}
    assert {"process", "quick", "asking"} <= names
    assert {"first", "_private", "count_orders", "told"}.isdisjoint(names)


def test_two_apps_with_workflows_of_one_name_are_an_error() -> None:
    """Found at start, not by a run that executes the wrong one."""
    module = ModuleType("other.workflows")

    def quick(ctx: Any) -> Any:
        yield ctx.sleep(1)

    quick.__module__ = "other.workflows"
    vars(module)["quick"] = quick
    with pytest.raises(AlreadyRegistered):
        register_workflows(site, module)


def test_templates_of_the_project_replace_ours(configure: Configure, tmp_path: Path) -> None:
    """A template of the same name is rendered instead."""
    (tmp_path / "resonate").mkdir()
    (tmp_path / "resonate" / "status.html").write_text("<h1>Our own {{ page.run.id }}</h1>")
    engine = {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [tmp_path]}
    configure(TEMPLATES=[engine])
    resonate.run("a", workflows.quick)
    shown = Client().get(resonate.status_url("a"), headers={"accept": "text/html"})
    assert shown.content == b"<h1>Our own a</h1>"
