"""Finding the clients of a WSGI callable."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from resonate_web.gateway import wsgi


def clients(application: object) -> list[Any]:
    return list(wsgi.clients(application))


def app(core: object) -> Any:
    return SimpleNamespace(extensions={"resonate": SimpleNamespace(core=core)})


class Method:
    def __init__(self, inner: object) -> None:
        self.extensions = app(inner).extensions

    def wsgi_app(self) -> None:
        """Be bound."""


class Hostile:
    def __getattr__(self, name: str) -> object:
        raise RuntimeError("working outside of context")


def test_an_app_is_its_own_client() -> None:
    """A plain application is found at once."""
    assert clients(app("a")) == ["a"]


def test_middlewares_are_looked_through() -> None:
    """Whatever attribute a middleware keeps its inner application in, up to ten layers."""
    inner: Any = app("a")
    for name in ("app", "application", "wsgi_app", "_app", "wrapped", "__wrapped__"):
        inner = SimpleNamespace(**{name: inner})
    assert clients(inner) == ["a"]
    assert clients(Method("b").wsgi_app) == ["b"]


def test_a_dispatcher_has_several() -> None:
    """Every mounted application counts, once."""
    one = app("a")
    assert clients(SimpleNamespace(app=one, mounts={"/b": app("b"), "/c": one})) == ["a", "b"]


def test_nothing_is_found_where_nothing_is() -> None:
    """Other objects, cycles and attributes that raise are no error."""
    loop = SimpleNamespace()
    loop.app = loop
    assert clients(loop) == clients(None) == clients(Hostile()) == clients(lambda: None) == []
    assert clients(SimpleNamespace(extensions={})) == clients(SimpleNamespace(extensions=[1])) == []
