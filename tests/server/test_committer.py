"""Group commit: one leader, no batch forgotten, and a hand-over whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from resonate_web.protocol.requests import PromiseGet
from resonate_web.server import committer
from resonate_web.server.committer import Batch, Committer


def _batch(name: str, then: Callable[[Any], None] = lambda answers: None) -> Batch:
    return Batch((PromiseGet(id=name),), then)


def _names(group: Sequence[Batch]) -> list[str]:
    return [getattr(batch.requests[0], "id", "") for batch in group]


def test_a_lone_caller_commits_in_its_own_thread() -> None:
    """With `lead` and nobody else there, the group is one batch and nothing is handed over."""
    groups: list[list[str]] = []
    handed: list[Any] = []
    queue = Committer(lambda group: groups.append(_names(group)), handed.append)
    queue.submit([_batch("a")], lead=True)
    queue.submit([_batch("b"), _batch("c")], lead=True)
    assert groups == [["a"], ["b", "c"]]
    assert handed == []


def test_who_may_not_lead_hands_over() -> None:
    """Without `lead` the committer lane drains the queue; further submits join it."""
    groups: list[list[str]] = []
    handed: list[Callable[[], None]] = []
    queue = Committer(lambda group: groups.append(_names(group)), handed.append)
    queue.submit([_batch("a")], lead=False)
    queue.submit([_batch("b")], lead=True)
    assert groups == []
    assert len(handed) == 1
    handed.pop()()
    assert groups == [["a", "b"]]


def test_what_arrives_during_a_commit_is_the_next_group() -> None:
    """The leader commits one group; the rest is the lane's."""
    groups: list[list[str]] = []
    handed: list[Callable[[], None]] = []

    def commit(group: list[Batch]) -> None:
        groups.append(_names(group))
        if len(groups) == 1:
            queue.submit([_batch("b")], lead=True)
            queue.submit([_batch("c")], lead=True)

    queue = Committer(commit, handed.append)
    queue.submit([_batch("a")], lead=True)
    assert groups == [["a"]]
    handed.pop()()
    assert groups == [["a"], ["b", "c"]]
    queue.submit([_batch("d")], lead=True)
    assert groups[-1] == ["d"]


def test_groups_are_bounded() -> None:
    """More than the limit becomes several groups, in order."""
    sizes: list[int] = []
    handed: list[Callable[[], None]] = []
    queue = Committer(lambda group: sizes.append(len(group)), handed.append)
    queue.submit([_batch(str(n)) for n in range(committer.MAX_GROUP * 2 + 1)], lead=True)
    while handed:
        handed.pop()()
    assert sizes == [committer.MAX_GROUP, committer.MAX_GROUP, 1]


@pytest.mark.parametrize("lead", [True, False])
def test_a_leader_that_dies_hands_over(lead: bool) -> None:
    """Even an exit in the middle of a commit leaves nobody waiting behind it."""
    groups: list[list[str]] = []
    handed: list[Callable[[], None]] = []

    def commit(group: list[Batch]) -> None:
        groups.append(_names(group))
        if len(groups) == 1:
            queue.submit([_batch("b")], lead=True)
            raise SystemExit

    queue = Committer(commit, handed.append)

    def lead_or_drain() -> None:
        queue.submit([_batch("a")], lead=lead)
        handed.pop()()

    with pytest.raises(SystemExit):
        lead_or_drain()
    assert groups == [["a"]]
    handed.pop()()
    assert groups == [["a"], ["b"]]
    queue.submit([_batch("c")], lead=True)
    assert groups[-1] == ["c"]


def test_many_threads_lose_nothing() -> None:
    """Every batch of many threads is committed once, by one thread at a time."""
    done: list[str] = []
    inside = threading.Lock()

    def commit(group: list[Batch]) -> None:
        assert inside.acquire(blocking=False), "two leaders"
        done.extend(_names(group))
        for batch in group:
            batch.then([])
        inside.release()

    lanes: list[threading.Thread] = []

    def hand_over(work: Callable[[], None]) -> None:
        lanes.append(threading.Thread(target=work))
        lanes[-1].start()

    queue = Committer(commit, hand_over)

    def submit(thread: int) -> None:
        for n in range(200):
            answered = threading.Event()
            queue.submit([_batch(f"{thread}/{n}", lambda _, e=answered: e.set())], lead=n % 3 > 0)  # type: ignore[misc]
            assert answered.wait(10)

    threads = [threading.Thread(target=submit, args=(t,)) for t in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lane in lanes:
        lane.join()
    assert sorted(done) == sorted(f"{t}/{n}" for t in range(4) for n in range(200))
