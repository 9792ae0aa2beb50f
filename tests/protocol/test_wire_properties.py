"""Any request or answer that a history produces survives JSON text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resonate_web.machine.steps import Step
from resonate_web.protocol.envelope import (
    Malformed,
    read_envelope,
    read_request,
    read_response,
    write_request,
    write_response,
)
from resonate_web.protocol.requests import Request, TaskHeartbeat
from resonate_web.protocol.tags import is_detached, is_external, is_targeted, is_timer
from resonate_web.testing.histories import History
from resonate_web.testing.world import World

KINDS = ["promise.create", "promise.settle", "task.create", "task.fence", "task.suspend", "schedule.create"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["id", "kind", "data", "action", "headers"]), inner)
    ),
    max_leaves=6,
)
fields = st.sampled_from(["id", "timeoutAt", "tags", "param", "version", "action", "actions", "state", "pid", "ttl"])


@pytest.mark.parametrize("seed", range(20))
def test_histories_survive_the_wire(seed: int) -> None:
    """What is read back equals what was written, for every exchange of a random history."""
    world = World()
    history = History(seed, world)
    for _ in range(60):
        request = history.draw()
        response = world.submit(request, history.now)
        if isinstance(request, Step):
            continue
        assert over_json(request) == request
        answer = json.loads(json.dumps(write_response(request, "c", response)))
        if not isinstance(request, TaskHeartbeat):
            assert read_response(request, "c", answer) == response


def over_json(request: Request) -> Request:
    """Write a request as text and read it back."""
    envelope = read_envelope(json.loads(json.dumps(write_request(request, "c"))))
    return read_request(envelope.kind, envelope.data)


@given(st.sampled_from(KINDS), st.dictionaries(fields, values))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_no_json_breaks_the_reader(kind: str, data: dict[str, object]) -> None:
    """Whatever arrives is a request or malformed, never another error."""
    try:
        request = read_request(kind, data)
    except Malformed:
        return
    assert request.kind == kind


@pytest.mark.parametrize(
    ("tags", "timer", "targeted", "external", "detached"),
    [
        ({}, False, False, False, False),
        ({"resonate:timer": "true"}, True, False, True, False),
        ({"resonate:timer": "True"}, False, False, False, False),
        ({"resonate:target": ""}, False, True, True, False),
        ({"resonate:external": "true"}, False, False, True, False),
        ({"resonate:external": "yes"}, False, False, False, False),
        ({"resonate_web:detached": "true"}, False, False, False, True),
    ],
)
def test_what_tags_say(tags: dict[str, str], timer: bool, targeted: bool, external: bool, detached: bool) -> None:
    """Flags are the exact text `true`; a target counts by presence."""
    assert (is_timer(tags), is_targeted(tags), is_external(tags), is_detached(tags)) == (
        timer,
        targeted,
        external,
        detached,
    )
