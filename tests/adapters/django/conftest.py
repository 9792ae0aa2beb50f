"""A Django project in this process, its databases in files, as Django's own test runner would set it up."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings

PROJECT = Path(__file__).parent / "project"
FOLDER = Path(tempfile.mkdtemp(prefix="bookshop"))


def _set_up() -> None:
    sys.path.insert(0, str(PROJECT))
    before = os.environ.get("SHOP_FOLDER")
    os.environ["SHOP_FOLDER"] = str(FOLDER)
    try:
        from bookshop import settings as ours
    finally:
        del os.environ["SHOP_FOLDER"]
        if before is not None:
            os.environ["SHOP_FOLDER"] = before
    settings.configure(**{name: value for name, value in vars(ours).items() if name.isupper()})
    django.setup()


_set_up()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Django's test clients leave the connections of their threads to the garbage collector."""
    unclosed = pytest.mark.filterwarnings(
        "ignore:unclosed database:ResourceWarning",
        "ignore:Exception ignored in. <sqlite3.Connection:pytest.PytestUnraisableExceptionWarning",
    )
    for item in items:
        if item.path.is_relative_to(PROJECT.parent):
            item.add_marker(unclosed)


@pytest.fixture(scope="session", autouse=True)
def _databases() -> Iterator[None]:
    """Make the test databases, as the test runner does."""
    from django.test.utils import setup_databases, setup_test_environment, teardown_databases, teardown_test_environment

    setup_test_environment()
    made = setup_databases(verbosity=0, interactive=False)
    yield
    teardown_databases(made, verbosity=0)
    teardown_test_environment()


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    """Give each test a client of its own, and leave no connection and no row behind."""
    from bookshop.models import Order
    from django.db import connections

    from resonate_web.django import site

    site.forget()
    yield
    site.forget()
    Order.objects.all().delete()
    connections.close_all()
    gc.collect()  # what threads left open goes now, not within a test that has nothing to do with it


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return how to change settings for the rest of the test, with Django's signals."""
    from django.test.utils import override_settings

    active: list[override_settings] = []

    def change(**changed: Any) -> None:
        active.append(override_settings(**changed))
        active[-1].enable()

    yield change
    for one in reversed(active):
        one.disable()
