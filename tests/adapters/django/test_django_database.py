"""The store in one of the project's databases: migrations, models, and what belongs where."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from bookshop import workflows
from django.core.management import call_command
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from resonate_web.django import resonate, site
from resonate_web.django.models import Promise, Run, Task
from resonate_web.errors import ConfigError, WrongCall
from resonate_web.store.schema import VERSION

Configure = Callable[..., None]


def tables(alias: str) -> set[str]:
    with connections[alias].cursor() as cursor:
        names = connections[alias].introspection.table_names(cursor)
    return {name for name in names if name.startswith("resonate_")}


def migrate(alias: str) -> None:
    call_command("migrate", "resonate", "zero", database=alias, verbosity=0)
    call_command("migrate", "resonate", database=alias, verbosity=0)


def test_migrate_makes_the_schema_where_the_store_is(configure: Configure) -> None:
    """On that alias only; elsewhere, and with another store, it is a no-op that is noted as done."""
    configure(RESONATE={"STORE": "django://second"})
    before = tables("default")
    migrate("default")
    assert tables("default") == before
    migrate("second")
    assert "resonate_promises" in tables("second")
    configure(RESONATE={"STORE": "memory://"})
    migrate("volatile")
    assert tables("volatile") == set()
    assert ("resonate", "0001_initial") in MigrationRecorder(connections["volatile"]).applied_migrations()


def test_migrate_on_a_database_in_memory_leaves_the_tests_alone(configure: Configure) -> None:
    """Only who uses the store there is told what to do."""
    configure(RESONATE={"STORE": "django://volatile"})
    migrate("volatile")
    with pytest.raises(ConfigError, match="TEST"):
        resonate.run("a", workflows.quick)


def test_there_is_a_migration_for_the_newest_schema() -> None:
    """A release with a new schema brings a migration that upgrades by `migrate`, and the models are unchanged."""
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(None)
    assert len([key for key in loader.disk_migrations if key[0] == "resonate"]) == VERSION
    call_command("makemigrations", "resonate", check=True, dry_run=True, stdout=StringIO())


def test_the_models_read_what_the_engine_wrote(configure: Configure) -> None:
    """From the alias that the setting names, without a router; tags are JSON."""
    configure(RESONATE={"STORE": "django://second"})
    resonate.run("order/1", workflows.counting)
    found = Promise.objects.get(id="order/1")
    assert (found.state, found.tags["resonate_web:root"]) == ("resolved", "true")
    assert found._state.db == "second"
    assert Promise.objects.filter(owner="order/1").count() == 2
    assert Task.objects.get(id="order/1").state == "fulfilled"
    assert str(Run.objects.get(id="order/1")) == "order/1"
    site.forget()


def test_the_models_only_read(configure: Configure) -> None:
    """Whoever would write through them is told what to use."""
    configure(RESONATE={"STORE": "django://second"})
    resonate.run("order/2", workflows.quick)
    found = Promise.objects.get(id="order/2")
    attempts: list[Callable[[], Any]] = [
        found.save,
        found.delete,
        lambda: Promise.objects.create(id="x"),
        lambda: Promise.objects.all().update(state="pending"),
        lambda: Promise.objects.all().delete(),
        lambda: Promise.objects.bulk_create([found]),
    ]
    for attempt in attempts:
        with pytest.raises(WrongCall, match="read-only"):
            attempt()


def test_the_models_of_another_store_say_so() -> None:
    """There is no table to read."""
    with pytest.raises(ConfigError, match="read it through resonate"):
        Promise.objects.count()


def test_one_file_serves_both(configure: Configure) -> None:
    """The engine's connection and Django's write to the same file at the same time."""
    from bookshop.models import Order

    configure(RESONATE={"STORE": "django://default"})
    handles = [resonate.begin_run(f"both/{n}", workflows.counting) for n in range(20)]
    for n in range(20):
        Order.objects.create(name=str(n))
    for handle in handles:
        assert len(handle.result(20)) == 2
