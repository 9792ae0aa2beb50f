"""What the tests of several examples share: an address that stays, a place for mail, and a browser."""

from __future__ import annotations

import email
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.policy import default
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiosmtpd.controller import Controller
from playwright.sync_api import Page, sync_playwright

from resonate_web.testing.servers import Answer, Ledger, Server, free_port, until

LINK = re.compile(r"http://\S+/approvals/\S+")


class Mail:
    """A mail as it arrived."""

    def __init__(self, content: bytes) -> None:
        message = email.message_from_bytes(content, policy=default)
        assert isinstance(message, EmailMessage)
        self.to, self.subject = str(message["To"]), str(message["Subject"])
        self.text = str(message.get_content())

    @property
    def link(self) -> str:
        """Return the link to the approval."""
        found = LINK.findall(self.text)
        assert len(found) == 1, self.text
        return str(found[0])

    @property
    def path(self) -> str:
        """Return the link without the server's address."""
        return "/approvals/" + self.link.rpartition("/")[2]


class Box:
    """Where mail arrives."""

    def mails(self) -> list[Mail]:
        raise NotImplementedError

    def mail(self, to: str, count: int = 1) -> Mail:
        """Return the mail to somebody, waiting for the `count`-th; there must not be more."""
        found = until(lambda: [mail for mail in self.mails() if mail.to == to][count - 1 :], what=f"mail to {to}")
        assert len(found) == 1
        return found[0]


class Folder(Box):
    """The folder that `MAIL_OUTBOX` names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mails(self) -> list[Mail]:
        files = sorted(self.path.glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
        return [Mail(file.read_bytes()) for file in files]


class Smtp(Box):
    """A mail server; while it is on hold, it takes a mail but does not say so."""

    def __init__(self) -> None:
        self._taken: list[bytes] = []
        self._answers = threading.Event()
        self._answers.set()
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    def mails(self) -> list[Mail]:
        return [Mail(content) for content in self._taken]

    def start(self) -> None:
        self._controller.start()

    def hold(self) -> None:
        self._answers.clear()

    def release(self) -> None:
        self._answers.set()

    def stop(self) -> None:
        self.release()
        if self._controller.server is not None:
            self._controller.stop()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  (aiosmtpd's name)
        """Take a mail."""
        self._taken.append(envelope.content)
        await server.loop.run_in_executor(None, self._answers.wait)
        return "250 OK"


class Site:
    """An example on one store. Started again, it has the address that it had before."""

    def __init__(self, example: Path, tmp: Path) -> None:
        self.example, self.tmp = example, tmp
        self.ledger = Ledger(tmp / "ledger")
        self.outbox = Folder(tmp / "outbox")
        self.ports = (free_port(), free_port())
        self.url = f"http://127.0.0.1:{self.ports[0]}"
        self.environ = {
            "RESONATE_STORE": f"sqlite:///{tmp / 'resonate.db'}",
            "RESONATE_BASE_URL": self.url,
            "RESONATE_LEASE_MS": "600000",  # whoever goes on earlier has noticed the owner's death
            "EFFECT_LEDGER": str(self.ledger.path),
            "MAIL_OUTBOX": str(self.outbox.path),
        }
        self._servers: list[Server] = []

    def serve(self, *command: str, beside: bool = False, **environ: str) -> Server:
        """Start a server with a command that says `{port}`; `beside` is the second address on the same store."""
        port = self.ports[beside]
        given = [part.replace("{port}", str(port)) for part in command]
        log = self.tmp / f"server-{len(self._servers)}.log"
        server = Server(given, folder=self.example, log=log, environ={**self.environ, **environ})
        self._servers.append(server)
        assert server.port == port
        return server

    def accepted(self, answer: Answer) -> str:
        """Return where the status is of what was started."""
        assert answer.status == 202, answer.body
        parts = urlsplit(answer.headers["Location"])
        return f"{parts.path}?{parts.query}"

    def ended(self, server: Server, status: str) -> dict[str, Any]:
        """Return the status of a run once it is done."""
        return until(lambda: (found := server.ask("GET", status).json)["done"] and found, what=f"the end of {status}")

    def waits(self, server: Server, status: str) -> dict[str, Any]:
        """Return the status of a run once it waits."""
        return until(lambda: (found := server.ask("GET", status).json)["status"] == "waiting" and found)

    def at_once(self, *calls: Callable[[], Answer]) -> list[Answer]:
        """Return what calls that are made at the same instant answer."""
        gate = threading.Barrier(len(calls))

        def run(call: Callable[[], Answer]) -> Answer:
            gate.wait()
            return call()

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(run, calls))

    def close(self) -> None:
        for server in self._servers:
            server.kill()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests that are about pages and nothing else."""
    if "shoot" in getattr(item, "fixturenames", ()) or item.path.name == "test_page.py":
        item.add_marker("pages")


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Return the example of the test's folder; all its servers are gone when the test ends."""
    found = Site(request.path.parent, tmp_path)
    yield found
    found.close()


@pytest.fixture
def smtp() -> Iterator[Smtp]:
    """Return a mail server that does not run yet."""
    found = Smtp()
    yield found
    found.stop()


@pytest.fixture
def pages(chromium: str) -> Iterator[Callable[..., Page]]:
    """Return an opener of pages, each in a browser session of its own, with JavaScript or without."""
    complaints: list[str] = []

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def open_page(*, script: bool = True, width: int = 1280) -> Page:
            context = browser.new_context(java_script_enabled=script, viewport={"width": width, "height": 900})
            page = context.new_page()
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            return page

        yield open_page
        browser.close()
    # A browser reports every answer of 400 and more; those are asked for.
    assert [text for text in complaints if "the server responded with a status of" not in text] == []


@pytest.fixture
def shoot(tmp_path: Path) -> Callable[..., None]:
    """Return a judge of pages, as wide as a desk and as narrow as a phone, in light and dark: nothing is cut off, and
    axe finds nothing. SCREENSHOTS names the folder in which its screenshots are kept.
    """
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text()

    def judge(page: Page, name: str) -> None:
        if not page.evaluate("matchMedia('(scripting: enabled)').matches"):
            return  # axe needs scripts, and the page looks the same
        for width, scheme in ((1280, "light"), (360, "light"), (360, "dark")):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": 900})
            scrolls = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
            assert not scrolls, f"{name} is wider than {width} pixels"
            page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
        page.evaluate(axe)
        violations = page.evaluate("axe.run()")["violations"]
        assert [(each["id"], node["html"]) for each in violations for node in each["nodes"]] == [], name

    return judge
