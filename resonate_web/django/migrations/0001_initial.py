"""The first schema. What it creates is ours to create: the models only read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db import migrations, models

from resonate_web.django import conf
from resonate_web.store.open import open_store


def upgrade(apps: Any, schema_editor: Any) -> None:
    """Bring a store in this very database to the newest schema; other databases and stores are left alone."""
    connection = schema_editor.connection
    settings = conf.configured()
    if conf.alias_of(settings) != connection.alias:
        return
    if conf.tested() and conf.in_memory(str(connection.settings_dict["NAME"])):
        return  # using the store there says what to do; tests that never use it must not fail
    store = open_store(replace(settings, store=conf.store_in(connection.alias), migrate="auto"))
    try:
        store.secret()  # the first look opens the store, and with it the schema
    finally:
        store.close()


READ_ONLY = {"managed": False, "abstract": False, "default_permissions": ("view",)}


class Migration(migrations.Migration):
    """Not in one transaction: our own connection writes to the same file."""

    initial = True
    atomic = False
    dependencies = []  # noqa: RUF012  (as Django writes it)
    operations = [  # noqa: RUF012
        migrations.RunPython(upgrade, migrations.RunPython.noop, elidable=False),
        migrations.CreateModel(
            name="Promise",
            fields=[
                ("id", models.TextField(primary_key=True, serialize=False)),
                ("state", models.TextField()),
                ("timeout_at", models.BigIntegerField()),
                ("created_at", models.BigIntegerField()),
                ("settled_at", models.BigIntegerField(null=True)),
                ("owner", models.TextField(null=True)),
                ("tags", models.JSONField()),
            ],
            options={**READ_ONLY, "db_table": "resonate_promises"},
        ),
        migrations.CreateModel(
            name="Task",
            fields=[
                ("id", models.TextField(primary_key=True, serialize=False)),
                ("state", models.TextField()),
                ("version", models.BigIntegerField()),
                ("target", models.TextField()),
                ("pid", models.TextField(null=True)),
                ("expires_at", models.BigIntegerField(null=True)),
                ("retry_at", models.BigIntegerField(null=True)),
                ("strikes", models.IntegerField()),
            ],
            options={**READ_ONLY, "db_table": "resonate_tasks"},
        ),
        migrations.CreateModel(
            name="Run",
            fields=[],
            options={
                "proxy": True,
                "default_permissions": ("view",),
                "permissions": (
                    ("cancel_run", "Can cancel a run"),
                    ("resolve_promise", "Can resolve or reject a promise or an approval"),
                    ("retry_run", "Can continue, hasten or retry a run"),
                ),
                "indexes": [],
                "constraints": [],
            },
            bases=("resonate.promise",),
        ),
    ]
