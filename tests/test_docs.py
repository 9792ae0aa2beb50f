"""The documents keep their word: links lead somewhere, samples run, tables are complete, CI runs what the README says.

In a page of `docs/` a block that begins with three backquotes and `python` is run: all blocks of a page one after the
other, as one program. A block marked `py` shows a fragment: it must compile, and what it imports of ours must exist.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from click.testing import CliRunner

import resonate_web.flask
from resonate_web import Resonate, errors
from resonate_web.config import PREFIX, Settings
from resonate_web.flask.cli import group
from resonate_web.gateway import problems, status
from resonate_web.gateway.routes import ROUTES

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("docs/**/*.md"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *PAGES, *ROOT.glob("contrib/*.md")])
EXAMPLE_NOTES = sorted(ROOT.glob("example_projects/*/README.md"))
EVERY = [*DOCUMENTS, *EXAMPLE_NOTES]


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(document: Path, *languages: str) -> Iterator[tuple[int, str]]:
    """Return a document's blocks in these languages, each with the number of its first line."""
    text = document.read_text()
    for found in re.finditer(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, found.start(1)), found[1]


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub and Sphinx make them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def section(document: str, title: str) -> str:
    """Return the text of one section of a page."""
    text = (ROOT / document).read_text()
    return re.split(r"^## ", text.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
    """Return what stands in code marks at the beginning of a table's rows."""
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


@pytest.mark.parametrize("document", EVERY, ids=_id)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file or folder of the project."""
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", EVERY, ids=_id)
def test_links_into_a_page_name_a_heading(document: Path) -> None:
    """What follows `#` is a heading of the page that the link leads to."""
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", document.read_text())
    pages = [(document.parent / path if path else document, anchor) for path, anchor in links]
    assert [f"{page.name}#{anchor}" for page, anchor in pages if anchor not in anchors(page)] == []


@pytest.mark.parametrize("document", EVERY, ids=_id)
def test_python_in_a_document_compiles(document: Path) -> None:
    """Every block of Python is a whole, valid module."""
    for _, block in blocks(document, "python", "py"):
        compile(block, str(document), "exec", dont_inherit=True)


@pytest.mark.parametrize("document", EVERY, ids=_id)
def test_what_a_document_imports_exists(document: Path) -> None:
    """Every name that a block of Python takes from this package is there."""
    missing = []
    for _, block in blocks(document, "python", "py"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "resonate_web":
                module = importlib.import_module(str(node.module))
                missing += [f"{node.module}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)]
    assert missing == []


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An empty module, in an empty folder; what it leaves open is closed."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("samples")
    monkeypatch.setitem(sys.modules, "samples", module)
    found = vars(module)
    yield found
    for value in list(found.values()):
        if isinstance(value, Resonate):
            value.close()
        elif isinstance(value, flask.Flask) and "resonate" in value.extensions:
            resonate_web.flask.get_resonate(value).core.close()


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))], ids=_id)
def test_the_samples_of_a_page_run(page: Path, program: dict[str, Any]) -> None:
    """The blocks run from top to bottom as one program, and the tests among them pass."""
    for line, block in blocks(page, "python"):
        known = set(program)
        exec(compile("\n" * line + block, str(page), "exec", dont_inherit=True), program)
        for name in [name for name in program if name.startswith("test_") and name not in known]:
            program[name]()


def test_the_app_of_the_readme_runs(program: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its view answers 202 with a link under which the run can be watched."""
    shop = types.ModuleType("shop")
    vars(shop).update(dict.fromkeys(("ask_for_review", "charge_card", "reserve", "validate"), lambda *given: "done"))
    monkeypatch.setitem(sys.modules, "shop", shop)
    [(_, block)] = blocks(ROOT / "README.md", "python")
    exec(compile(block, "README.md", "exec", dont_inherit=True), program)
    client = program["app"].test_client()
    started = client.post("/orders", json={"id": 42})
    assert started.status_code == 202
    assert client.get(started.headers["Location"]).get_json()["id"] == "order/42"


def test_the_table_of_settings_is_complete() -> None:
    """Every setting is there with its default and nothing else is."""
    known = {f"{PREFIX}{f.name.upper()}": f.default for f in dataclasses.fields(Settings) if f.name != "sources"}
    known["RESONATE_STORE"] = "sqlite:///<instance folder>/resonate.db"  # Flask's default
    told = dict(re.findall(r"^\| `(RESONATE_\w+)` \| (.*?) \|", section("docs/operating.md", "Settings"), re.MULTILINE))
    assert list(told) == list(known)
    assert told == {name: _shown(default) for name, default in known.items()}


def _shown(default: object) -> str:
    if default in (None, "", ()):
        return "none"
    return f"`{default:_}`" if type(default) is int else f"`{default}`"


def test_the_status_document_is_shown_as_it_is() -> None:
    """The example on the page has the members of a real document, and each is explained."""
    page = ROOT / "docs/http.md"
    example = json.loads(next(blocks(page, "json"))[1])
    core = Resonate(Settings(store="memory://", worker=False))
    core.register(_sleeper)
    core.begin_run("a", _sleeper)
    run = core.view("a")
    core.close()
    assert run is not None
    real = status.document(run, "a", "/status/a")
    assert [member for member in example if member not in ("result", "error")] == list(real)
    told = set(first_column(section("docs/http.md", "The status document")))
    assert told >= {*real, "result", "error", *example["steps"][0]}


def _sleeper(ctx: Any) -> Any:
    yield ctx.sleep(1)


def test_every_problem_is_listed() -> None:
    """The types that a client may meet are in the table, with their statuses."""
    told = section("docs/http.md", "Problem documents")
    for class_ in problems.ANSWERED:
        assert f"| `{class_.slug}` | {class_.status} |" in told
    assert problems.TYPE in told


def test_every_route_and_command_is_listed() -> None:
    """No route of the gateway is missing on the page of HTTP, no command of `flask resonate` on Flask's."""
    page = (ROOT / "docs/http.md").read_text()
    paths = [route.head + ("" if route.exact else f"<{route.takes}>{route.tail}") for route in ROUTES]
    assert [path for path in paths if f"`{path}`" not in page] == []
    page = (ROOT / "docs/flask.md").read_text()
    listed = CliRunner().invoke(group, ["--help"]).output.split("Commands:")[1]
    commands = re.findall(r"^  (\w+)", listed, re.MULTILINE)
    assert commands
    assert [name for name in commands if f"flask resonate {name}" not in page] == []


def test_every_public_error_is_listed() -> None:
    """The table of errors names each class of the tree that an application can catch."""
    told = section("docs/workflows.md", "Errors")
    names = [name for name in importlib.import_module("resonate_web").__all__ if hasattr(errors, name)]
    assert [name for name in names if f"`{name}`" not in told] == []


def test_the_files_that_the_architecture_names_exist() -> None:
    """A file that was moved or renamed is found at its new place by whoever reads the walk."""
    files = [f"/{path.relative_to(ROOT)}" for path in ROOT.glob("resonate_web/**/*.py")]
    files += [f"/{path.relative_to(ROOT)}" for path in ROOT.glob("tests/*.py")]
    named = re.findall(r"`([\w/]+\.py)[:`]", (ROOT / "docs/architecture.md").read_text())
    assert named
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in files)] == []


def test_the_index_links_every_page() -> None:
    """A page that nobody finds is not documentation: each is linked and in the table of contents."""
    index = (ROOT / "docs/index.md").read_text()
    contents = re.findall(r"^```\{toctree\}\n(.*?)^```", index, re.MULTILINE | re.DOTALL)[0].split()
    others = [page for page in PAGES if page.name != "index.md"]
    assert [page.name for page in others if f"]({page.name})" not in index or page.stem not in contents] == []


def test_ci_runs_what_the_readme_says() -> None:
    """The command of the README's test section is the one that CI runs."""
    told = (ROOT / "README.md").read_text().split("## Test it")[1]
    command = re.search(r"```sh\n(.*)\n```", told)
    assert command is not None
    assert command[1] in (ROOT / ".ci/run").read_text().splitlines()


def test_every_example_is_ready_to_run() -> None:
    """Each example project has its app, its README and its test."""
    wanted = ("app.py", "README.md", "test_example.py")
    folders = [path for path in ROOT.glob("example_projects/*") if path.is_dir() and path.name != "__pycache__"]
    assert [str(folder / name) for folder in folders for name in wanted if not (folder / name).exists()] == []
