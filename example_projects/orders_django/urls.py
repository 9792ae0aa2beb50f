"""The shop's routes, then those of resonate_web: `/status/<id>` and its relatives."""

from __future__ import annotations

from django.urls import include, path

import shop

urlpatterns = [
    path("", shop.page, name="page"),
    path("orders", shop.create_order, name="create_order"),
    path("static/<name>", shop.asset, name="asset"),
    path("", include("resonate_web.django.urls")),
]
