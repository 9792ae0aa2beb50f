"""Canceling a run over HTTP: by a link of its own, or by whom the application lets."""

from __future__ import annotations

from resonate_web.errors import InvalidId
from resonate_web.flow import Call, Commit, Flow, Read
from resonate_web.gateway.access import SIGNATURE, Access
from resonate_web.gateway.forms import Forms
from resonate_web.gateway.messages import JSON, Request, Response, answer, encoded
from resonate_web.gateway.problems import Refused, not_found
from resonate_web.gateway.shown import Cancel
from resonate_web.gateway.signing import CANCEL
from resonate_web.gateway.status import document
from resonate_web.protocol import tags
from resonate_web.protocol.records import PromiseState
from resonate_web.protocol.requests import PromiseSettle
from resonate_web.resonate import Resonate
from resonate_web.resonate.view import RunView
from resonate_web.workflow.ids import root_id

Offer = tuple[Cancel | None, tuple[tuple[str, str], ...]]
"""A form, or none, and the header fields of the page that has it."""


class Canceling:
    """The answers to requests that cancel, in one installation."""

    def __init__(self, resonate: Resonate, access: Access, forms: Forms) -> None:
        self._resonate = resonate
        self._access = access
        self._forms = forms

    def cancel(self, request: Request, argument: str) -> Flow[Response]:
        """Cancel the newest try of a run: 202, or 200 with the unchanged document of one that has ended."""
        id = self._id(argument)
        if not self._access.cancels(request, id, SIGNATURE):
            raise Refused(not_found())
        run: RunView | None = yield Read(lambda: self._resonate.view(id))
        if run is None or not tags.is_targeted(run.promise.tags):
            raise Refused(not_found())
        promise = run.promise
        if not (yield Call(lambda: self._access.stops(request, promise))):
            raise Refused(not_found())
        body = yield from self._forms.body(request, _subject(id), empty=True)
        changed = False
        if not run.done:
            settle = PromiseSettle(id=promise.id, state=PromiseState.CANCELED)
            state = yield Commit(lambda lead: self._resonate.ask(settle, _state, lead=lead))
            changed = state is PromiseState.CANCELED
            run = (yield Read(lambda: self._resonate.view(id))) or run
        link = self._access.status_url(id, request.root)
        if body.is_form:
            return Response(
                status=303, headers=(("Location", link), ("Cache-Control", "no-store"), ("Content-Length", "0"))
            )
        headers = (("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"))
        return answer(202 if changed else 200, encoded(document(run, id, link)), media_type=JSON, headers=headers)

    def offered(self, request: Request, id: str, run: RunView) -> Flow[Offer]:
        """Return the form with which this request may cancel a run."""
        if run.done or not self._access.cancels(request, id, CANCEL):
            return None, ()
        if not (yield Call(lambda: self._access.stops(request, run.promise))):
            return None, ()
        nonce, headers = self._forms.nonce(request, _subject(id))
        return Cancel(action=self._access.cancel_url(id, request.root), nonce=nonce), headers

    def _id(self, argument: str) -> str:
        try:
            return root_id(argument)
        except InvalidId:  # also what only we may name: ids with '~' or ':'
            raise Refused(not_found()) from None


def _subject(id: str) -> str:
    return f"cancel\n{id}"


def _state(response: object) -> object:
    promise = getattr(response, "promise", None)
    return getattr(promise, "state", None)
