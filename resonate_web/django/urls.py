"""Our routes: `path("", include("resonate_web.django.urls"))` in the URLconf, or below any other fixed path.

A pattern takes all that begins as our path does, whatever follows: the gateway judges it, so that all frameworks
refuse alike.
"""

from __future__ import annotations

import re

from django.urls import re_path

from resonate_web.django import mount, views

ANYTHING = r"(?P<rest>[\s\S]*)"

app_name = mount.NAMESPACE

urlpatterns = [
    re_path(rf"^{re.escape(head[1:])}{'' if exact else ANYTHING}\Z", views.answer, name=name)
    for (head, exact), name in mount.heads().items()
]
