"""Who is asking."""

from __future__ import annotations

from django.http import HttpRequest


def address(request: HttpRequest) -> str | None:
    """Return the e-mail address of who is logged in, as expenses name their managers; None for a stranger.

    Accounts are made by the company, and nobody changes their own address: it says who they are.
    """
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return str(user.email or user.get_username()).lower()
