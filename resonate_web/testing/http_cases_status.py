"""Cases of the status document: its fields, its validators, its methods, and who gets it."""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.testing.http_driver import Site, path_of

FIELDS = {"id", "status", "reason", "done", "created_at", "updated_at", "steps", "approvals", "links"}


def status_of_a_run_that_succeeded(site: Site) -> None:
    """The result, every step, and no word on coming back."""
    answer = site.reached(site.start("orders", order={"quantity": 2}, told=False).headers["Location"])
    found = answer.json
    assert found.keys() == FIELDS | {"result"}
    assert (found["status"], found["done"], found["result"]["total"]) == ("succeeded", True, 200)
    assert [(step["name"], step["status"], step["attempt"]) for step in found["steps"]] == [
        ("priced", "succeeded", 1),
        ("charged", "succeeded", 1),
    ]
    assert answer.headers["Retry-After"] is None
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["Vary"] == "Accept, Prefer"


def status_of_a_run_that_runs(site: Site) -> None:
    """A step in flight is shown before it ends."""
    link = site.start("held", told=False, order={"gate": "status-of-a-run"}).headers["Location"]
    answer = site.reached(link, "running", told=False)
    while not answer.json["steps"]:
        answer = site.reached(link, "running", told=False)
    answer = site.ask("GET", link)
    assert answer.headers["Retry-After"].isdecimal()
    assert [(step["name"], step["status"]) for step in answer.json["steps"]] == [("at_gate", "running")]
    site.open_gate("status-of-a-run")
    assert site.reached(link).json["result"] == "through"


def status_of_a_run_that_waits(site: Site) -> None:
    """What it waits for is a step."""
    answer = site.reached(site.start("waits", told=False).headers["Location"], "waiting")
    assert answer.json.keys() == FIELDS
    assert [(step["name"], step["kind"], step["status"]) for step in answer.json["steps"]] == [
        ("gate", "promise", "waiting")
    ]
    assert answer.headers["Retry-After"].isdecimal()


def status_of_a_run_that_failed(site: Site) -> None:
    """200 all the same; type and message of the error, never a traceback."""
    answer = site.reached(site.start("fails", told=False).headers["Location"])
    assert answer.json.keys() == FIELDS | {"error"}
    assert (answer.status, answer.json["status"]) == (200, "failed")
    assert answer.json["error"] == {"type": "LookupError", "message": "pencils are sold out"}
    for word in (b"Traceback", b"secret_of_the_source", b".py"):
        assert word not in answer.body
    page = site.ask("GET", answer.json["links"]["self"], Accept="text/html")
    assert b"sold out" in page.body
    for word in (b"Traceback", b"secret_of_the_source", b"http_flows"):
        assert word not in page.body


def status_of_a_run_that_timed_out(site: Site) -> None:
    """A run that was not finished before its deadline."""
    answer = site.reached(site.start("waits", told=False, order={"options": {"timeout": 0.2}}).headers["Location"])
    assert (answer.json["status"], answer.json["error"]["type"]) == ("timedout", "TimedOut")
    assert answer.json["steps"][0]["status"] in ("timedout", "canceled")


def status_of_a_step_that_is_retried(site: Site) -> None:
    """A failed attempt is shown with its error and when the next one is due."""
    link = site.start("later", told=False).headers["Location"]
    answer = site.reached(link, "running", told=False)
    while not (answer.json["steps"] and answer.json["steps"][0]["next_attempt_at"]):
        answer = site.reached(link, "running", told=False)
    step = site.ask("GET", link).json["steps"][0]
    assert (step["name"], step["status"], step["attempt"]) == ("unreachable", "running", 2)
    assert step["error"] == {"type": "ConnectionError", "message": "the bank is closed"}
    assert b"Traceback" not in answer.body


def status_of_a_step_that_failed_twice(site: Site) -> None:
    """When it has succeeded its attempts are counted and its errors are gone."""
    answer = site.reached(site.start("retries", told=False).headers["Location"])
    assert answer.json["result"] == "attempt 3"
    assert (answer.json["steps"][0]["error"], answer.json["steps"][0]["next_attempt_at"]) == (None, None)


def unknown_and_forged_are_one_404(site: Site) -> None:
    """Unknown, unsigned, forged, cut, of another run, of another purpose: the same bytes."""
    link = path_of(site.start("waits", told=False).headers["Location"])
    other = path_of(site.start("waits", "2", told=False).headers["Location"])
    path, _, signature = link.partition("?sig=")
    forged = [
        path,
        f"{path}?sig=",
        f"{path}?sig={'A' * 43}",
        f"{path}?sig={signature[:-1]}",
        f"{path}?sig={signature}=",
        f"{path}?sig=%FF{signature}",
        f"{path}?sig=x&sig={signature}",
        f"{path}?signature={signature}",
        f"{path}?sig={other.partition('?sig=')[2]}",
        f"{path}?sig={site.cancel_link(site.id()).partition('?sig=')[2]}",
        f"/status/{site.id('nobody')}?sig={signature}",
    ]
    unknown = site.ask("GET", f"/status/{site.id('unknown')}")
    assert (unknown.status, unknown.headers["Cache-Control"]) == (404, "no-store")
    for wrong in forged:
        answer = site.ask("GET", wrong)
        assert (answer.status, answer.body) == (404, unknown.body), wrong


def problems_are_pages_for_browsers(site: Site) -> None:
    """A browser gets a page with the same status, and it is as private as every page."""
    answer = site.ask("GET", f"/status/{site.id()}", Accept="text/html")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
    refused = site.ask("DELETE", f"/status/{site.id()}", Accept="text/html")
    assert (refused.status, refused.headers["Allow"] is None) == (405, False)


def a_validator_saves_the_document(site: Site) -> None:
    """If-None-Match: the tag, in a list, weak, or `*` is 304 without a body; another is 200."""
    got = site.reached(site.start("orders", told=False).headers["Location"])
    link, tag = got.json["links"]["self"], got.headers["ETag"]
    for condition in (tag, f'"other", {tag}', f"W/{tag}", "*", f'"a,b",{tag}'):
        answer = site.ask("GET", link, If_None_Match=condition)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag), condition
        assert answer.headers["Vary"] == got.headers["Vary"]
    for condition in ('"other"', tag.strip('"'), ""):
        assert site.ask("GET", link, told=False, If_None_Match=condition).body == got.body, condition


def the_validator_changes_with_the_document(site: Site) -> None:
    """A run that goes on has another tag afterwards, and the old one gets the new document."""
    link = site.start("held", told=False, order={"gate": "validator"}).headers["Location"]
    before = site.reached(link, "running", told=False)
    site.open_gate("validator")
    after = site.reached(link, told=False)
    assert before.headers["ETag"] != after.headers["ETag"]
    assert site.ask("GET", link, If_None_Match=before.headers["ETag"]).body == after.body


def head_is_get_without_its_body(site: Site) -> None:
    """The same status and fields, the length of the GET, and no body; for problems and pages too."""
    link = site.reached(site.start("orders", told=False).headers["Location"], told=False).json["links"]["self"]
    for target, accept in ((link, "application/json"), (link, "text/html"), ("/status/nobody", "*/*")):
        got, head = (site.ask(method, target, Accept=accept) for method in ("GET", "HEAD"))
        assert (head.status, head.body) == (got.status, b"")
        for name in ("Content-Type", "Content-Length", "ETag", "Vary", "Cache-Control", "X-Robots-Tag"):
            assert head.headers[name] == got.headers[name], name


def options_names_the_methods(site: Site) -> None:
    """204 with Allow, whoever asks; nothing is told about the run."""
    link = site.start("waits", told=False).headers["Location"]
    known, unknown = site.ask("OPTIONS", link), site.ask("OPTIONS", "/status/nobody")
    assert (known.status, known.body) == (204, b"")
    assert known.headers["Allow"] == unknown.headers["Allow"]
    assert {"GET", "HEAD", "OPTIONS"} <= set(known.headers["Allow"].split(", "))


def other_methods_are_405(site: Site) -> None:
    """A problem document that names what there is, for methods that nobody has heard of too."""
    link = site.start("waits", told=False).headers["Location"]
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "BREW"):
        answer = site.ask(method, link)
        assert (answer.status, answer.headers["Content-Type"]) == (405, "application/problem+json"), method
        assert "GET" in answer.headers["Allow"]


STATUS_CASES: tuple[Callable[[Site], None], ...] = (
    status_of_a_run_that_succeeded,
    status_of_a_run_that_runs,
    status_of_a_run_that_waits,
    status_of_a_run_that_failed,
    status_of_a_run_that_timed_out,
    status_of_a_step_that_is_retried,
    status_of_a_step_that_failed_twice,
    unknown_and_forged_are_one_404,
    problems_are_pages_for_browsers,
    a_validator_saves_the_document,
    the_validator_changes_with_the_document,
    head_is_get_without_its_body,
    options_names_the_methods,
    other_methods_are_405,
)
