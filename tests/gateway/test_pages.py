"""Pages as markup: whole, escaped, private, and made of what a browser without JavaScript understands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from resonate_web.gateway import wording
from resonate_web.gateway.messages import Response
from resonate_web.gateway.pages import POLICY, Pages, asset, page
from resonate_web.gateway.shown import ApprovalPage, ApprovalsPage, Cancel, Shown, StatusPage, Vote

VOID = {"meta", "link", "input", "img", "br"}
LANDMARKS = {"header", "main", "footer"}
PAGES = Pages("/resonate/assets")
UNCONCERNED = Pages("/resonate/assets", lambda name, context: None)


class Document(HTMLParser):
    """A page's elements in order, its texts, and whether every tag that was opened was closed."""

    def __init__(self, html: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID and self.open[-1:] != ["svg"]:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element, which must be this one."""
        if tag not in VOID and not (self.open[-1:] == ["svg"] and tag != "svg"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of every element of a kind."""
        return [attributes for found, attributes in self.elements if found == tag]

    @property
    def text(self) -> str:
        """Return all text with single spaces."""
        return " ".join(" ".join(self.words).split())


def rendered(shown: Shown) -> Document:
    return Document(PAGES.render(shown))


def body(response: Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body


def referenced(document: Document) -> Iterator[str]:
    for _, attributes in document.elements:
        for name in ("for", "aria-labelledby", "aria-describedby"):
            yield from attributes.get(name, "").split()
        if attributes.get("href", "").startswith("#"):
            yield attributes["href"][1:]


def test_a_page_is_whole(shown: Shown) -> None:
    """It has a language, a title, one first heading, landmarks, and every tag is closed."""
    document = rendered(shown)
    tags = [tag for tag, _ in document.elements]
    assert document.open == []
    assert document.named("html") == [{"lang": "en"}]
    assert re.search(r"<title>[^<\n]+</title>", PAGES.render(shown).decode())
    assert tags.count("h1") == 1
    assert [tag for tag in tags if tag in LANDMARKS] == ["header", "main", "footer"]


def test_ids_are_unique_and_what_is_referred_to_is_there(shown: Shown) -> None:
    """Labels, descriptions and links within a page lead somewhere."""
    document = rendered(shown)
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert sorted(set(ids)) == sorted(ids)
    assert [id for id in referenced(document) if id not in ids] == []


def test_every_control_has_a_label(shown: Shown) -> None:
    """Whatever can be filled in is the target of a label."""
    document = rendered(shown)
    labelled = {attributes["for"] for attributes in document.named("label")}
    controls = [c for tag in ("input", "select", "textarea") for c in document.named(tag) if c.get("type") != "hidden"]
    assert {control["id"] for control in controls} == labelled


def test_a_page_obeys_its_policy(shown: Shown) -> None:
    """No style, script or handler within the page, and nothing from elsewhere."""
    document = rendered(shown)
    for tag, attributes in document.elements:
        assert tag not in ("style", "iframe", "object", "base")
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        if tag in ("script", "link", "img"):
            assert attributes.get("src", attributes.get("href", "")).startswith("/resonate/assets/")


def test_a_hostile_text_stays_text(hostile: Shown, hostile_text: str) -> None:
    """Wherever a user's text stands, it opens and closes nothing."""
    document = rendered(hostile)
    assert document.open == []
    assert len(document.named("script")) == 1
    assert [image["src"] for image in document.named("img") if image["src"] == "x"] == []
    assert hostile_text.replace("\n", " ") in document.text or json.dumps(hostile_text)[1:-1] in document.text
    assert "49" not in document.text.replace("[", "").split()


def test_half_a_surrogate_pair_breaks_no_page() -> None:
    """Another SDK may have stored one."""
    found = PAGES.render(ApprovalPage(state="open", name="a", summary="\ud800 and so on", run="b"))
    assert b"? and so on" in found


def test_times_are_machine_readable(shown: Shown) -> None:
    """Every instant is in a `time` element, with the instant as it was given."""
    for attributes in rendered(shown).named("time"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", attributes["datetime"])


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("status running", ["order/42", "Running", "took 12 ms", "charge_card", "Cancel this run?", "every 2 seconds"]),
        ("status retrying", ["Retrying", "Attempt 3 failed with", "ConnectTimeout", "Attempt 4 at", "eu-central-1"]),
        ("status waiting", ["It waits for", "by manager@example.com and Наталья Иванова", "sleeps until 29 Nov 2026"]),
        (
            "status waiting",
            ["answer from outside: shipped", "Another run: enrich", "Waiting for a decision", "3 attempts"],
        ),
        ("status blocked", ["Blocked", "cannot go on until somebody acts", "NonDeterminism: step 3"]),
        ("status fresh", ["The first step has not begun yet."]),
        ("status many steps", ["51 finished steps before these", "import_page_0", "import_page_59"]),
        ("status succeeded", ["Succeeded", '"currency": "EUR"', "Took 1 d 2 h", "Approved"]),
        ("status succeeded in short", ['{"order": "42", "state": "declined"}']),
        ("status failed", ["Failed", "CardDeclined", "11 attempts", "No funds."]),
        ("status canceled", ["Canceled"]),
        ("status timed out", ["Timed out"]),
        (
            "approval open",
            ["Do you approve?", "limit of 1,000 EUR", "order/42", "Decide before 25 Nov 2026, 18:59 UTC"],
        ),
        ("approval with fields", ["1 of 2 approvals", "Four digits", "Comment", "Carrier", "Pick-up", "Fine with me."]),
        ("approval with errors", ["Error: Your decision: manager", "must have four digits", "Please say why."]),
        ("approval voted", ["Thank you", "Waiting for the others", "It takes 2 approvals"]),
        (
            "approval approved",
            ["This was approved", "by somebody with the link", "Cost centre 4711", "2 of 2 approvals"],
        ),
        ("approval rejected", ["came too late", "This was rejected", "Over the budget", "Rejected on"]),
        ("approval timed out", ["It is too late to decide"]),
        ("approval revoked", ["This question was withdrawn"]),
        ("approval login", ["Log in to decide"]),
        ("approvals", ["You are manager@example.com", "Pay 99 EUR to Ada?", "Review", "Since", "Show more"]),
        ("approvals none", ["Nothing waits for you"]),
        ("problem 404", ["There is nothing here", "Error 404"]),
        ("problem 415", ["Send application/json or a form"]),
    ],
)
def test_a_page_says_what_it_has_to(specimens: dict[str, Shown], name: str, texts: list[str]) -> None:
    """What a person looks for stands on the page in words."""
    text = rendered(specimens[name]).text
    assert [expected for expected in texts if expected not in text] == []


def test_only_an_open_question_can_be_answered(shown: Shown) -> None:
    """There is one form with both decisions while the question is open, none otherwise."""
    decisions = [b["value"] for b in rendered(shown).named("button") if b.get("name") == "decision"]
    opened = isinstance(shown, ApprovalPage) and shown.state == "open"
    assert decisions == (["approve", "reject"] if opened else [])


def test_a_login_page_tells_nothing() -> None:
    """Who is not logged in learns neither the question nor who has decided."""
    vote = Vote(by="ada", decision="approve", at="2026-11-22T00:00:00.000Z")
    shown = ApprovalPage(state="login", name="secret", summary="secret", run="secret", asked=("secret",), votes=(vote,))
    text = rendered(shown).text
    assert "secret" not in text
    assert "ada" not in text


def test_a_form_goes_back_to_its_own_url_with_its_nonce(specimens: dict[str, Shown]) -> None:
    """No address is written into it, so the token stays in the one place where it was."""
    document = rendered(specimens["approval with fields"])
    assert [("action" in form, form["method"]) for form in document.named("form")] == [(False, "post")]
    names = [c["name"] for tag in ("input", "select", "textarea") for c in document.named(tag)]
    assert sorted(names) == ["amount", "carrier", "comment", "cost_centre", "delivery", "nonce", "until"]
    assert all("required" in c for c in document.named("select"))


def test_enter_in_a_text_field_decides_nothing(specimens: dict[str, Shown]) -> None:
    """The form's first button, which Enter presses, is a dead one."""
    first = rendered(specimens["approval with fields"]).named("button")[0]
    assert "disabled" in first
    assert "name" not in first


def test_a_form_that_was_not_accepted_keeps_what_was_entered(specimens: dict[str, Shown]) -> None:
    """Values stand where they were, errors are linked to their fields, and both are tied together."""
    shown = specimens["approval with errors"]
    document = rendered(shown)
    inputs = {c["name"]: c for c in document.named("input")}
    assert (inputs["cost_centre"]["value"], inputs["amount"]["value"]) == ("47", "a lot")
    assert [option["value"] for option in document.named("option") if "selected" in option] == ["DPD"]
    assert ">\n\nBehind the\nhouse</textarea>" in PAGES.render(shown).decode()  # the first newline is the markup's
    assert inputs["cost_centre"]["aria-invalid"] == "true"
    assert inputs["cost_centre"]["aria-describedby"] == "field-cost_centre-hint field-cost_centre-error"
    links = [a["href"] for a in document.named("a") if a["href"].startswith("#field") or a["href"] == "#decision"]
    assert links == ["#field-cost_centre", "#field-amount", "#field-comment", "#decision"]


def status_page(document: dict[str, Any], **changes: Any) -> StatusPage:
    began = "2026-11-22T00:00:00.000Z"
    common: dict[str, Any] = {
        "id": "a",
        "reason": None,
        "created_at": began,
        "updated_at": began,
        "approvals": [],
        "steps": [],
    }
    return StatusPage(run={**common, "links": {"self": "/s"}, **document}, **changes)


def test_a_run_that_is_over_is_not_followed() -> None:
    """Neither a refresh nor an address of events nor a way to cancel."""
    cancel = Cancel(action="/c", nonce="n")
    running = status_page({"status": "running", "done": False}, events="/e", refresh=3, cancel=cancel)
    html = PAGES.render(running).decode()
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in html
    assert 'data-events="/e"' in html
    assert 'action="/c"' in html
    over = replace(running, run={**running.run, "status": "succeeded", "done": True, "result": None})
    html = PAGES.render(over).decode()
    assert not re.search("http-equiv|data-events|data-live|<form", html)
    assert '<code dir="auto">null</code>' in html


def test_without_a_rhythm_no_page_loads_itself_again() -> None:
    """`refresh=None` is the page of somebody who asked for stillness."""
    html = PAGES.render(status_page({"status": "running", "done": False})).decode()
    assert "http-equiv" not in html


def test_an_unknown_state_is_shown_by_its_name() -> None:
    """A document of a newer process does not break the page."""
    step = {"name": "a", "kind": "dream", "status": "dreaming", "attempt": 1, "error": None, "finished_at": None}
    shown = status_page(
        {"status": "odd", "done": False, "steps": [{**step, "started_at": "soon", "next_attempt_at": None}]}
    )
    assert "odd" in rendered(shown).text
    assert "dreaming" in rendered(shown).text


@pytest.mark.parametrize("forms", [False, True])
def test_a_page_is_private(forms: bool) -> None:
    """It is not stored, indexed, framed or sniffed, and its URL goes to no other origin."""
    response = page(410, b"x", [("Set-Cookie", "a=b")], forms=forms)
    assert response.status == 410
    assert dict(response.headers) == {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": "1",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin" if forms else "no-referrer",
        "X-Robots-Tag": "noindex, nofollow",
        "X-Frame-Options": "DENY",
        "Content-Security-Policy": POLICY,
        "Set-Cookie": "a=b",
    }


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("resonate.css", "text/css; charset=utf-8"),
        ("resonate.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_an_asset_is_kept_for_ever_by_the_name_of_its_content(name: str, media_type: str) -> None:
    """Its plain name and that of another version give what there is, and are asked for again."""
    versioned = PAGES.asset_url(name).removeprefix("/resonate/assets/")
    stem, _, suffix = name.partition(".")
    for asked, caching in [
        (versioned, "public, max-age=31536000, immutable"),
        (name, "no-cache"),
        (f"{stem}.0123456789abcdef.{suffix}", "no-cache"),
    ]:
        found = asset(asked)
        assert found is not None
        assert (found.status, found.header("Content-Type")) == (200, media_type)
        assert found.header("Cache-Control") == caching
        assert re.fullmatch(r'"[0-9a-f]{16}"', found.header("ETag") or "")
        assert len(body(found)) > 100


@pytest.mark.parametrize(
    "name", ["", "x", "resonate", "resonate.html", "../pages.py", "base.html", "resonate.css/", ".css"]
)
def test_there_are_no_other_assets(name: str) -> None:
    """Neither templates nor files beside them are served."""
    assert asset(name) is None


def test_a_template_of_the_application_comes_first(specimens: dict[str, Shown]) -> None:
    """It is asked for by the page's name, then for all pages at once; it gets the page and its parts."""
    asked: list[str] = []

    def override(name: str, context: dict[str, Any]) -> str | None:
        asked.append(name)
        parts = context["parts"]
        own = f"<title>{parts.title}</title>{parts.head}<main>{parts.content}</main>{parts.footer}"
        return own if name == "resonate/base.html" else None

    for name in ("status running", "approval with errors", "approvals", "problem 404"):
        shown = specimens[name]
        asked.clear()
        mine = Pages("/resonate/assets", override).render(shown).decode()
        ours = PAGES.render(shown).decode()
        assert asked == [shown.template, "resonate/base.html"]
        assert re.sub(r"\s+", "", mine.partition("<main>")[2].partition("</main>")[0]) in re.sub(r"\s+", "", ours)
        assert re.findall("<title>.*?</title>", mine) == re.findall("<title>.*?</title>", ours)
        assert "resonate.css" not in mine
        assert mine.count('rel="stylesheet"') == 1
        assert mine.count("http-equiv") == ours.count("http-equiv")


def test_an_own_template_may_ignore_all_that_is_given() -> None:
    """Its text is the page."""
    pages = Pages("/x", lambda name, context: f"{name}: {context['page'].you}")
    assert pages.render(ApprovalsPage(you="<ada>")) == b"resonate/approvals.html: <ada>"


def test_without_an_own_template_the_page_is_ours(shown: Shown) -> None:
    """An application's loader that knows none of the names changes nothing."""
    assert UNCONCERNED.render(shown) == PAGES.render(shown)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.012, "12 ms"),
        (1, "1.0 s"),
        (9.94, "9.9 s"),
        (12.7, "12 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (86_460, "1 d"),
        (31_536_000, "365 d"),
        (-5, "0 ms"),
    ],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    """The rest does not matter to a person."""
    begin = "2026-01-01T00:00:00.000Z"
    end = (datetime.fromisoformat(begin) + timedelta(seconds=seconds)).isoformat()
    assert wording.duration(begin, end) == text
    assert wording.duration(begin, None) is None
    assert wording.duration("soon", end) is None


def test_a_clock_names_the_day_when_it_changes() -> None:
    """Within a day the time is enough."""
    first, second, third = "2026-11-22T23:59:58.1Z", "2026-11-22T23:59:59Z", "2026-11-23T00:00:01Z"
    assert ">22 Nov 2026, 23:59:58<" in wording.clock(first, None)
    assert ">23:59:59<" in wording.clock(second, first)
    assert ">23 Nov 2026, 00:00:01<" in wording.clock(third, second)
    assert ">9999-13-01<" in wording.moment("9999-13-01")


def test_people_are_listed_as_in_speech() -> None:
    """One, two, or several."""
    told = {"a": ["a"], "a and b": ["a", "b"], "a, b and c": ["a", "b", "c"], "": []}
    assert {wording.people(names): names for names in told.values()} == told
    assert {wording.person(by) for by in (None, "", "link")} == {"somebody with the link"}
    assert wording.person("ada") == "ada"
