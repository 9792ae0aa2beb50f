"""The routes; those of the library, with the status of runs and the approvals, at the root."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import include, path

from expenses import views

urlpatterns = [
    path("", views.page, name="page"),
    path("expenses", views.hand_in, name="hand_in"),
    path("login/", views.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("static/<name>", views.static, name="static"),
    path("", include("resonate_web.django.urls")),
]
