"""The routes; ours at the root."""

from __future__ import annotations

from bookshop import views
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("start/<workflow>", views.start),
    path("astart/<workflow>", views.astart),
    path("start-on-loop", views.start_on_loop),
    path("start-in-atomic", views.start_in_atomic),
    path("start-on-commit", views.start_on_commit),
    path("unknown", views.unknown),
    path("aunknown", views.aunknown),
    path("pid", views.pid),
    path("", include("resonate_web.django.urls")),
]
