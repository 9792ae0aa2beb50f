"""The admin: runs to look at, and what may be done with them.

Nothing is added, changed or deleted here. An action is confirmed on a page of its own and carried out by POST; it
needs its permission, is noted in the log of the admin, and only ever asks the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from resonate_web.django import outline
from resonate_web.django.actions import ACTIONS, Action, choices
from resonate_web.django.models import Run
from resonate_web.django.site import site
from resonate_web.errors import ResonateError
from resonate_web.resonate.view import RunView
from resonate_web.workflow import ids

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Run]
else:
    Base = admin.ModelAdmin  # not generic without its stubs


@admin.register(Run)
class RunAdmin(Base):
    """Pages of our own instead of a change list: it would only know stores in Django's databases."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds runs here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes runs here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes runs here: `manage.py resonate prune` does."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Return the pages: the list, a run, the confirmation of each action."""
        own = [
            path(
                f"<path:object_id>/{action.name}/",
                self.admin_site.admin_view(self._acted(action)),
                name=_name(action.name),
            )
            for action in ACTIONS.values()
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the runs by id, a page at a time."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if wanted := request.GET.get("id", "").strip():
            return HttpResponseRedirect(self._url("change", wanted))
        state = next((known for known in outline.STATES if known == request.GET.get("state")), None)
        rows = outline.listed(site.core, state, request.GET.get("after") or None, outline.PAGE + 1)
        context = {
            "rows": [(row, self._url("change", row.id)) for row in rows[: outline.PAGE]],
            "after": rows[outline.PAGE - 1].id if len(rows) > outline.PAGE else None,
            "state": state,
            "states": outline.STATES,
            "title": "Runs",
        }
        return self._page(request, "change_list", {**context, **(extra_context or {})})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show a run with all that it recorded."""
        if object_id is None or not self.has_view_permission(request):
            raise PermissionDenied
        run = _found(unquote(object_id))
        allowed = {name: label for name, label in choices(run).items() if self._may(request, ACTIONS[name])}
        context = {
            **outline.facts(run),
            "lines": [(line, self._settling(request, line)) for line in outline.lines(site.core, run)],
            "choices": [(label, self._url(name, run.id)) for name, label in allowed.items()],
            "history": self._url("history", run.id),
        }
        return self._page(request, "change_form", {**context, **(extra_context or {})})

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Run | None:
        """Return a run for the pages of Django's own, wherever the store is."""
        return Run(id=_found(object_id).id)

    def _acted(self, action: Action) -> Any:
        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            if not self._may(request, action):
                raise PermissionDenied
            id = unquote(object_id)
            back = self._url("change", ids.origin(id))
            if request.method != "POST":
                return self._page(request, "confirm", {"action": action, "id": id, "back": back, "title": action.title})
            try:
                told = action.carry_out(site.core, id, request)
            except ResonateError as error:
                messages.error(request, str(error))
            else:
                self.log_change(request, Run(id=ids.origin(id)), told)
                messages.success(request, told)
            return HttpResponseRedirect(back)

        return view

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> TemplateResponse:
        known = {**self.admin_site.each_context(request), "opts": self.opts, "list": reverse(self._named("changelist"))}
        return TemplateResponse(request, f"admin/resonate/run/{name}.html", {**known, **context})

    def _settling(self, request: HttpRequest, line: outline.Line) -> list[tuple[str, str]]:
        offered = [ACTIONS["resolve"], ACTIONS["reject"]] if line.settleable else []
        return [(action.title, self._url(action.name, line.id)) for action in offered if self._may(request, action)]

    def _may(self, request: HttpRequest, action: Action) -> bool:
        return self.has_view_permission(request) and action.allowed(request.user)

    def _url(self, name: str, id: str) -> str:
        return reverse(self._named(name), args=(quote(id),))

    def _named(self, name: str) -> str:
        return f"{self.admin_site.name}:{_name(name)}"


def _name(page: str) -> str:
    return f"resonate_run_{page}"


def _found(id: str) -> RunView:
    run = site.core.view(id)
    if run is None:
        raise Http404(f"no run has the id {id!r}")
    return run
