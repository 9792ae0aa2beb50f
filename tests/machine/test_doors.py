"""The two doors: every request and step passes through both, searches through neither."""

from __future__ import annotations

from typing import get_args

import pytest

from resonate_web.machine.cleanup import cleanup_id
from resonate_web.machine.state import Keys
from resonate_web.machine.steps import Cascade, Delivered, Fire, Step, Wake
from resonate_web.machine.transition import _PACED, _READERS, _RULES, reads, transition
from resonate_web.protocol import requests as rq
from resonate_web.protocol.records import PromiseState
from resonate_web.testing.world import World

CREATE = rq.PromiseCreate(id="c", timeout_at=9)
SEARCHES = (rq.PromiseSearch, rq.TaskSearch, rq.ScheduleSearch)


def test_every_request_and_step_has_one_rule_and_one_reader() -> None:
    """The tables cover the protocol, searches excepted, and do not overlap."""
    expected = {*get_args(rq.Request), *get_args(Step)} - set(SEARCHES)
    assert set(_READERS) == expected
    assert set(_RULES) | set(_PACED) == expected
    assert not set(_RULES) & set(_PACED)


@pytest.mark.parametrize("request_", [*(search() for search in SEARCHES), object()])
def test_anything_else_is_a_type_error(request_: rq.PromiseSearch) -> None:
    """Both doors name the stranger."""
    with pytest.raises(TypeError, match="has no transition"):
        reads(request_)
    with pytest.raises(TypeError, match="has no transition"):
        transition(request_, World(), 0, retry_interval=1)


def wait(id: str) -> rq.PromiseRegisterCallback:
    """Return a callback."""
    return rq.PromiseRegisterCallback(awaited=id, awaiter="r")


@pytest.mark.parametrize(
    ("request_", "keys"),
    [
        (CREATE, Keys(ids=frozenset("c"))),
        (wait("x"), Keys(ids=frozenset("xr"))),
        (rq.PromiseRegisterListener(awaited="x", address="a"), Keys(ids=frozenset("x"))),
        (rq.TaskCreate(pid="p", ttl=1, action=CREATE), Keys(ids=frozenset("c"), owned=frozenset("c"))),
        (rq.TaskCreate(pid="p", ttl=1, action=CREATE, preload="none"), Keys(ids=frozenset("c"))),
        (
            rq.TaskAcquire(id="r", version=0, pid="p", ttl=1, preload="owned"),
            Keys(ids=frozenset("r"), owned=frozenset("r")),
        ),
        (rq.TaskFence(id="r", version=0, action=CREATE), Keys(ids=frozenset("rc"), owned=frozenset("r"))),
        (rq.TaskFence(id="r", version=0, action=CREATE, preload="none"), Keys(ids=frozenset("rc"))),
        (
            rq.TaskHeartbeat(pid="p", tasks=(rq.TaskRef(id="a", version=0), rq.TaskRef(id="b", version=0))),
            Keys(ids=frozenset("ab")),
        ),
        (
            rq.TaskSuspend(id="r", version=0, actions=(wait("x"), wait("y")), preload="none"),
            Keys(ids=frozenset("rxy")),
        ),
        (
            rq.TaskFulfill(id="r", version=0, action=rq.PromiseSettle(id="r", state=PromiseState.RESOLVED)),
            Keys(ids=frozenset("r")),
        ),
        (rq.ScheduleGet(id="s"), Keys(schedules=frozenset("s"))),
        (Wake(id="x", awaiter="r"), Keys(ids=frozenset("xr"))),
        (Fire(id="s", ids=("a", "b")), Keys(ids=frozenset("ab"), schedules=frozenset("s"))),
        (Cascade(id="r"), Keys(ids=frozenset({"r", cleanup_id("r")}), trees=frozenset("r"))),
        (Delivered(key="k"), Keys()),
        (rq.PromiseGet(id="\0"), Keys()),
        (rq.ScheduleGet(id=""), Keys()),
        (rq.TaskAcquire(id="\ud800", version=0, pid="p", ttl=1), Keys()),
    ],
)
def test_reads(request_: rq.Request | Step, keys: Keys) -> None:
    """What is read follows from the request alone; an id that no store can hold is not asked for."""
    assert reads(request_) == keys
