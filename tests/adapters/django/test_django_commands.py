"""`manage.py resonate ...` within this process: what it prints, what it starts, its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from bookshop import workflows
from django.core.management import CommandError, call_command

from resonate_web.django import commands, resonate, site
from resonate_web.django.asgi import ResonateLifespan
from resonate_web.testing.servers import until


@pytest.fixture(autouse=True)
def _file(configure: Callable[..., None], tmp_path: Path) -> None:
    configure(RESONATE={"STORE": f"sqlite:///{tmp_path}/resonate.db"})


def printed(*arguments: str) -> str:
    output = StringIO()
    call_command("resonate", *arguments, stdout=output)
    return output.getvalue()


def test_runs_are_listed_and_shown() -> None:
    """As by the other command lines."""
    resonate.run("order/1", workflows.quick)
    assert "order/1  resolved  quick" in printed("list", "--limit", "5")
    assert printed("list", "--after", "order/1") == "no runs\n"
    assert "order/1" in printed("tree", "order/1")
    assert "state    resolved" in printed("get", "order/1")


def test_promises_are_settled() -> None:
    """By JSON, by a message, or canceled; the run goes on in the processes that serve."""
    for n in range(3):
        resonate.begin_run(f"order/{n}", workflows.asking)
        until(lambda n=n: site.core.view(f"order/{n}").status == "waiting")  # type: ignore[misc,union-attr]
    assert "resolved" in printed("resolve", "order/0:@answer", "--value", "1")
    assert "rejected" in printed("reject", "order/1:@answer", "--error", "no")
    assert "rejected_canceled" in printed("cancel", "order/2")
    assert resonate.get("order/0").result(5) == 1


def test_a_run_is_tried_anew_or_goes_on() -> None:
    """A failed one gets a next try; one that nothing holds back is an error of one line."""
    with pytest.raises(TypeError):
        resonate.run("order/1", workflows.failing)
    assert "order/1~2  started" in printed("retry", "order/1")
    resonate.begin_run("order/2", workflows.asking)
    until(lambda: site.core.view("order/2").status == "waiting")  # type: ignore[union-attr]
    with pytest.raises(CommandError, match="nothing holds 'order/2' back"):
        printed("retry", "order/2")


def test_the_store_is_pruned_and_examined() -> None:
    """As by the other command lines."""
    resonate.run("order/1", workflows.quick)
    assert "0 runs" in printed("prune", "--older-than", "1d", "--dry-run")
    assert "resonate.db" in printed("doctor")


def test_approvals_are_listed_and_withdrawn() -> None:
    """The workflow goes on with the outcome."""
    resonate.begin_run("order/1", workflows.approving)
    until(lambda: site.core.view("order/1").status == "waiting")  # type: ignore[union-attr]
    assert "order/1:@manager" in printed("approvals")
    assert "revoked" in printed("revoke", "order/1:@manager", "--by", "ada")
    assert resonate.get("order/1").result(5)[0] == "revoked"


@pytest.mark.parametrize("arguments", [("get", "x"), ("tree", "x"), ("resolve", "x"), ("retry", "x")])
def test_what_is_unknown_is_one_line(arguments: tuple[str, ...]) -> None:
    """No traceback."""
    with pytest.raises(CommandError, match="'x'"):
        printed(*arguments)


def test_only_the_serving_process_of_runserver_starts_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither another command nor the reloader's parent."""
    for arguments, child, expected in [
        (["manage.py", "runserver"], None, False),
        (["manage.py", "runserver"], "true", True),
        (["manage.py", "runserver", "--noreload"], None, True),
        (["manage.py", "test"], "true", False),
        (["gunicorn"], None, False),
    ]:
        monkeypatch.setattr("sys.argv", arguments)
        if child is None:
            monkeypatch.delenv("RUN_MAIN", raising=False)
        else:
            monkeypatch.setenv("RUN_MAIN", child)
        assert commands.serving() is expected


async def _lived() -> list[str]:
    sent: list[str] = []
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, str]:
        return {"type": next(asked)}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(f"{message['type']} {site.started}")

    async def application(*given: object) -> None:
        raise AssertionError("Django is not asked")

    await ResonateLifespan(application)({"type": "lifespan"}, receive, send)
    return sent


def test_lifespan_starts_and_stops_the_engine() -> None:
    """Django is never shown a scope that it does not know."""
    assert asyncio.run(_lived()) == ["lifespan.startup.complete True", "lifespan.shutdown.complete False"]
