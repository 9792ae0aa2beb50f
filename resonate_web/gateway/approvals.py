"""Approvals over HTTP: the page of a link, the decision that is sent from it, and the list of who logs in.

GET, HEAD and OPTIONS decide nothing, however often they come: mail scanners and previews open links. Only POST
decides, and what was decided first stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from resonate_web.config import Settings
from resonate_web.errors import InvalidAnswer, NotFound, StoreError
from resonate_web.flow import Call, Flow, Read
from resonate_web.gateway import asking
from resonate_web.gateway.access import principal
from resonate_web.gateway.forms import Body, Forms
from resonate_web.gateway.links import Link, Links
from resonate_web.gateway.messages import JSON, Request, Response, answer, encoded
from resonate_web.gateway.negotiation import prefers_html
from resonate_web.gateway.pages import Pages, page
from resonate_web.gateway.problems import Refused, not_found, refusal
from resonate_web.gateway.shown import ApprovalPage, ApprovalsPage
from resonate_web.resonate import Resonate
from resonate_web.resonate.approvals import LINK
from resonate_web.resonate.deciding import Answer, ApprovalView, Checked, Verdict, checked

PER_PAGE = 50
"""Rows of the list of open approvals."""

_AGENT = 200
_PRIVATE = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Robots-Tag", "noindex, nofollow"),
    ("Vary", "Accept, Cookie"),
)
# `prefetch`, `prerender` or `preview`: nobody has seen the page yet.
_LOOKAHEAD = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_EXTRA = frozenset({"decision", "comment", "csrfmiddlewaretoken"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who decides: `by` is what is recorded, `approver` is whose vote it is."""

    by: str
    approver: str


class Approving:
    """The answers to requests for approvals, in one installation."""

    def __init__(
        self, resonate: Resonate, settings: Settings, links: Links, forms: Forms, pages: Callable[[Request], Pages]
    ) -> None:
        self._resonate = resonate
        self._settings = settings
        self._links = links
        self._forms = forms
        self._pages = pages

    def show(self, request: Request, token: str) -> Flow[Response]:
        """Answer with the question and what became of it."""
        link: Link = yield Read(lambda: self._opened(token))
        asker: str | None = yield Call(lambda: principal(request))
        view = yield from self._view(link)
        try:
            person = self._person(view, link, asker)
        except Refused as refused:
            return self._refused(request, refused)
        if view.state == "revoked":
            return self._over(request, view)
        if request.method == "GET" and not _looks_ahead(request):
            view = yield from self._noted(view, link, request)
        return self._answered(request, view, person, asker)

    def decide(self, request: Request, token: str) -> Flow[Response]:
        """Record a decision; the same again changes nothing, another one meets the first."""
        link: Link = yield Read(lambda: self._opened(token))
        asker: str | None = yield Call(lambda: principal(request))
        body = yield from self._forms.body(request, _subject(link.id, asker))
        view = yield from self._view(link)
        try:
            person = self._person(view, link, asker)
        except Refused as refused:
            return self._refused(request, refused)
        if view.state in ("revoked", "timedout"):
            return self._over(request, view)
        if view.question.forbid_initiator and asker == (yield from self._resonate.approvals.initiator(view)):
            raise refusal(403, "not-allowed", "Who has started this may not decide it.")
        try:
            verdict, comment, fields = _checked(view, person, body)
        except InvalidAnswer as error:
            if not body.is_form:
                raise
            return self._answered(request, view, person, asker, values=body.values, errors=error.errors)
        agent = _agent(request)
        said = Answer(
            decision=verdict, by=person.by, approver=person.approver, comment=comment, fields=fields, agent=agent
        )
        view = yield from self._resonate.approvals.deciding(link.id, said)
        return self._decided(request, body, view, person, asker, token, said)

    def listed(self, request: Request) -> Flow[Response]:
        """List what waits for the decision of who is logged in."""
        asker: str | None = yield Call(lambda: principal(request))
        if asker is None:
            return self._refused(request, _login())
        after = request.argument("after") or None
        found = yield from self._resonate.approvals.listing(asker, after, PER_PAGE)
        root = quote(request.root, safe="/").rstrip("/")
        rows = [(view, root + self._own_path(view, asker)) for view in found]
        more = None
        if len(found) == PER_PAGE:
            more = f"{root}{self._settings.prefix}/approvals?{urlencode({'after': found[-1].id})}"
        if prefers_html(request.headers.get("accept")):
            shown = ApprovalsPage(you=asker, rows=tuple(asking.row(*each) for each in rows), more=more)
            return page(200, self._pages(request).render(shown), (("Vary", "Accept, Cookie"),))
        document = {"approvals": [asking.summary(*each) for each in rows], "next": more}
        return answer(200, encoded(document), media_type=JSON, headers=_PRIVATE)

    def _opened(self, token: str) -> Link:
        # A look at the store: the first one asks it for the key and for the time.
        link = self._links.opened(token)
        if link is None:
            raise Refused(not_found())
        if link.expires_at <= self._resonate.now():
            raise refusal(410, "link-expired", "This link has expired.", "ask whoever sent it for a new one")
        return link

    def _view(self, link: Link) -> Flow[ApprovalView]:
        try:
            view = yield from self._resonate.approvals.looking(link.id)
        except NotFound:
            raise Refused(not_found()) from None
        if view.revoked_until(link.approver) >= link.expires_at:
            raise refusal(410, "link-revoked", "This link was revoked.", "ask whoever sent it for a new one")
        return view

    def _noted(self, view: ApprovalView, link: Link, request: Request) -> Flow[ApprovalView]:
        """Record that a link was opened; where that cannot be written, the page is shown all the same."""
        if view.state != "pending" or view.seen_by(link.approver, link.expires_at):
            return view
        try:
            agent = _agent(request)
            return (yield from self._resonate.approvals.noting(link.id, link.approver, link.expires_at, agent))
        except StoreError:
            return view

    def _person(self, view: ApprovalView, link: Link, asker: str | None) -> Person:
        """Return who this is. Raises: Refused for who must log in, and for who is none of the approvers."""
        question = view.question
        if not question.require_login:
            return Person(by=asker or link.approver or LINK, approver=link.approver)
        if asker is None:
            raise _login()
        approver = self._resonate.approvals.approver(question, asker)
        if approver is None:
            raise refusal(403, "not-allowed", "This is for others to decide.", "you are not one of the approvers")
        return Person(by=asker, approver=approver)

    def _own_path(self, view: ApprovalView, asker: str) -> str:
        approver = (self._resonate.approvals.approver(view.question, asker) or "") if view.question.approvers else ""
        return self._links.path(view.id, approver, view.link_ends(approver))

    def _decided(
        self,
        request: Request,
        body: Body,
        view: ApprovalView,
        person: Person,
        asker: str | None,
        token: str,
        said: Answer,
    ) -> Response:
        if view.state in ("revoked", "timedout"):
            return self._over(request, view)
        if not _agrees(view, person, said):
            if body.is_form:
                return self._answered(request, view, person, asker, status=409, late=True)
            raise _late(view, person, said)
        if not body.is_form:
            return self._answered(request, view, person, asker)
        path = f"{quote(request.root, safe='/').rstrip('/')}{self._settings.prefix}/approvals/{token}"
        return Response(status=303, headers=(("Location", path), *_PRIVATE[:2], ("Content-Length", "0")))

    def _answered(
        self,
        request: Request,
        view: ApprovalView,
        person: Person,
        asker: str | None,
        *,
        status: int = 200,
        values: Mapping[str, str] | None = None,
        errors: Mapping[str, str] | None = None,
        late: bool = False,
    ) -> Response:
        """Return the question as the client likes it; `values` and `errors` are those of a form that was not taken."""
        was_form = values is not None or late
        if not was_form and (request.method == "POST" or not prefers_html(request.headers.get("accept"))):
            return answer(status, encoded(asking.document(view, person.approver)), media_type=JSON, headers=_PRIVATE)
        shown = asking.page_of(view, person.approver, you=asker or person.approver or None, now=self._resonate.now())
        cookie: tuple[tuple[str, str], ...] = ()
        nonce = ""
        if shown.state == "open":
            nonce, cookie = self._forms.nonce(request, _subject(view.id, asker))
        shown = asking.sent(shown, nonce=nonce, values=values or {}, errors=errors or {}, late=late)
        headers = (("Vary", "Accept, Cookie"), *cookie)
        body = self._pages(request).render(shown)
        return page(422 if errors else status, body, headers, forms=shown.state == "open")

    def _over(self, request: Request, view: ApprovalView) -> Response:
        """Answer that nothing can be decided any more, with what is recorded."""
        if prefers_html(request.headers.get("accept")):
            shown = asking.page_of(view, "", you=None, now=self._resonate.now())
            return page(410, self._pages(request).render(shown), (("Vary", "Accept, Cookie"),))
        title = "The approval was withdrawn." if view.state == "revoked" else "The approval was not decided in time."
        slug = "approval-revoked" if view.state == "revoked" else "approval-timed-out"
        raise refusal(410, slug, title, **asking.outcome(view))

    def _refused(self, request: Request, refused: Refused) -> Response:
        """Return a refusal, for a browser that has to log in as a page of its own."""
        if refused.response.status != 401 or not prefers_html(request.headers.get("accept")):
            raise refused
        shown = ApprovalPage(state="login", login_url=_login_url(self._settings.login_url, request))
        return page(401, self._pages(request).render(shown), (("Vary", "Accept, Cookie"),))


def _subject(id: str, asker: str | None) -> str:
    return f"approval\n{id}\n{asker or ''}"


def _said(body: Body) -> tuple[object, object, object]:
    values = body.values
    if body.is_form:
        fields: object = {name: value for name, value in values.items() if name not in _EXTRA and name[:1] != "_"}
    else:
        fields = values.get("fields")
        fields = {} if fields is None else fields
    return values.get("decision"), values.get("comment"), fields


def _checked(view: ApprovalView, person: Person, body: Body) -> Checked:
    """Return what was said. Raises: InvalidAnswer.

    Where that changes nothing any more only the decision counts: who comes late learns how it ended, not what it lacks.
    """
    decision, comment, fields = _said(body)
    if view.state != "pending" or view.vote_of(person.approver) is not None:
        verdicts: dict[object, Verdict] = {"approve": "approve", "reject": "reject"}
        verdict = verdicts.get(decision) if isinstance(decision, str) else None
        if verdict is not None:
            return verdict, "", {}
    return checked(view.question, decision, comment, fields)


def _agrees(view: ApprovalView, person: Person, said: Answer) -> bool:
    mine = view.vote_of(person.approver)
    if mine is not None:
        return mine.decision == said.decision
    return (view.state == "approved") == (said.decision == "approve")


def _late(view: ApprovalView, person: Person, said: Answer) -> Refused:
    """Return the refusal of an answer: it was decided otherwise, or this person has said something else before."""
    mine = view.vote_of(person.approver)
    told = asking.outcome(view)
    if mine is not None and (view.state == "pending" or told["decision"] == said.decision):
        told = asking.vote(mine)
    word = "approved" if told["decision"] == "approve" else "rejected"
    who = "somebody with the link" if told["by"] in (None, LINK) else told["by"]
    detail = f"{who} {word} it at {told['at']}"
    return refusal(409, "already-decided", "This was decided before, and otherwise.", detail, **told)


def _looks_ahead(request: Request) -> bool:
    return any("pre" in request.headers.get(name, "").lower() for name in _LOOKAHEAD)


def _agent(request: Request) -> str:
    return request.headers.get("user-agent", "")[:_AGENT].encode("utf-8", "replace").decode()


def _login_url(url: str | None, request: Request) -> str | None:
    """Return where to log in and come back from."""
    if url is None:
        return None
    back = quote(request.root + request.path, safe="/") + (f"?{request.query}" if request.query else "")
    return f"{url}{'&' if '?' in url else '?'}{urlencode({'next': back})}"


def _login() -> Refused:
    return refusal(401, "login-required", "Log in first.", "only a person who is logged in can see and decide this")
