"""`manage.py demo_users`: two managers and an employee, to try the site with."""

from __future__ import annotations

import os
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

USERS = ("manager@example.com", "boss@example.com", "ada@example.com")


class Command(BaseCommand):
    """Make the users, or set their passwords anew."""

    help = "Make the users of the demo. DEMO_PASSWORD is their password; without it, it is 'demo'."

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the users and say how to log in."""
        password = os.environ.get("DEMO_PASSWORD", "demo")
        for name in USERS:
            user, _ = get_user_model().objects.get_or_create(username=name, defaults={"email": name})
            user.set_password(password)
            user.save()
        self.stdout.write(f"{', '.join(USERS)}: the password is {password!r}")
