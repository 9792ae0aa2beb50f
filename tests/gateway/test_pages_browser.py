"""Pages in a browser: read by axe, used with JavaScript and without, under their own policy."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from resonate_web.gateway.messages import Response
from resonate_web.gateway.pages import Pages, asset, page
from resonate_web.gateway.shown import ApprovalPage, Shown, StatusPage
from resonate_web.testing.servers import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

AXE = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
CLIPPED = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


class Site:
    """A server of pages on a port of its own: what is shown where, what was sent, and a stream of events."""

    def __init__(self) -> None:
        self.shown: dict[str, Shown] = {}
        self.forms = True
        self.asked: list[str] = []
        self.sent: list[tuple[str, str | None, dict[str, str]]] = []
        """Path, Origin and fields of each form."""
        self.then: Callable[[], None] = lambda: None
        """What a form that is sent does."""
        self.events: queue.Queue[str | None] | None = None
        self._pages = Pages("/assets")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        if self.events is not None:
            self.events.put(None)
        self._server.shutdown()
        self._server.server_close()

    def answered(self, path: str) -> Response:
        """Return a page, an asset, or 404."""
        if path.startswith("/assets/"):
            return asset(path.removeprefix("/assets/")) or Response(status=404)
        shown = self.shown.get(path.partition("?")[0])
        return Response(status=404) if shown is None else page(200, self._pages.render(shown), forms=self.forms)

    def _handler(site) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                if self.path == "/events":
                    self._stream()
                else:
                    self._answer(site.answered(self.path))

            def do_POST(self) -> None:
                fields = parse_qsl(
                    self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True
                )
                site.sent.append((self.path, self.headers["Origin"], dict(fields)))
                site.then()
                self._answer(Response(status=303, headers=(("Location", self.path), ("Content-Length", "0"))))

            def _answer(self, response: Response) -> None:
                self.send_response(response.status)
                for name, value in response.headers:
                    self.send_header(name, value)
                self.end_headers()
                assert isinstance(response.body, bytes)
                self.wfile.write(response.body)

            def _stream(self) -> None:
                if site.events is None:
                    return self._answer(Response(status=500))
                self._answer(Response(status=200, headers=(("Content-Type", "text/event-stream"),)))
                while (event := site.events.get()) is not None:
                    self.wfile.write(f"event: {event}\ndata: {{}}\n\n".encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a site without pages."""
    made = Site()
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Return one browser for all tests of this file."""
    with sync_playwright() as playwright:
        process = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield process
        process.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return an opener of tabs; at the end none of them may have had anything to complain about."""
    complaints: list[str] = []
    opened = []

    def open_tab(**options: Any) -> Page:
        opened.append(browser.new_context(**{"timezone_id": "UTC", "locale": "en-GB", **options}))
        made = opened[-1].new_page()
        made.set_default_timeout(15_000)
        made.on("pageerror", lambda error: complaints.append(str(error)))
        made.on("console", lambda said: complaints.append(said.text) if "500" not in said.text else None)
        return made

    yield open_tab
    for context in opened:
        context.close()
    assert complaints == []


def violations(tab: Page) -> list[str]:
    """Return what axe finds on the page, with the elements concerned."""
    found = tab.evaluate(AXE)["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (1280, "dark")])
def test_every_page_is_accessible(
    site: Site, tab: Callable[..., Page], specimens: dict[str, Shown], tmp_path: Path, width: int, scheme: str
) -> None:
    """Axe finds nothing, and nothing is wider than the window; with all that can be unfolded unfolded."""
    script = files("axe_playwright_python").joinpath("axe.min.js").read_text()
    opened = tab(viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    site.events = queue.Queue()
    found: dict[str, list[str]] = {}
    for number, (name, shown) in enumerate(specimens.items()):
        site.shown[f"/{number}"] = shown
        opened.goto(f"{site.url}/{number}#cancel")
        opened.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        opened.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        opened.evaluate(script)
        found[name] = violations(opened) + (["wider than the window"] if opened.evaluate(CLIPPED) else [])
    assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_person_decides(site: Site, tab: Callable[..., Page], specimens: dict[str, Shown], script: bool) -> None:
    """Fields, comment and decision arrive with the nonce and our Origin; then the page says thank you."""
    site.shown["/a"] = specimens["approval with fields"]
    site.then = lambda: site.shown.update({"/a": specimens["approval approved"]})
    opened = tab(java_script_enabled=script)
    opened.goto(f"{site.url}/a?x=1")
    opened.get_by_label("Cost centre").fill("4711")
    opened.get_by_label("Cost centre").press("Enter")  # decides nothing
    opened.get_by_label("Approved amount").fill("1240.00")
    opened.get_by_label("Carrier").select_option("DHL")
    opened.get_by_label("Comment").fill("fine")
    opened.get_by_role("button", name="Approve").click()
    expect(opened.get_by_text("Thank you")).to_be_visible()
    [(path, origin, fields)] = site.sent
    assert (path, origin) == ("/a?x=1", site.url)
    assert fields == {
        "decision": "approve",
        "nonce": "n0nce",
        "cost_centre": "4711",
        "amount": "1240.00",
        "until": "",
        "carrier": "DHL",
        "delivery": "",
        "comment": "fine",
    }


def test_who_rejects_need_not_fill_in_the_form(
    site: Site, tab: Callable[..., Page], specimens: dict[str, Shown]
) -> None:
    """The browser holds back an approval without its fields, and lets a rejection pass."""
    site.shown["/a"] = specimens["approval with fields"]
    opened = tab()
    opened.goto(f"{site.url}/a")
    opened.get_by_role("button", name="Approve").click()
    expect(opened.get_by_label("Cost centre")).to_be_focused()
    assert site.sent == []
    opened.get_by_role("button", name="Reject").click()
    until(lambda: site.sent)
    assert site.sent[0][2]["decision"] == "reject"


def test_without_a_referrer_a_form_has_no_origin(
    site: Site, tab: Callable[..., Page], specimens: dict[str, Shown]
) -> None:
    """Why pages with forms have another referrer policy: the browser would say `null`."""
    site.forms = False
    site.shown["/a"] = specimens["approval open"]
    opened = tab()
    opened.goto(f"{site.url}/a")
    opened.get_by_role("button", name="Reject").click()
    until(lambda: site.sent)
    assert site.sent[0][1] == "null"


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_an_error_leads_to_its_field(
    site: Site, tab: Callable[..., Page], specimens: dict[str, Shown], script: bool
) -> None:
    """The summary has the focus, and its links go to what has to be changed."""
    site.shown["/a"] = specimens["approval with errors"]
    opened = tab(java_script_enabled=script)
    opened.goto(f"{site.url}/a")
    expect(opened.get_by_role("alert")).to_be_focused()
    opened.get_by_role("link", name="Please say why.").click()
    expect(opened.get_by_label("Comment")).to_be_focused()
    expect(opened.get_by_label("Cost centre")).to_have_accessible_description(
        "Four digits, as in the yearly plan. Cost centre must have four digits."
    )


def test_without_a_script_a_run_is_followed_and_canceled(
    site: Site, tab: Callable[..., Page], specimens: dict[str, Shown]
) -> None:
    """The page loads itself again, but not the one on which a person decides whether to cancel."""
    running = specimens["status running"]
    assert isinstance(running, StatusPage)
    site.shown["/s"] = replace(running, refresh=1)
    site.shown["/status/order/42"] = replace(running, refresh=None, still=None)
    site.then = lambda: site.shown.update({"/status/order/42/cancel": specimens["status canceled"]})
    opened = tab(java_script_enabled=False)
    opened.goto(f"{site.url}/s")
    expect(opened.get_by_role("button", name="Yes, cancel it")).to_be_hidden()
    until(lambda: site.asked.count("/s") > 2)
    site.shown["/s"] = replace(running, run={**running.run, "status": "waiting"})
    expect(opened.get_by_text("Waiting", exact=True)).to_be_visible()
    opened.get_by_role("link", name="Cancel this run").click()
    opened.get_by_role("button", name="Yes, cancel it").click()
    expect(opened.get_by_text("Canceled", exact=True).first).to_be_visible()
    assert site.asked.count("/status/order/42?sig=x&still=1") == 1
    assert site.sent == [("/status/order/42/cancel?sig=y", site.url, {"nonce": "n0nce"})]


def test_with_a_script_a_run_is_canceled_where_it_is_shown(
    site: Site, tab: Callable[..., Page], specimens: dict[str, Shown]
) -> None:
    """The question opens on the page and stays open when that is renewed; it can be closed again."""
    running = specimens["status running"]
    assert isinstance(running, StatusPage)
    site.events = queue.Queue()
    site.shown["/s"] = replace(running, refresh=3600)
    site.then = lambda: site.shown.update({"/status/order/42/cancel": specimens["status canceled"]})
    opened = tab()
    opened.goto(f"{site.url}/s")
    opened.get_by_role("link", name="Cancel this run").click()
    opened.get_by_role("link", name="No, keep it running").click()
    expect(opened.get_by_role("button", name="Yes, cancel it")).to_be_hidden()
    opened.get_by_role("link", name="Cancel this run").click()
    site.shown["/s"] = replace(running, run={**running.run, "status": "waiting"})
    site.events.put("status")
    expect(opened.get_by_role("status")).to_have_text("Waiting")
    opened.get_by_role("button", name="Yes, cancel it").click()
    expect(opened.get_by_text("Canceled", exact=True).first).to_be_visible()
    assert site.sent == [("/status/order/42/cancel?sig=y", site.url, {"nonce": "n0nce"})]
    assert [path for path in site.asked if "still" in path] == []


def test_a_run_is_followed_live(site: Site, tab: Callable[..., Page], specimens: dict[str, Shown]) -> None:
    """An event renews the page where it changed: focus, scroll and what is unfolded stay; the news is announced."""
    site.events = queue.Queue()
    before, after = specimens["status retrying"], specimens["status many steps"]
    assert isinstance(before, StatusPage)
    assert isinstance(after, StatusPage)
    site.shown["/s"] = replace(before, refresh=3600)
    opened = tab(viewport={"width": 360, "height": 300})
    opened.goto(f"{site.url}/s")
    expect(opened.get_by_text("follows the run by itself")).to_be_attached()
    until(lambda: "/events" in site.asked)
    summary = opened.locator("summary")
    summary.click()
    expect(summary).to_be_focused()
    scrolled = opened.evaluate("scrollY")
    assert scrolled > 0
    steps = [*before.run["steps"][:2], {**before.run["steps"][2], "next_attempt_at": None}]
    site.shown["/s"] = replace(before, run={**before.run, "status": "waiting", "steps": steps})
    site.events.put("status")
    expect(opened.get_by_role("status")).to_have_text("Waiting")
    expect(opened.get_by_role("heading", name="It waits for")).to_have_count(0)
    expect(summary).to_be_focused()
    assert opened.evaluate("document.querySelector('details').open")
    site.shown["/s"] = specimens["status succeeded"]
    site.events.put("status")
    expect(opened.get_by_role("status")).to_have_text("Succeeded")
    expect(opened).to_have_title("order/42: Succeeded")
    expect(opened.get_by_role("heading", name="Result")).to_be_visible()
    expect(opened.get_by_role("button", name="Pause")).to_have_count(0)
    assert site.asked.count("/events") == 1
    assert site.asked.count("/s") == 3


def test_without_a_stream_a_run_is_polled(site: Site, tab: Callable[..., Page], specimens: dict[str, Shown]) -> None:
    """A stream that fails is replaced by looking again, a server that is gone for a while by patience."""
    running = specimens["status running"]
    assert isinstance(running, StatusPage)
    site.shown["/s"] = replace(running, refresh=1)
    opened = tab()
    opened.goto(f"{site.url}/s")
    until(lambda: site.asked.count("/s") > 2)
    site.shown["/s"] = specimens["status failed"]
    expect(opened.get_by_role("status")).to_have_text("Failed")
    expect(opened.get_by_text("It ended with an error.")).to_be_visible()


def test_following_can_be_paused(site: Site, tab: Callable[..., Page], specimens: dict[str, Shown]) -> None:
    """Who reads is left alone until asking to go on."""
    running = specimens["status running"]
    assert isinstance(running, StatusPage)
    site.events = queue.Queue()
    site.shown["/s"] = replace(running, refresh=3600)
    opened = tab()
    opened.goto(f"{site.url}/s")
    opened.get_by_role("button", name="Pause").click()
    expect(opened.get_by_text("Updates are paused.")).to_be_visible()
    site.shown["/s"] = specimens["status failed"]
    site.events.put("status")
    expect(opened.get_by_text("Running", exact=True).first).to_be_visible()
    opened.get_by_role("button", name="Go on").click()
    expect(opened.get_by_role("status")).to_have_text("Failed")


def test_times_are_shown_in_the_zone_of_the_reader(
    site: Site, tab: Callable[..., Page], specimens: dict[str, Shown]
) -> None:
    """With the script; what a machine reads stays as it is."""
    shown = specimens["approval open"]
    assert isinstance(shown, ApprovalPage)
    site.shown["/a"] = shown
    opened = tab(timezone_id="Asia/Tokyo")
    opened.goto(f"{site.url}/a")
    deadline = opened.locator("time").last
    expect(deadline).to_have_text("26 Nov 2026, 03:59")
    expect(deadline).to_have_attribute("datetime", str(shown.deadline_at))
    expect(opened.get_by_text("your time zone, Asia/Tokyo")).to_be_visible()
