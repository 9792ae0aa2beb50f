"""Cases of ids: which are taken, and how they travel in links."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from urllib.parse import quote

from resonate_web.testing.http_driver import Site, path_of

ODD = {
    "inner slashes": "a/b/c",
    "spaces": "a b  c/ d ",
    "percent": "50%",
    "an encoded slash": "a%2Fb",
    "an encoded percent": "50%25",
    "encoded dots": "%2e%2e/x",
    "plus": "a+b",
    "question mark": "a?b=c&sig=x",
    "hash": "a#b",
    "semicolon": "a;b=c,d",
    "quotes and brackets": "\"a\" 'b' <c> [d] {e} |f| \\g ^h `i`",
    "an e-mail address": "expense/ada.o'neil+test@example.com",
    "composed": unicodedata.normalize("NFC", "é/ü/Å"),
    "other scripts": "日本語/ключ/שלום/😀",
    "three dots": ".../..a/b..",
    "dollar and others": "$!*()@&=",
    "a name of ours": "status/approvals/cancel",
    "not UTF-8 when decoded": "%ff%fe",
}


def odd_ids_survive_every_link(site: Site) -> None:
    """Location, sent as it came, leads to exactly that id; so does the link in the document."""
    for what, odd in ODD.items():
        id = f"{site.id()}/{odd}"
        started = site.post("/waits", {"id": id})
        assert started.status == 202, (what, started.body)
        found = site.ask("GET", started.headers["Location"], told=False)
        assert (found.status, found.json["id"]) == (200, id), what
        assert found.json["links"]["self"] == started.headers["Location"], what


def long_ids_survive_every_link(site: Site) -> None:
    """200 characters, of one byte, of four, and of ones that are encoded."""
    for letter in ("x", "ä", "😀", "%", " "):
        id = f"{site.id()}/{letter}".ljust(199, letter) + "x"
        started = site.post("/waits", {"id": id})
        assert started.status == 202, started.body
        assert site.ask("GET", started.headers["Location"], told=False).json["id"] == id


def letters_that_look_alike_are_one_id(site: Site) -> None:
    """An id is what it is in NFC, however it was typed: one run, one link, and both paths read it."""
    composed = f"{site.id()}/Zoë"
    decomposed = unicodedata.normalize("NFD", composed)
    first = site.post("/waits", {"id": composed}, told=False)
    site.reached(first.headers["Location"], "waiting", told=False)
    link = first.headers["Location"]
    typed = site.ask("GET", link.replace(quote(composed, safe="/"), quote(decomposed, safe="/")))
    assert (typed.status, typed.json["id"]) == (200, composed)


def encodings_of_one_path_are_one_id(site: Site) -> None:
    """Encoding what needs none changes nothing; encoding twice does."""
    link = path_of(site.start("waits", "a b", told=False).headers["Location"])
    site.reached(link, "waiting", told=False)
    assert site.ask("GET", link.replace("waits", "w%61its").replace("/a%20b", "/%61%20b")).status == 200
    assert site.ask("GET", link.replace("%20", "+")).status == 404
    assert site.ask("GET", link.replace("%20", "%2520")).status == 404


def bad_ids_are_400(site: Site) -> None:
    """Each rule of ids has its own sentence, and nothing is started."""
    bad = ("", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "a:b", "~a", "a~2", "a\nb", "a\x00b", "x" * 201)
    for id in bad:
        answer = site.post("/orders", {"id": id})
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json"), id
        assert answer.json["type"] == "urn:resonate-web:problem:invalid-id"
        assert answer.json["detail"]
    for wrong in (5, None, ["a"]):
        assert site.post("/fails", {"id": wrong}, told=False).status != 500 or wrong is None


def bad_paths_are_the_404_of_unknown_ones(site: Site) -> None:
    """What can be no id is answered like an id that nobody has, whatever the server makes of the path."""
    unknown = site.ask("GET", "/status/nobody-has-this")
    assert unknown.status == 404
    for path in (
        "/status/",
        "/status/a//b",
        "/status//",
        "/status/a%2F%2Fb",
        "/status/a%00b",
        "/status/%7Ea",
        "/status/%FF",
    ):
        answer = site.ask("GET", path)
        assert (answer.status, answer.body) == (404, unknown.body), path


def dots_in_paths_name_nothing(site: Site) -> None:
    """A path with `..` reaches no run and nothing beside our routes."""
    link = path_of(site.start("waits", told=False).headers["Location"])
    for path in (link.replace("/status/", "/status/x/../"), "/status/../plain", "/status/%2e%2e/plain"):
        assert site.ask("GET", path).status == 404


ID_CASES: tuple[Callable[[Site], None], ...] = (
    odd_ids_survive_every_link,
    long_ids_survive_every_link,
    letters_that_look_alike_are_one_id,
    encodings_of_one_path_are_one_id,
    bad_ids_are_400,
    bad_paths_are_the_404_of_unknown_ones,
    dots_in_paths_name_nothing,
)
