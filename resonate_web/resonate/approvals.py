"""`resonate.approvals`: questions that people answer. Each verb has a twin that is awaited: `adecide`, `arevoke`, ...

Each is one flow, driven on a thread or on an event loop; the pages use the very same flows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, TypeGuard, TypeVar

from resonate_web.config import Settings
from resonate_web.errors import NotAllowed, NotFound, StoreUnavailable, WrongCall
from resonate_web.flow import Commit, Flow, Read
from resonate_web.protocol import tags
from resonate_web.protocol.records import EMPTY, PromiseState
from resonate_web.protocol.requests import PromiseSearch, PromiseSettle, Request, Response
from resonate_web.resonate import ledger
from resonate_web.resonate.deciding import (
    Answer,
    ApprovalView,
    approver_of,
    checked,
    ending,
    outcome,
    view_of,
    votes_of,
)
from resonate_web.resonate.handle import refuse_blocking
from resonate_web.resonate.launch import PRINCIPAL
from resonate_web.resonate.ledger import Event
from resonate_web.resonate.performing import OnLoop, OnThread
from resonate_web.resonate.port import Client
from resonate_web.resonate.runtime import Runtime
from resonate_web.resonate.view import RunView
from resonate_web.workflow import ids
from resonate_web.workflow.approvals import Question
from resonate_web.workflow.links import Links

T = TypeVar("T")

TRIES = 100
"""How often an entry is written anew because others were quicker: each time, one of them got further."""

LINK = "link"
"""Who has decided where nobody can be named."""


class Asker(Client, Protocol):
    """What approvals need of the client."""

    settings: Settings
    on_thread: OnThread
    on_loop: OnLoop

    @property
    def runtime(self) -> Runtime:
        """Return what this process has open."""
        ...

    @property
    def links(self) -> Links:
        """Return what makes the addresses of approval pages."""
        ...

    def submit(self, batch: list[Request], answered: Callable[[list[Response]], T], *, lead: bool) -> Future[T]:
        """Submit requests as one atomic group."""
        ...


class Approvals:
    """The verbs. What was decided first stands; every later answer gets the recorded decision."""

    def __init__(self, resonate: Asker) -> None:
        self._resonate = resonate

    def pending(self, approver: str | None = None, after: str | None = None, limit: int = 100) -> list[ApprovalView]:
        """List open approvals by id, of all or of one approver; `after` is the last id seen."""
        return self._now(self.listing(approver, after, limit), "pending")

    async def apending(
        self, approver: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[ApprovalView]:
        """Await `pending`."""
        return await self._later(self.listing(approver, after, limit))

    def get(self, id: str) -> ApprovalView:
        """Return an approval with its votes. Raises: NotFound."""
        return self._now(self.looking(id), "get")

    async def aget(self, id: str) -> ApprovalView:
        """Await `get`."""
        return await self._later(self.looking(id))

    def decide(
        self, id: str, approved: bool, *, by: str | None = None, comment: str = "", fields: Mapping[str, Any] = {}
    ) -> ApprovalView:
        """Answer as `by` would on the page, for tests and bots; with approvers, `by` is one of them and has one vote.

        Raises: NotFound, InvalidAnswer, NotAllowed.
        """
        return self._now(self._answering(id, approved, by, comment, fields), "decide")

    async def adecide(
        self, id: str, approved: bool, *, by: str | None = None, comment: str = "", fields: Mapping[str, Any] = {}
    ) -> ApprovalView:
        """Await `decide`."""
        return await self._later(self._answering(id, approved, by, comment, fields))

    def revoke(self, id: str, by: str | None = None) -> ApprovalView:
        """Withdraw the question: its links are gone, and the workflow sees the outcome `revoked`. Raises: NotFound."""
        return self._now(self.revoking(id, by), "revoke")

    async def arevoke(self, id: str, by: str | None = None) -> ApprovalView:
        """Await `revoke`."""
        return await self._later(self.revoking(id, by))

    def revoke_link(self, id: str, approver: str = "") -> ApprovalView:
        """Make the links of one approver useless, not those of the others; `link` makes a new one.

        Raises: NotFound, and as `link` does.
        """
        return self._now(self.revoking_link(id, approver), "revoke_link")

    async def arevoke_link(self, id: str, approver: str = "") -> ApprovalView:
        """Await `revoke_link`."""
        return await self._later(self.revoking_link(id, approver))

    def link(self, id: str, approver: str = "") -> str:
        """Return the address where an approver decides: the one that the workflow has, or a new one if it was revoked.

        Raises: NotFound, WrongCall when each approver has a link of their own, NotAllowed for who is none of them,
        ConfigError without RESONATE_BASE_URL.
        """
        return self._now(self.linking(id, approver), "link")

    async def alink(self, id: str, approver: str = "") -> str:
        """Await `link`."""
        return await self._later(self.linking(id, approver))

    def audit(self, id: str) -> tuple[Event, ...]:
        """Return what happened to an approval, in that order. Raises: NotFound."""
        return self.get(id).history()

    async def aaudit(self, id: str) -> tuple[Event, ...]:
        """Await `audit`."""
        return (await self.aget(id)).history()

    # The flows

    def looking(self, id: str) -> Flow[ApprovalView]:
        """Return the flow of `get`."""
        id = ids.normal(id)
        found = yield Read(lambda: view_of(*ledger.read(self._resonate.runtime.server.read, id)))
        if found is None:
            raise NotFound(f"no approval has the id {id!r}")
        return found  # type: ignore[no-any-return]

    def listing(self, approver: str | None, after: str | None, limit: int) -> Flow[list[ApprovalView]]:
        """Return the flow of `pending`. What waits for an approver is what they have not voted on."""
        found: list[ApprovalView] = []
        while len(found) < limit:
            views, after = yield Read(partial(self._page, approver, after, max(limit, 100)))
            found += views
            if after is None:
                break
        return found[:limit]

    def deciding(self, id: str, answer: Answer) -> Flow[ApprovalView]:
        """Record a vote and, in the same commit, the decision that it brings about; return what is recorded then.

        Nothing is changed when the approval has ended or the approver has voted before.
        """

        def act(view: ApprovalView) -> tuple[Event, tuple[PromiseSettle, ...]] | None:
            if view.state != "pending" or view.vote_of(answer.approver) is not None:
                return None
            event = Event(
                kind="voted",
                at=self._resonate.now(),
                by=answer.by,
                approver=answer.approver,
                agent=answer.agent,
                decision=answer.decision,
                comment=answer.comment,
                fields=answer.fields,
            )
            return event, self._caused(view, (*view.events, event))

        return (yield from self._acted(id, act))

    def noting(self, id: str, approver: str, expires_at: int, agent: str) -> Flow[ApprovalView]:
        """Record that a link was opened, once and only while the approval is open."""

        def act(view: ApprovalView) -> tuple[Event, tuple[PromiseSettle, ...]] | None:
            if view.state != "pending" or view.seen_by(approver, expires_at):
                return None
            at = self._resonate.now()
            return Event(kind="viewed", at=at, approver=approver, expires_at=expires_at, agent=agent), ()

        return (yield from self._acted(id, act))

    def revoking(self, id: str, by: str | None) -> Flow[ApprovalView]:
        """Return the flow of `revoke`."""

        def act(view: ApprovalView) -> tuple[Event, tuple[PromiseSettle, ...]] | None:
            if view.state != "pending":
                return None
            event = Event(kind="revoked", at=self._resonate.now(), by=by)
            return event, self._caused(view, (*view.events, event))

        return (yield from self._acted(id, act))

    def revoking_link(self, id: str, approver: str) -> Flow[ApprovalView]:
        """Return the flow of `revoke_link`."""

        def act(view: ApprovalView) -> tuple[Event, tuple[PromiseSettle, ...]] | None:
            _check_approver(view, approver)
            last = view.link_ends(approver)
            if view.revoked_until(approver) >= last:
                return None
            return Event(kind="link_revoked", at=self._resonate.now(), approver=approver, expires_at=last), ()

        return (yield from self._acted(id, act))

    def linking(self, id: str, approver: str) -> Flow[str]:
        """Return the flow of `link`."""
        view = yield from self.looking(id)
        _check_approver(view, approver)
        return self._resonate.links(view.id, approver, view.link_ends(approver))

    def initiator(self, view: ApprovalView) -> Flow[str | None]:
        """Return who started the run that asks, as far as that was known."""
        root = yield Read(lambda: self._resonate.record(view.question.run))
        return root.tags.get(PRINCIPAL)  # type: ignore[no-any-return]

    # Inside

    def _page(self, approver: str | None, after: str | None, limit: int) -> tuple[list[ApprovalView], str | None]:
        read = self._resonate.runtime.server.read
        search = PromiseSearch(state=PromiseState.PENDING, tags={tags.APPROVAL: "true"}, cursor=after, limit=limit)
        [page] = read(search)
        asked = [promise.id for promise in page.promises if self._waits_for(view_of(promise, ()), approver)]
        views = (view_of(*ledger.read(read, id)) for id in asked)
        return [view for view in views if self._waits_for(view, approver)], page.cursor

    def _waits_for(self, view: ApprovalView | None, approver: str | None) -> TypeGuard[ApprovalView]:
        """Tell whether somebody has to decide: one of the approvers, or, where none are named, whoever logs in."""
        if view is None or view.state != "pending":
            return False
        if approver is None:
            return True
        question = view.question
        mine = self.approver(question, approver) if question.approvers or question.require_login else None
        return mine is not None and view.vote_of(mine) is None

    def approver(self, question: Question, principal: str) -> str | None:
        """Return as which approver of a question a logged-in user counts, None for none (`deciding.approver_of`)."""
        return approver_of(question, principal, framework=self._resonate.settings.principal is None)

    def _answering(self, id: str, approved: bool, by: str | None, comment: str, fields: Any) -> Flow[ApprovalView]:
        view = yield from self.looking(id)
        question = view.question
        decision, text, values = checked(question, "approve" if approved else "reject", comment, fields)
        approver = by or ""
        if question.approvers:
            approver = self.approver(question, approver) or ""
            if not approver:
                known = ", ".join(map(repr, question.approvers))
                raise NotAllowed(f"by= is one of the approvers of {view.id}, {known}, not {by!r}")
        if question.forbid_initiator and by is not None and by == (yield from self.initiator(view)):
            raise NotAllowed(f"{by!r} has started {question.run} and may not decide {view.id}")
        answer = Answer(decision=decision, by=by or LINK, approver=approver, comment=text, fields=values)
        return (yield from self.deciding(id, answer))

    def _acted(
        self, id: str, act: Callable[[ApprovalView], tuple[Event, tuple[PromiseSettle, ...]] | None]
    ) -> Flow[ApprovalView]:
        """Write the entry that `act` wants in the light of all earlier ones, until nobody was quicker."""
        for _ in range(TRIES):
            view = yield from self.looking(id)
            for settle in self._caused(view, view.events):  # a part of a group was applied, and nobody went on
                yield Commit(partial(self._repair, settle))
                view = yield from self.looking(id)
            wanted = act(view)
            if wanted is None:
                return view
            event, effects = wanted
            codec, number = self._resonate.codec, len(view.events) + 1
            batch = ledger.appended(codec, view.id, number, event, *effects)
            if (yield Commit(lambda lead, batch=batch: self._resonate.submit(batch, ledger.was_written, lead=lead))):  # type: ignore[misc]
                return (yield from self.looking(id))
        raise StoreUnavailable(f"others kept writing to {id!r}; try again")

    def _caused(self, view: ApprovalView, events: tuple[Event, ...]) -> tuple[PromiseSettle, ...]:
        """Return the settlement of an open approval that follows from what happened to it, if one does."""
        if view.state != "pending":
            return ()
        for event in events:
            if event.kind == "revoked":
                value = EMPTY if event.by is None else self._resonate.codec.encode({"by": event.by})
                return (PromiseSettle(id=view.id, state=PromiseState.CANCELED, value=value),)
        verdict = outcome(view.question, votes_of(events))
        if verdict is None:
            return ()
        value = self._resonate.codec.encode(ending(events, verdict).document())
        return (PromiseSettle(id=view.id, state=PromiseState.RESOLVED, value=value),)

    def _repair(self, settle: PromiseSettle, lead: bool) -> Future[bool]:
        return self._resonate.submit([settle], lambda answers: answers[0].status == 200, lead=lead)

    def _now(self, flow: Flow[T], verb: str) -> T:
        refuse_blocking(f"approvals.{verb}()", f"await approvals.a{verb}()", waits=False)
        return self._resonate.on_thread.perform(flow)

    async def _later(self, flow: Flow[T]) -> T:
        return await self._resonate.on_loop.perform(flow)


def votes_so_far(read: Callable[..., list[Response]], run: RunView) -> dict[str, int]:
    """Return how many people have voted, by the id of each open approval of a run that needs several."""
    open_ = (step.promise for step in run.steps if step.state is PromiseState.PENDING and not run.done)
    several = [promise.id for promise in open_ if (asked := Question.of(promise)) is not None and asked.quorum > 1]
    return {id: len(votes_of(ledger.read(read, id)[1])) for id in several}


def _check_approver(view: ApprovalView, approver: str) -> None:
    """Raise NotAllowed for whoever has no link, WrongCall where there is none for everybody."""
    question = view.question
    if approver and approver not in question.approvers:
        raise NotAllowed(f"{approver!r} is no approver of {view.id}")
    if not approver and question.approvers and not question.require_login:
        raise WrongCall(f"each approver of {view.id} has a link of their own: name one of them")
