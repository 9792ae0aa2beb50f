"""Cases of starting a run under an id that the view names."""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.testing.http_driver import Site, path_of
from resonate_web.testing.http_flows import MAX_BODY
from resonate_web.testing.servers import Answer


def start_answers_202_with_where_to_look(site: Site) -> None:
    """202, both links, when to ask again, and a first document."""
    answer = site.start("waits")
    assert answer.status == 202
    assert answer.headers["Location"] == answer.headers["Operation-Location"] == answer.json["links"]["self"]
    assert answer.headers["Retry-After"].isdecimal()
    assert answer.headers["Idempotency-Replayed"] is None
    assert (answer.json["id"], answer.json["done"]) == (site.id(), False)


def the_same_start_joins(site: Site) -> None:
    """The same id and arguments again give the same link, marked as replayed, and 200 once it is done."""
    first = site.start("orders", order={"quantity": 3})
    site.reached(first.headers["Location"])
    again = site.start("orders", order={"quantity": 3})
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.headers["Location"] == first.headers["Location"]
    assert again.json["result"] == {"order": site.id(), "total": 300}
    assert again.headers["Retry-After"] is None


def a_start_joins_what_waits(site: Site) -> None:
    """A run that goes on is joined with 202."""
    first = site.start("waits", told=False)
    site.reached(first.headers["Location"], "waiting", told=False)
    again = site.start("waits")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert again.json["status"] == "waiting"


def other_arguments_learn_nothing(site: Site) -> None:
    """The id with another order is a 409 without result, links or Location; with another workflow too."""
    site.reached(site.start("orders", order={"quantity": 7}, told=False).headers["Location"], told=False)
    answers = [site.start("orders", order={"quantity": 8}), site.start("waits", order={"quantity": 7})]
    for answer in answers:
        _learns_nothing(site, answer)
    assert answers[0].body == answers[1].body


def another_person_learns_nothing(site: Site) -> None:
    """B posts A's id with A's very body: the same bytes as for another body, and A's run is untouched."""
    order = {"id": site.id(), "quantity": 7}
    mine = site.post("/orders", order, X_User="ada")
    done = site.reached(mine.headers["Location"], told=False)
    stolen = site.post("/orders", order, X_User="bob")
    other = site.post("/orders", {**order, "quantity": 8}, X_User="bob")
    anonymous = site.post("/orders", order)
    for answer in (stolen, other, anonymous):
        _learns_nothing(site, answer)
    assert stolen.body == other.body == anonymous.body
    assert site.post("/orders", order, X_User="ada").status == 200
    assert site.ask("GET", mine.headers["Location"], told=False).body == done.body


def a_start_ignores_the_request_key(site: Site) -> None:
    """A view that names the id ignores Idempotency-Key, even a malformed one."""
    first = site.start("waits", Idempotency_Key="one")
    site.reached(first.headers["Location"], "waiting", told=False)
    for key in ("two", "one", "not, a key"):
        again = site.start("waits", Idempotency_Key=key)
        assert (again.status, again.headers["Location"]) == (202, first.headers["Location"])


def large_bodies_are_refused(site: Site) -> None:
    """413, and nothing is started."""
    answer = site.post("/waits", _large(site), Content_Type="application/json")
    assert answer.status == 413
    assert answer.json["type"] == "urn:resonate-web:problem:too-large"
    assert site.start("waits", told=False).headers["Idempotency-Replayed"] is None


def large_bodies_in_chunks_are_refused(site: Site) -> None:
    """413 too for a body whose length is not told."""
    large = _large(site)
    answer = site.post("/orders", [large[n : n + 8192] for n in range(0, len(large), 8192)])
    assert answer.status == 413


def a_small_body_in_chunks_starts(site: Site) -> None:
    """A body without a length is read like any other."""
    answer = site.post("/waits", [b'{"id": "', site.id().encode(), b'"}'])
    assert (answer.status, answer.json["id"]) == (202, site.id())


def prefer_wait_answers_with_the_result(site: Site) -> None:
    """Done in time: 200 with the result."""
    answer = site.start("orders", Prefer="wait=20")
    assert (answer.status, answer.headers["Preference-Applied"]) == (200, "wait")
    assert answer.json["result"]["total"] == 100


def prefer_wait_ends_in_time(site: Site) -> None:
    """Not done in time: 202, and the preference was applied all the same."""
    answer = site.start("waits", Prefer="wait=2")
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "wait")
    assert answer.json["status"] == "waiting"


def respond_async_answers_at_once(site: Site) -> None:
    """`respond-async` alone is what is done anyway, and is said to be applied."""
    answer = site.start("waits", Prefer="respond-async")
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "respond-async")


def both_preferences_combine(site: Site) -> None:
    """`respond-async, wait=N` waits, and answers 202 only when that was not enough."""
    answer = site.start("orders", Prefer="respond-async, wait=20")
    assert (answer.status, answer.headers["Preference-Applied"]) == (200, "wait")
    two_fields = site.start("orders", "2", Prefer='foo; wait=9, WAIT="20"')
    assert (two_fields.status, two_fields.headers["Preference-Applied"]) == (200, "wait")


def unreadable_preferences_are_ignored(site: Site) -> None:
    """What is no number of seconds, or a preference of somebody else's, changes nothing."""
    for number, wish in enumerate(('wait="', "wait=soon", "wait=-1", "wait", "return=minimal", ",;,=")):
        answer = site.start("waits", str(number), Prefer=wish)
        assert (answer.status, answer.headers["Preference-Applied"]) == (202, None), wish


def browsers_are_sent_to_the_page(site: Site) -> None:
    """Where Accept prefers HTML: 303 to the status page, for a new run and for a joined one."""
    for accept in ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"):
        answer = site.start("waits", Accept=accept)
        assert (answer.status, answer.body) == (303, b"")
        page = site.ask("GET", answer.headers["Location"], told=False, Accept=accept)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"


def programs_get_json(site: Site) -> None:
    """Anything else in Accept gets the document."""
    for number, accept in enumerate(("*/*", "application/json", "text/html;q=0.5, application/json", "image/png")):
        answer = site.start("waits", str(number), Accept=accept)
        assert (answer.status, answer.headers["Content-Type"]) == (202, "application/json"), accept


def a_failed_run_is_joined(site: Site) -> None:
    """Starting the id of a failed run again tells how it failed."""
    first = site.start("fails", told=False)
    site.reached(first.headers["Location"], "failed", told=False)
    again = site.start("fails")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json["error"] == {"type": "LookupError", "message": "pencils are sold out"}


def on_failed_new_tries_again(site: Site) -> None:
    """With `on_failed="new"` a failed run is started anew, and the same link follows the newest try."""
    options = {"on_failed": "new"}
    first = site.start("fails", told=False, order={"options": options})
    before = site.reached(first.headers["Location"], "failed", told=False)
    again = site.start("fails", order={"options": options})
    assert (again.status, again.headers["Idempotency-Replayed"]) == (202, None)
    assert again.headers["Location"] == first.headers["Location"]
    after = site.reached(first.headers["Location"], "failed", told=False)
    assert after.json["id"] == site.id()
    assert after.json["created_at"] > before.json["created_at"]


def the_applications_own_routes_are_left_alone(site: Site) -> None:
    """A route that is not ours answers as it would without us, and so does one that nobody has."""
    answer = site.ask("GET", "/plain")
    assert (answer.status, answer.body) == (200, b"plain\n")
    assert site.ask("GET", "/nothing", told=False).status == 404
    assert site.ask("GET", "/statusx", told=False).headers["Content-Type"] != "application/problem+json"


def _large(site: Site) -> bytes:
    return b'{"id": "%s", "note": "%s"}' % (site.id().encode(), b"x" * MAX_BODY)


def _learns_nothing(site: Site, answer: Answer) -> None:
    assert (answer.status, answer.headers["Content-Type"]) == (409, "application/problem+json")
    assert answer.headers["Location"] is answer.headers["Operation-Location"] is None
    assert answer.json.keys() == {"type", "title", "status"}
    assert path_of(site.id()).encode() not in answer.body


START_CASES: tuple[Callable[[Site], None], ...] = (
    start_answers_202_with_where_to_look,
    the_same_start_joins,
    a_start_joins_what_waits,
    other_arguments_learn_nothing,
    another_person_learns_nothing,
    a_start_ignores_the_request_key,
    large_bodies_are_refused,
    large_bodies_in_chunks_are_refused,
    a_small_body_in_chunks_starts,
    prefer_wait_answers_with_the_result,
    prefer_wait_ends_in_time,
    respond_async_answers_at_once,
    both_preferences_combine,
    unreadable_preferences_are_ignored,
    browsers_are_sent_to_the_page,
    programs_get_json,
    a_failed_run_is_joined,
    on_failed_new_tries_again,
    the_applications_own_routes_are_left_alone,
)
