"""One table of the project's own."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    """What was ordered."""

    name: models.CharField[str, str] = models.CharField(max_length=50)

    class Meta:
        """Found without an app config."""

        app_label = "bookshop"

    def __str__(self) -> str:
        return self.name
