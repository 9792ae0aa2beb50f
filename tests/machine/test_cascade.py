"""Cancellation of what is left below a settled run, and its cleanup workflow."""

from __future__ import annotations

import base64
import json

import pytest

from resonate_web.clock import FOREVER
from resonate_web.machine.cleanup import call, cleanup_id
from resonate_web.machine.steps import Cascade
from resonate_web.protocol import requests as rq
from resonate_web.protocol.records import PromiseState, TaskState, Value
from resonate_web.testing.scenarios import EXTERNAL, FAR, TARGET, settle
from resonate_web.testing.world import World

ROOT = "order/42:1"
CANCELED = PromiseState.CANCELED


def payload(**fields: object) -> Value:
    """Encode a call."""
    return Value(data=base64.b64encode(json.dumps(fields).encode()).decode())


def decoded(value: Value) -> object:
    """Decode a call."""
    return json.loads(base64.b64decode(value.data or ""))


def start(world: World, id: str = ROOT, timeout_at: int = FAR, **tags: str) -> None:
    """Start a run that names a cleanup."""
    param = payload(func="buy", args=["é", 1], kwargs={"k": 2}, version=3)
    all_tags = {**TARGET, "resonate_web:on_cancel": "refund@7", **tags}
    action = rq.PromiseCreate(id=id, timeout_at=timeout_at, param=param, tags=all_tags)
    world.submit(rq.TaskCreate(pid="p", ttl=50_000, action=action), 1000)


def spawn(world: World, parent: str, id: str, tags: dict[str, str], timeout_at: int = FAR) -> None:
    """Create a child through the fence of its parent, and acquire it when it has a task."""
    action = rq.PromiseCreate(id=id, timeout_at=timeout_at, tags=tags)
    world.submit(rq.TaskFence(id=parent, version=1, action=action), 1000)
    if id in world.tasks:
        world.submit(rq.TaskAcquire(id=id, version=0, pid="p", ttl=50_000), 1000)


def test_a_live_root_is_left_alone(world: World) -> None:
    """A cascade looks at the promise as it is seen now."""
    start(world)
    spawn(world, ROOT, "c", TARGET)
    assert not world.decide(Cascade(id=ROOT), 1100).writes
    assert not world.decide(Cascade(id="nothing"), 1100).writes


def test_everything_unsettled_below_is_canceled(world: World) -> None:
    """Runs, steps, timers and promises, at every depth; what is past its own deadline has timed out already."""
    start(world)
    for id, tags in (("run", TARGET), ("step", {}), ("timer", {"resonate:timer": "true"}), ("promise", EXTERNAL)):
        spawn(world, ROOT, id, tags)
    spawn(world, "run", "deep", TARGET)
    spawn(world, "run", "dead", EXTERNAL, timeout_at=1050)
    settle(world, ROOT, CANCELED)
    world.submit(Cascade(id=ROOT), 1100)
    canceled = {row.record.id for row in world.promises.values() if row.record.state is CANCELED}
    assert canceled == {ROOT, "run", "step", "timer", "promise", "deep"}
    assert {world.promises[id].record.settled_at for id in canceled - {ROOT}} == {1100}
    assert world.tasks["run"].state is world.tasks["deep"].state is TaskState.FULFILLED


@pytest.mark.parametrize(("state", "cleaned"), [(CANCELED, True), (PromiseState.REJECTED, False)])
def test_only_a_cancel_or_time_out_is_cleaned_up(state: PromiseState, cleaned: bool, world: World) -> None:
    """A run that failed by itself had its own `except`."""
    start(world)
    settle(world, ROOT, state)
    world.submit(Cascade(id=ROOT), 1100)
    assert (cleanup_id(ROOT) in world.promises) == cleaned


def test_the_cleanup_is_a_detached_run_of_the_same_call(world: World) -> None:
    """Same arguments and target, its own branch, no deadline that matters, due at once."""
    start(world)
    settle(world, ROOT, CANCELED)
    world.submit(Cascade(id=ROOT), 1100)
    id = cleanup_id(ROOT)
    record, task = world.promises[id].record, world.tasks[id]
    assert record.tags == {
        **TARGET,
        "resonate:scope": "global",
        "resonate:branch": id,
        "resonate:parent": "order/42",
        "resonate:origin": "order/42",
        "resonate_web:detached": "true",
    }
    assert record.timeout_at == 1100 + FOREVER
    assert decoded(record.param) == {"func": "refund", "args": ["é", 1], "kwargs": {"k": 2}, "version": 7}
    assert (task.state, task.version, task.retry_at) == (TaskState.PENDING, 0, 1100)
    assert world.promises[id].owner is None


def test_a_time_out_is_cleaned_up_even_before_it_is_stored(world: World) -> None:
    """A root that is only seen as timed out is not touched itself."""
    start(world, timeout_at=2000)
    world.submit(Cascade(id=ROOT), 2000)
    assert world.promises[ROOT].record.state is PromiseState.PENDING
    assert cleanup_id(ROOT) in world.promises


def test_a_cascade_repeats_without_effect(world: World) -> None:
    """The cleanup starts once, whatever became of it."""
    start(world)
    spawn(world, ROOT, "c", TARGET)
    settle(world, ROOT, CANCELED)
    world.submit(Cascade(id=ROOT), 1100)
    assert not world.decide(Cascade(id=ROOT), 1200).writes
    settle(world, cleanup_id(ROOT))
    assert not world.decide(Cascade(id=ROOT), 1300).writes


def test_no_cleanup_without_a_target(world: World) -> None:
    """Nothing could run it."""
    tags = {**EXTERNAL, "resonate_web:on_cancel": "refund@1"}
    world.submit(rq.PromiseCreate(id="x", timeout_at=FAR, tags=tags), 1000)
    settle(world, "x", CANCELED)
    assert not world.decide(Cascade(id="x"), 1100).writes


def test_the_id_of_a_cleanup_follows_from_its_root() -> None:
    """It names the origin, differs per run and does not grow."""
    ids = [cleanup_id(root) for root in ("a", "a:1", "a:2", "b")]
    assert [id.partition(":")[0] for id in ids] == ["a", "a", "a", "b"]
    assert len(set(ids)) == 4
    assert {len(id.partition(":d")[2]) for id in ids} == {16}


@pytest.mark.parametrize("data", [None, "", "%%%", "bm90IGpzb24=", base64.b64encode(b"[1]").decode()])
def test_a_foreign_payload_still_gets_its_cleanup(data: str | None) -> None:
    """It then starts without arguments."""
    expected = {"func": "refund", "args": [], "kwargs": {}, "version": 7}
    assert decoded(call(Value(data=data), "refund@7")) == expected


@pytest.mark.parametrize(("workflow", "func", "version"), [("a@b@2", "a@b", 2), ("plain", "plain", 1)])
def test_the_name_of_a_cleanup_ends_at_the_last_at(workflow: str, func: str, version: int) -> None:
    """A missing version is 1; headers travel along."""
    value = call(Value(data=payload(args=[1]).data, headers={"a": "b"}), workflow)
    assert value.headers == {"a": "b"}
    assert decoded(value) == {"args": [1], "func": func, "version": version}
