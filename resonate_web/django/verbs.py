"""`resonate`: what a view, a command or a shell asks of the project's client."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpResponseBase

from resonate_web.django import messages, mount
from resonate_web.django.bound import Bound
from resonate_web.django.transactions import refuse_atomic
from resonate_web.errors import WrongCall
from resonate_web.gateway.accepting import pledged
from resonate_web.gateway.access import principal
from resonate_web.gateway.messages import Request
from resonate_web.resonate import Options
from resonate_web.resonate.calls import Fn
from resonate_web.resonate.handle import refuse_blocking
from resonate_web.resonate.launch import PRINCIPAL


class Resonate(Bound):
    """The project's workflows: registered here, started here."""

    def start(self, id: str | None, fn: Fn, /, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Start a run, or join the one of that id, and return the answer of the view: 202, durable when it is sent.

        Raises: InvalidId, TooLarge, IdInUse, StoreUnavailable, which the middleware answers as problem documents;
        NotRegistered and Unserializable, which are errors of the view; WrongCall outside of one, or in `atomic()`.
        """
        refuse_blocking("start()", "await astart()", waits=False)
        request, options = self._request("start()"), self._starting("start()")
        driver = self._site.core.on_thread
        flow = self._site.gateway.start(request, id, fn, args, kwargs, options)
        return messages.rendered(driver.perform(flow), driver)

    async def astart(self, id: str | None, fn: Fn, /, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Await `start`."""
        request, options = self._request("astart()"), self._starting("astart()")
        driver = self._site.on_loop
        flow = self._site.gateway.start(request, id, fn, args, kwargs, options)
        return messages.rendered(await driver.perform(flow), driver)

    def start_on_commit(self, id: str, fn: Fn, /, *args: Any, **kwargs: Any) -> None:
        """Start a run when the transaction is committed, never when it is rolled back; answer with `accepted(id)`.

        A crash between the COMMIT and the start loses the start. Raises: at once what `start` would of id and
        arguments.
        """
        options = self._given()
        core = self._site.core
        core.check(id, fn, args, kwargs, options)
        request = mount.CURRENT.get()
        who = None if request is None else principal(self._request("start_on_commit()"))
        if who is not None:
            options = options.with_(tags={**options.tags, PRINCIPAL: who})

        def start() -> None:
            core.launch(id, fn, args, kwargs, options)

        transaction.on_commit(start, using=self._options.get("using"), robust=False)

    def accepted(self, id: str) -> HttpResponseBase:
        """Return the answer of a view that called `start_on_commit`: 202 and the link to the run's status."""
        core = self._site.core
        response = pledged(self._site.gateway.access, self._request("accepted()"), id, now=core.now())
        return messages.rendered(response, core.on_thread)

    def status_url(self, id: str) -> str:
        """Return the URL of a run's status, signed where links give access; absolute if RESONATE_BASE_URL is set."""
        return self._site.gateway.status_url(id, mount.script_name())

    def cancel_url(self, id: str) -> str:
        """Return the URL that cancels a run when something is posted to it; a person who opens it finds a form."""
        return self._site.gateway.cancel_url(id, mount.script_name())

    def _request(self, call: str) -> Request:
        request = mount.CURRENT.get()
        if request is None:
            raise WrongCall(
                f"{call} answers a request, and none is known here: add 'resonate_web.django.middleware.Middleware' "
                "to MIDDLEWARE; outside of a view use run() or begin_run()"
            )
        return messages.message(request, self._site.core.settings, self._site.core.secret)

    def _starting(self, call: str) -> Options:
        if not self._options.get("allow_in_atomic"):
            refuse_atomic(call)
        return self._given()
