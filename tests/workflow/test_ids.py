"""Ids: what callers may choose, and how children are counted."""

from __future__ import annotations

import pytest

from resonate_web.errors import InvalidId
from resonate_web.workflow import ids


@pytest.mark.parametrize("id", ["a", "order/42", "ü/x", "user@example.com", "a.b", "x" * 200, "名/🎉", "a b", "%2F"])
def test_good_root_ids_stay_as_they_are(id: str) -> None:
    """Any printable text without reserved characters is an id."""
    assert ids.root_id(id) == id


def test_root_ids_are_normalised() -> None:
    """Two spellings of one text are one id, counted after normalisation."""
    assert ids.root_id("e\u0301") == "é"
    assert len(ids.root_id("e\u0301" * 200)) == 200


@pytest.mark.parametrize(
    "id",
    ["", "x" * 201, "a:b", "~a", "a~2", "a\n", "\x7f", "\0", "\ud800", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.",
     7, None, b"a"],
)  # fmt: skip
def test_bad_root_ids_name_the_rule(id: object) -> None:
    """Reserved characters, control characters, wrong lengths, bad segments and other types raise InvalidId."""
    with pytest.raises(InvalidId):
        ids.root_id(id)  # type: ignore[arg-type]


def test_children_are_counted_below_their_parent() -> None:
    """The first generation follows a colon, later ones a dot."""
    assert ids.child_prefix("root") + "1" == "root:1"
    assert ids.child_prefix("root:1") + "2" == "root:1.2"
    assert ids.child_prefix("a.b/c") + "1" == "a.b/c:1"
    assert ids.origin("a.b/c:1.2.3") == "a.b/c"


@pytest.mark.parametrize("name", ["shipped", "A", "a_b-c9", "x" * 64])
def test_good_names(name: str) -> None:
    """A letter and up to 63 letters, digits, `_` or `-` name a promise."""
    assert ids.named_id("root", name) == f"root:@{name}"


@pytest.mark.parametrize("name", ["", "1a", "a.b", "a b", "a\n", "é", "x" * 65, "@a", "-a"])
def test_bad_names(name: str) -> None:
    """Everything else is refused."""
    with pytest.raises(InvalidId):
        ids.named_id("root", name)


def test_detached_ids_do_not_grow() -> None:
    """A chain of detached runs keeps ids of one length, each its own."""
    seen, id = set(), "root:1"
    for _ in range(50):
        id = ids.detached_id(f"{id}.1")
        seen.add(id)
        assert len(id) == len("root:d") + 16
    assert len(seen) == 50


def test_retries_are_numbered() -> None:
    """A failed run's tries are `~2`, `~3`, ..."""
    assert ids.newer_id("order/42") == "order/42~2"
    assert ids.newer_id("order/42~9") == "order/42~10"
