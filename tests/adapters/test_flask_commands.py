"""`flask resonate ...` in process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from flask import Flask

from resonate_web.flask import Resonate

Ask = Callable[..., tuple[int, str]]


def gated(ctx):
    gate = yield ctx.promise("gate")
    yield ctx.run(ctx.get_dependency("waiting").put, ctx.id)  # starts only when the promise is stored
    return (yield gate)


@pytest.fixture
def ask() -> Iterator[Ask]:
    app = Flask("site")
    app.config["RESONATE_STORE"] = "memory://"
    resonate = Resonate(app)
    resonate.register(gated)
    waiting: SimpleQueue[str] = SimpleQueue()
    resonate.set_dependency("waiting", waiting)
    with app.app_context():
        resonate.begin_run("order/42", gated)
    waiting.get(timeout=10)
    runner = app.test_cli_runner()

    def asking(*arguments: str) -> tuple[int, str]:
        result = runner.invoke(args=["resonate", *arguments])
        return result.exit_code, result.output

    yield asking
    with app.app_context():
        resonate.close()


def test_the_commands_are_those_of_the_extension(ask: Ask) -> None:
    """The group lists them with a line each."""
    code, output = ask("--help")
    assert code == 0
    for name in ("tree", "list", "get", "resolve", "reject", "cancel", "retry", "prune", "doctor"):
        assert name in output


def test_a_run_is_listed_shown_and_canceled(ask: Ask) -> None:
    """Each command prints what it found or did."""
    assert ask("list")[1].startswith("order/42  pending  gated  ")
    assert ask("tree", "order/42")[1].startswith("order/42  gated  ")
    assert "state    pending" in ask("get", "order/42")[1]
    assert ask("cancel", "order/42") == (0, "order/42  rejected_canceled\n")
    assert ask("list", "--after", "order/42") == (0, "no runs\n")


def test_promises_are_settled(ask: Ask) -> None:
    """A value is JSON, an error a message."""
    assert ask("resolve", "order/42:@gate", "--value", '"yes"') == (0, "order/42:@gate  resolved\n")
    assert ask("reject", "order/42:@gate", "--error", "no")[1] == (
        "order/42:@gate  was resolved already; nothing was changed\n"
    )


def test_an_error_is_one_line(ask: Ask) -> None:
    """No traceback for an id that is not there."""
    assert ask("get", "nowhere") == (1, "Error: no promise has the id 'nowhere'\n")


def test_runs_are_tried_again_and_pruned(ask: Ask) -> None:
    """The commands pass their options on; what is refused is one line."""
    assert ask("retry", "order/42")[1].startswith("Error: nothing holds 'order/42' back")
    assert ask("prune", "--older-than", "30d", "--dry-run")[1].startswith("would delete 0 runs")
    assert ask("prune", "--older-than", "30d")[1].startswith("deleted 0 runs")
    assert ask("prune", "--older-than", "30")[0] == 1
    assert ask("prune")[0] == 2


def test_the_doctor_tells_by_its_exit_status(ask: Ask, tmp_path: Path) -> None:
    """0 with warnings, 1 with an error; the app's secret is found."""
    code, output = ask("doctor")
    assert code == 0
    assert "warning  store: memory://" in output
    assert "ok       workflows: gated@1" in output
    (tmp_path / "r.db").write_text("no database at all, but long enough to be one")
    app = Flask("broken")
    app.config.update(RESONATE_STORE=f"sqlite:///{tmp_path}/r.db", SECRET_KEY="s")
    resonate = Resonate(app)
    result = app.test_cli_runner().invoke(args=["resonate", "doctor"])
    with app.app_context():
        resonate.close()
    assert result.exit_code == 1
    assert "error    store: " in result.output
    assert "derived from the framework" in result.output
