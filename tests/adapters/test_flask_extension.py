"""The Flask extension as an object: binding, settings, two apps, contexts."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g, has_app_context

from resonate_web.errors import AlreadyRegistered, ConfigError, Stopped, WrongCall
from resonate_web.flask import Resonate, get_resonate
from resonate_web.flask.mount import world

WAIT_S = 10


def app_of(**config: Any) -> Flask:
    app = Flask("site")
    app.config.update(RESONATE_STORE="memory://", SECRET_KEY="development", **config)
    return app


def context_of(ctx):
    return (yield ctx.run(name_of_app))


def name_of_app():
    g.left = [*g.get("left", []), 1]
    return [current_app.name, threading.current_thread() is threading.main_thread(), len(g.left)]


def test_the_extension_holds_no_app() -> None:
    """One object serves several apps; the state of each is found through it alone, and typed."""
    resonate = Resonate()
    one, two = app_of(), app_of()
    resonate.init_app(one)
    resonate.init_app(two)
    assert get_resonate(one).core is not get_resonate(two).core
    assert one.extensions["resonate"] is get_resonate(one)
    with two.app_context():
        assert get_resonate() is get_resonate(two)


def test_two_apps_in_one_process_do_not_meet() -> None:
    """Each app has its store and its own steps' context, though functions are shared."""
    resonate = Resonate()
    resonate.register(context_of)
    one, two = Flask("one"), Flask("two")
    for app in (one, two):
        app.config["RESONATE_STORE"] = "memory://"
        resonate.init_app(app)
    for app in (one, two):
        with app.app_context():
            assert resonate.run("same-id", context_of)[0] == app.name
            resonate.close()


def test_a_second_registration_is_an_error() -> None:
    """The message says what to do instead; the first registration stands."""
    app = app_of()
    resonate = Resonate(app)
    for second in (resonate, Resonate()):
        with pytest.raises(ConfigError, match="'site' already has a Resonate"):
            second.init_app(app)
    assert get_resonate(app).core.registry is resonate.registry


def test_nothing_is_opened_before_the_first_request(tmp_path: Path) -> None:
    """Construction and init_app make no thread and no file, whatever autostart says outside of a server."""
    before = threading.active_count()
    for autostart in ("lazy", "eager", "off"):
        app = Flask("site", instance_path=str(tmp_path / autostart))
        Resonate(app, autostart=autostart).register(context_of)
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


def test_the_default_store_is_in_the_instance_folder(tmp_path: Path) -> None:
    """Without RESONATE_STORE promises rest in instance/resonate.db, which the first use creates."""
    app = Flask("site", instance_path=str(tmp_path / "instance"))
    resonate = Resonate(app)
    resonate.register(context_of)
    with app.app_context():
        resonate.run("a", context_of)
        resonate.close()
    assert (tmp_path / "instance" / "resonate.db").exists()


def test_settings_are_read_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """app.config beats the constructor, which beats the environment; later changes are not seen."""
    monkeypatch.setenv("RESONATE_GROUP", "env")
    monkeypatch.setenv("RESONATE_THREADS", "3")
    app = app_of(RESONATE_PREFIX="/config")
    Resonate(app, prefix="/argument", group="argument")
    app.config["RESONATE_PREFIX"] = "/late"
    settings = get_resonate(app).core.settings
    assert (settings.prefix, settings.group, settings.threads) == ("/config", "argument", 3)


def test_settings_do_not_show_their_keys() -> None:
    """Debug pages and error trackers print what a frame holds."""
    app = app_of(RESONATE_SIGNING_KEYS="signing-signing-signing", RESONATE_WEBHOOK_KEYS="d2ViaG9va3dlYmhvb2s=")
    Resonate(app)
    shown = repr(get_resonate(app).core.settings)
    assert "prefix=''" in shown
    assert "signing-signing" not in shown
    assert "d2ViaG9va3dlYmhvb2s" not in shown


def test_an_unknown_setting_names_the_nearest() -> None:
    """A typing error in app.config or in the constructor is found at init_app."""
    with pytest.raises(ConfigError, match="RESONATE_PREFIX"):
        Resonate(app_of(RESONATE_PREFX="/x"))
    with pytest.raises(ConfigError, match="RESONATE_PREFIX"):
        Resonate(app_of(), prefx="/x")


def test_a_route_of_the_apps_own_is_an_error_at_mount() -> None:
    """Both routes are named, and how to part them; with a prefix both live."""
    app = app_of()
    app.add_url_rule("/status/<name>", "mine", lambda name: name)
    with pytest.raises(ConfigError, match=r"'/status/<name>' \(mine\).*'/status/<id>'.*RESONATE_PREFIX"):
        Resonate(app)
    app.config["RESONATE_PREFIX"] = "/durable"
    Resonate(app)
    assert app.test_client().get("/status/x").text == "x"


def test_a_route_added_later_is_an_error_at_the_first_request() -> None:
    """Views are usually defined after the extension; the conflict is still no surprise in production."""
    app = app_of(TESTING=True)
    Resonate(app)
    app.add_url_rule("/status/<name>", "mine", lambda name: name)
    for _ in range(2):
        with pytest.raises(ConfigError, match="mine"):
            app.test_client().get("/")


def test_neighbours_are_no_conflict() -> None:
    """A health page at /status and a catch-all live beside our routes."""
    app = app_of()
    app.add_url_rule("/status", "health", lambda: "well")
    app.add_url_rule("/<path:rest>", "page", lambda rest: rest)
    Resonate(app)
    client = app.test_client()
    assert (client.get("/status").text, client.get("/a/b").text) == ("well", "a/b")
    assert client.get("/status/x").content_type == "application/problem+json"


def test_outside_of_an_app_the_error_says_what_is_missing() -> None:
    """Verbs need an app context, start a request, and an app without the extension says so."""
    resonate = Resonate()
    with pytest.raises(WrongCall, match=r"app\.app_context\(\)"):
        resonate.get("a")
    app = app_of()
    with app.app_context(), pytest.raises(ConfigError, match="init_app"):
        resonate.get("a")
    resonate.init_app(app)
    with app.app_context(), pytest.raises(WrongCall, match="run"):
        resonate.start("a", context_of)


def test_functions_are_registered_before_or_after_and_returned_unchanged() -> None:
    """As a call or as a decorator, with or without options; one name has one function."""
    resonate = Resonate()
    assert resonate.register(context_of) is context_of
    assert resonate.register(name="other", version=2)(context_of) is context_of
    app = app_of()
    resonate.init_app(app)

    @resonate.register
    def late(ctx):
        return "late"
        yield

    with app.app_context():
        assert resonate.run("a", "context_of")[0] == "site"
        assert resonate.run("b", late) == "late"
        resonate.close()
    with pytest.raises(AlreadyRegistered):
        resonate.register(name="late")(context_of)


def test_a_dependency_reaches_apps_before_and_after() -> None:
    """What is set on the extension is there in every app, whenever it was bound."""

    def needs(ctx):
        return ctx.get_dependency("db")
        yield

    resonate = Resonate()
    one, two = app_of(), app_of()
    resonate.init_app(one)
    resonate.set_dependency("db", 7)
    resonate.init_app(two)
    resonate.register(needs)
    for app in (one, two):
        with app.app_context():
            assert resonate.run("a", needs) == 7
            resonate.close()


def test_each_attempt_has_a_fresh_app_context() -> None:
    """A step sees current_app in its own thread, nothing of an earlier attempt, and its teardown runs."""
    app = app_of()
    torn: list[int] = []
    app.teardown_appcontext(lambda error: torn.append(len(g.get("left", []))))
    resonate = Resonate(app)
    resonate.register(context_of)
    with app.app_context():
        for id in ("a", "b"):
            assert resonate.run(id, context_of) == ["site", False, 1]
        resonate.close()
    assert torn.count(1) == 2


def test_an_active_context_of_the_same_app_is_not_pushed_twice() -> None:
    """The outer context, and the session that lives in it, is the step's."""
    app, other = app_of(), app_of()
    around = world(weakref.ref(app))
    with app.app_context():
        g.outer = 1
        with around():
            assert g.outer == 1
    with other.app_context():
        g.outer = 1
        with around():
            assert current_app == app
            assert "outer" not in g
        assert g.outer == 1
    assert not has_app_context()


def test_an_app_is_collected_when_nobody_holds_it() -> None:
    """Test suites make hundreds of apps: neither the extension nor the world of steps keeps one."""
    resonate = Resonate()
    app = app_of()
    resonate.init_app(app)
    around = world(weakref.ref(app))
    gone = weakref.ref(app)
    del app
    gc.collect()
    assert gone() is None
    with around():
        assert not has_app_context()


def test_importing_starts_nothing() -> None:
    """Neither package starts a thread or opens a file; the core imports no framework."""
    code = (
        "import os, sys, threading\n"
        "files = set(os.listdir('/proc/self/fd'))\n"
        "import resonate_web\n"
        "assert not {'flask', 'django', 'starlette', 'apscheduler'} & set(sys.modules), sys.modules\n"
        "import resonate_web.flask\n"
        "assert threading.active_count() == 1\n"
        "assert set(os.listdir('/proc/self/fd')) == files\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_flask_the_import_names_the_extra() -> None:
    """What to install is in the error."""
    code = "import sys\nsys.modules['flask'] = None\nimport resonate_web.flask\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'resonate-web[flask]'" in done.stderr


def test_the_first_request_of_any_path_starts_the_engine() -> None:
    """Also one that is not found, or that an earlier hook of the app's own answers; with off, none does."""
    for autostart, expected in [("lazy", True), ("eager", True), ("off", False)]:
        app = app_of(RESONATE_AUTOSTART=autostart)
        app.before_request(lambda: "maintenance")
        resonate = Resonate(app)
        app.test_client().get("/nowhere")
        assert get_resonate(app).core.runtime.started == expected
        with app.app_context():
            resonate.close()


def test_the_engine_of_a_collected_app_is_stopped() -> None:
    """A test that forgets to close leaves no threads behind for ever."""
    app = app_of()
    Resonate(app)
    app.test_client().get("/")
    core = get_resonate(app).core
    del app
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "resonate-close":
            thread.join(WAIT_S)
    with pytest.raises(Stopped):
        core.ensure_started()
