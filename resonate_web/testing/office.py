"""A process with a gateway in which runs ask people, simulated: for tests of approvals without a server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from resonate_web.gateway.routes import Gateway
from resonate_web.resonate import Handle, Options, Resonate
from resonate_web.resonate.launch import PRINCIPAL
from resonate_web.testing.simulation import Simulation, settings_for_tests
from resonate_web.testing.visitor import Visitor
from resonate_web.workflow.approvals import Field

KEYS = ("an older key of ours", "the key that signs now")


def asks(ctx: Any, rules: dict[str, Any], fields: Sequence[Any] = ()) -> Any:
    """Ask as told; return the decision."""
    timeout = rules.pop("days", None)
    asked = [Field(**one) for one in fields]
    approval = yield ctx.approval(
        "manager", **rules, fields=asked, timeout=None if timeout is None else timedelta(days=timeout)
    )
    return (yield approval).document()


class Office:
    """A process with a gateway, and the runs that ask."""

    def __init__(self, **settings: Any) -> None:
        self.simulation = Simulation()
        changed = {"base_url": "https://shop.example", "signing_keys": KEYS, **settings}
        self.client = self.simulation.client(settings=settings_for_tests(**changed))
        self.client.register(asks)
        self.gateway = Gateway(self.client)
        self.runs: list[Handle[Any]] = []

    def ask(
        self, id: str = "order/42", *, starter: str | None = None, fields: list[Any] | None = None, **rules: Any
    ) -> str:
        """Start a run that asks; return the id of its approval."""
        client = self.client if starter is None else self._started_by(starter)
        self.runs.append(client.begin_run(id, asks, rules, fields or []))
        self.simulation.run_until_idle()
        return f"{id}:@manager"

    def decision(self) -> dict[str, Any]:
        """Return what the last run got."""
        self.simulation.run_until_idle()
        return self.runs[-1].result()  # type: ignore[no-any-return]

    def link(self, approval: str, approver: str = "") -> str:
        """Return a link."""
        return self.client.approvals.link(approval, approver)

    def visitor(self, principal: str | None = None) -> Visitor:
        """Return a new client of the gateway."""
        return Visitor(self.gateway, principal)

    def kinds(self, approval: str) -> list[str]:
        """Return what happened to an approval."""
        return [event.kind for event in self.client.approvals.audit(approval)]

    def _started_by(self, starter: str) -> Resonate:
        twin = self.client.options()
        twin._options = Options(tags={PRINCIPAL: starter})
        return twin
