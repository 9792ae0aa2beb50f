"""Read-only models of the store's tables, where the store is in one of the project's databases.

They are not managed: our schema is made by `migrate` (see `migrations`) and changed by nobody else. Every query goes
to the database that `RESONATE["STORE"]` names, whatever the routers say. With another store they have no table; the
admin reads through the client then as it does always.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models

from resonate_web.django import conf
from resonate_web.errors import ConfigError, WrongCall


class ReadOnly(models.QuerySet[Any]):
    """A query set that only reads."""

    def _refused(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise WrongCall("the store's rows are read-only here: use resonate.promises, retry and proceed")

    create = get_or_create = update_or_create = bulk_create = bulk_update = update = delete = _refused


class StoreManager(models.Manager.from_queryset(ReadOnly)):  # type: ignore[misc]
    """Reads from the database that holds the store."""

    def get_queryset(self) -> Any:
        """Return the rows. Raises: ConfigError when the store is in none of the project's databases."""
        settings = conf.configured()
        alias = conf.alias_of(settings)
        if alias is None:
            raise ConfigError(
                f"the store is {settings.store!r}, which is none of DATABASES: read it through resonate, or set "
                "RESONATE['STORE'] = 'django://<alias>'"
            )
        return super().get_queryset().using(alias)


class Stored(models.Model):
    """A row that only the engine writes."""

    objects = StoreManager()

    class Meta:
        """Common to all of them."""

        abstract = True
        managed = False
        default_permissions = ("view",)

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse. Raises: WrongCall."""
        raise WrongCall("the store's rows are read-only here: use resonate.promises, retry and proceed")

    delete = save
    asave = adelete = save


class Promise(Stored):
    """A durable value: of a run, a step, a sleep, an approval. Times are milliseconds since the Unix epoch."""

    id: models.TextField[str, str] = models.TextField(primary_key=True)
    state: models.TextField[str, str] = models.TextField()
    timeout_at: models.BigIntegerField[int, int] = models.BigIntegerField()
    created_at: models.BigIntegerField[int, int] = models.BigIntegerField()
    settled_at: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(null=True)
    owner: models.TextField[str | None, str | None] = models.TextField(null=True)
    tags = models.JSONField()

    class Meta(Stored.Meta):
        """The table."""

        db_table = "resonate_promises"

    def __str__(self) -> str:
        return str(self.id)


class Task(Stored):
    """The obligation to execute a run: who has it, and for how long."""

    id: models.TextField[str, str] = models.TextField(primary_key=True)
    state: models.TextField[str, str] = models.TextField()
    version: models.BigIntegerField[int, int] = models.BigIntegerField()
    target: models.TextField[str, str] = models.TextField()
    pid: models.TextField[str | None, str | None] = models.TextField(null=True)
    expires_at: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(null=True)
    retry_at: models.BigIntegerField[int | None, int | None] = models.BigIntegerField(null=True)
    strikes: models.IntegerField[int, int] = models.IntegerField()

    class Meta(Stored.Meta):
        """The table."""

        db_table = "resonate_tasks"

    def __str__(self) -> str:
        return str(self.id)


class Run(Promise):
    """A started workflow, as the admin shows it; the permissions of its actions hang here."""

    class Meta:
        """No table of its own."""

        proxy = True
        default_permissions = ("view",)
        permissions = (
            ("cancel_run", "Can cancel a run"),
            ("resolve_promise", "Can resolve or reject a promise or an approval"),
            ("retry_run", "Can continue, hasten or retry a run"),
        )
