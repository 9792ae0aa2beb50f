"""The documents keep their word: links lead somewhere, code compiles, CI runs what the README says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("contrib/*.md")])
EXAMPLE_NOTES = sorted(ROOT.glob("example_projects/*/README.md"))


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", [*DOCUMENTS, *EXAMPLE_NOTES], ids=_id)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file or folder of the project."""
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", [*DOCUMENTS, *EXAMPLE_NOTES], ids=_id)
def test_python_in_a_document_compiles(document: Path) -> None:
    """Every block of Python is a whole, valid module."""
    for block in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
        compile(block, str(document), "exec")


def test_ci_runs_what_the_readme_says() -> None:
    """The command of the README's test section is the one that CI runs."""
    section = (ROOT / "README.md").read_text().split("## Test it")[1]
    command = re.search(r"```sh\n(.*)\n```", section)
    assert command is not None
    assert command[1] in (ROOT / ".ci/run").read_text().splitlines()


def test_every_example_is_ready_to_run() -> None:
    """Each example project has its app, its README and its test."""
    wanted = ("app.py", "README.md", "test_example.py")
    folders = [path for path in ROOT.glob("example_projects/*") if path.is_dir() and path.name != "__pycache__"]
    assert [str(folder / name) for folder in folders for name in wanted if not (folder / name).exists()] == []
