"""Values and errors across the boundary: what was written is what is read, or a clear error."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonate_web.errors import ApplicationError, Canceled, TimedOut, Unserializable
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Value
from resonate_web.workflow.codec import Codec, error_document, from_data, to_data
from resonate_web.workflow.decisions import Decision, Vote

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
# The reserved words appear often, so that a user's own dict of the reserved shape is tried.
KEYS = st.sampled_from(["__type", "value", "name", "dict"]) | TEXT
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.sampled_from(["datetime", "dict", "error", "decimal"])
    | st.datetimes(timezones=st.sampled_from([None, UTC]))
    | st.dates()
    | st.timedeltas(min_value=timedelta(days=-9999), max_value=timedelta(days=9999))
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary()
    | st.builds(Vote, by=st.none() | TEXT, decision=st.sampled_from(["approve", "reject"]), at=st.integers())
    | st.builds(
        Decision,
        outcome=st.sampled_from(["approved", "rejected", "timedout", "revoked"]),
        comment=TEXT,
        fields=st.dictionaries(KEYS, TEXT, max_size=3),
        votes=st.lists(st.builds(Vote, decision=st.just("reject")), max_size=2).map(tuple),
    )
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


@given(VALUES)
def test_what_is_written_is_what_is_read(value: Any) -> None:
    """Every JSON value and every registered type comes back equal, whatever its own dicts look like."""
    codec = Codec()
    assert codec.decode(codec.encode(value)) == value


@given(VALUES)
def test_the_text_is_canonical(value: Any) -> None:
    """A value that was read back is written as the same text: fingerprints do not depend on the copy."""
    codec = Codec()
    text = codec.dumps(value)
    assert codec.dumps(codec.loads(text)) == text


@pytest.mark.parametrize(
    "value",
    [
        {"__type": "datetime", "value": "not a date"},
        {"__type": "resonate:decision", "value": {"decision": "maybe"}},
        {"__type": "resonate:vote", "value": "approve"},
        {"__type": "dict", "value": {"__type": "dict", "value": []}},
        {"__type": ["a", "list"], "value": None},
        {"__type": {"__type": 1, "value": 2}, "value": {"__type": 3, "value": 4}},
        [{"a": {"__type": "unknown", "value": 1}}],
    ],
    ids=str,
)
def test_a_users_own_dict_of_the_reserved_shape_survives(value: Any) -> None:
    """A dict with exactly the keys `__type` and `value` is data like any other."""
    codec = Codec()
    assert codec.loads(codec.dumps(value)) == value


def test_a_registered_type_may_encode_to_the_reserved_shape() -> None:
    """What a registered encoder returns is escaped like a user's value."""

    class Money:
        def __init__(self, parts: Any) -> None:
            self.parts = parts

    codec = Codec()
    codec.register(Money, "money", lambda m: m.parts, Money)
    parts = {"__type": "decimal", "value": "x"}
    assert codec.loads(codec.dumps(Money(parts))).parts == parts


def test_tuples_and_keys_become_what_json_knows() -> None:
    """Tuples come back as lists and numbers as keys come back as text, in the first run as in a replay."""
    codec = Codec()
    assert codec.decode(codec.encode((1, (2, 3)))) == [1, [2, 3]]
    assert codec.decode(codec.encode({1: "a"})) == {"1": "a"}


def test_none_is_the_empty_payload() -> None:
    """A step that returns nothing stores no payload."""
    assert Codec().encode(None) == EMPTY
    assert Codec().decode(EMPTY) is None


class Opaque:
    def __repr__(self) -> str:
        raise RuntimeError("not even printable")


def _circular() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def _deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        {math.nan: 1},
        "\ud800",
        {"\udfff": 1},
        object(),
        Opaque(),
        {1, 2},
        {(1, 2): 3},
        {1: "a", "1": "b"},
        10**5000,
        lambda: None,
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_cannot_be_written_is_a_clear_error(value: Any) -> None:
    """NaN, lone surrogates, unknown types and impossible keys raise Unserializable, nothing else."""
    with pytest.raises(Unserializable):
        Codec().dumps(value)
    with pytest.raises(Unserializable):
        Codec().dumps({"deep": [value]})


@pytest.mark.parametrize("make", [_circular, _deep])
def test_what_has_no_end_is_a_clear_error(make: Any) -> None:
    """A value that contains itself, or is nested too deeply, raises Unserializable."""
    with pytest.raises(Unserializable):
        Codec().dumps(make())


def test_a_failing_encoder_is_named() -> None:
    """An encoder that raises makes the value unserialisable; its error is quoted."""

    class Broken: ...

    codec = Codec()
    codec.register(Broken, "broken", lambda b: 1 / 0, lambda b: b)
    with pytest.raises(Unserializable, match="division by zero"):
        codec.dumps([Broken()])


@pytest.mark.parametrize(
    "data",
    ["%%%", to_data("{"), to_data('{"__type":"nobody","value":1}'), to_data('{"__type":"date","value":"x"}'), "/w=="],
)
def test_a_payload_that_cannot_be_read_is_a_clear_error(data: str) -> None:
    """Broken base64, broken JSON, unknown and broken registered types raise Unserializable."""
    with pytest.raises(Unserializable):
        Codec().decode(Value(data=data))


def test_each_reading_is_a_copy() -> None:
    """Two readers of one value cannot disturb each other."""
    codec = Codec()
    stored = codec.encode({"items": [1]})
    codec.decode(stored)["items"].append(2)
    assert codec.decode(stored) == {"items": [1]}


def test_the_builtin_types() -> None:
    """Dates, durations, decimals, UUIDs and bytes are registered from the start."""
    values = [
        datetime(2024, 2, 29, 12, tzinfo=UTC),
        date(2024, 2, 29),
        timedelta(microseconds=1),
        Decimal("1.10"),
        UUID(int=7),
        b"\0\xff",
    ]
    codec = Codec()
    found = codec.decode(codec.encode(values))
    assert found == values
    assert [type(f) for f in found] == [type(v) for v in values]
    assert str(found[3]) == "1.10"


# Errors


class CardDeclined(Exception):
    pass


class Demanding(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


def _crossed(codec: Codec, error: BaseException) -> Exception:
    return codec.decode_error(codec.encode_error(error))


def test_a_registered_error_is_rebuilt() -> None:
    """A registered class comes back as itself with its message, and so do the usual built-in ones."""
    codec = Codec()
    codec.register_error(CardDeclined)
    for error in (CardDeclined("no funds"), ValueError("x"), KeyError("sku"), TimedOut("late")):
        back = _crossed(codec, error)
        assert type(back) is type(error)
        assert str(back) == str(error)


def test_an_unregistered_error_keeps_name_message_and_traceback() -> None:
    """Another class becomes ApplicationError, and stays the same through several runs."""
    codec = Codec()
    try:
        raise CardDeclined("no funds")
    except CardDeclined as raised:
        back = _crossed(codec, raised)
    assert isinstance(back, ApplicationError)
    assert (back.type_name, str(back)) == ("CardDeclined", "no funds")
    assert "test_an_unregistered_error" in (back.trace or "")
    again = _crossed(codec, back)
    assert isinstance(again, ApplicationError)
    assert (again.type_name, again.trace) == ("CardDeclined", back.trace)


def test_a_class_that_cannot_be_rebuilt_from_a_message_becomes_an_application_error() -> None:
    """A registered class whose constructor wants more than a message loses its class, nothing else."""
    codec = Codec()
    codec.register_error(Demanding)
    back = _crossed(codec, Demanding(7, "because"))
    assert isinstance(back, ApplicationError)
    assert (back.type_name, str(back)) == ("Demanding", "7: because")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("error", [Unprintable(), ValueError("\ud800"), RuntimeError("\0" * 10), Exception("é" * 9999)])
def test_any_error_can_be_stored(error: Exception) -> None:
    """Whatever an exception says or refuses to say, it can be stored and read."""
    back = _crossed(Codec(), error)
    str(back).encode()


@pytest.mark.parametrize("data", [None, "", "%%%", to_data("7"), to_data('"text"'), to_data('{"message":7}')])
def test_errors_of_others_are_read_as_far_as_they_go(data: str | None) -> None:
    """A rejection written by something else still becomes an error with some message."""
    back = Codec().decode_error(Value(data=data))
    assert isinstance(back, ApplicationError)
    assert error_document(Value(data=data))["name"] == "Exception"


def test_outcomes() -> None:
    """Each final state has its value or its error."""
    codec = Codec()

    def promise(state: PromiseState, value: Value = EMPTY) -> Promise:
        return Promise(id="p", state=state, param=EMPTY, value=value, tags={}, timeout_at=9, created_at=1, settled_at=2)

    assert codec.outcome(promise(PromiseState.RESOLVED, codec.encode([1]))) == [1]
    with pytest.raises(Canceled):
        codec.outcome(promise(PromiseState.CANCELED))
    with pytest.raises(TimedOut):
        codec.outcome(promise(PromiseState.TIMEDOUT))
    with pytest.raises(ValueError, match="why"):
        codec.outcome(promise(PromiseState.REJECTED, codec.encode_error(ValueError("why"))))


def test_data_is_base64_of_text() -> None:
    """The wire form is reversible for any text."""
    assert from_data(to_data("ä\0€")) == "ä\0€"
