"""An app's own templates in the place of ours."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from flask import Flask

from resonate_web.flask import Resonate, get_resonate

HTML = {"Accept": "text/html"}


def made(folder: Path, **templates: str) -> Flask:
    (folder / "resonate").mkdir()
    for name, source in templates.items():
        (folder / "resonate" / f"{name}.html").write_text(source)
    app = Flask("site", template_folder=str(folder))
    app.config.update(RESONATE_STORE="memory://", SECRET_KEY="development", RESONATE_AUTOSTART="off")
    Resonate(app)
    return app


def test_a_template_of_the_apps_own_comes_first(tmp_path: Path) -> None:
    """A page whose template the app has is rendered with it, in the app's world; the others stay ours."""
    app = made(tmp_path, problem="{{ config['SECRET_KEY'] }}: {{ page.status }}")
    with app.test_client() as client:
        assert client.get("/status/a", headers=HTML).text == "development: 404"
    get_resonate(app).core.close()


def test_a_frame_of_the_apps_own_goes_around_every_page(tmp_path: Path) -> None:
    """A base template puts the parts of our pages where it likes."""
    app = made(tmp_path, base="<title>{{ parts.title }} - Shop</title>{{ parts.content }}")
    with app.test_client() as client:
        page = client.get("/status/a", headers=HTML).text
    assert page.startswith("<title>")
    assert " - Shop</title>" in page
    assert "<h1" in page
    get_resonate(app).core.close()


def test_a_fault_in_an_own_template_is_not_hidden(tmp_path: Path) -> None:
    """A template that includes what does not exist is an error, not a reason to show ours."""
    app = made(tmp_path, problem="{% include 'missing.html' %}")
    app.testing = True
    with app.test_client() as client, pytest.raises(jinja2.TemplateNotFound, match="missing"):
        client.get("/status/a", headers=HTML)
    get_resonate(app).core.close()
