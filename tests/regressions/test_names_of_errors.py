"""Exceptions cross the boundary by class name, so a name stands for one class."""

from __future__ import annotations

import pytest

from resonate_web import AlreadyRegistered
from resonate_web.workflow.codec import Codec


def make(name: str) -> type[Exception]:
    """Return a new exception class."""
    return type(name, (Exception,), {})


def test_two_classes_of_one_name_cannot_both_be_registered() -> None:
    """The second of two classes with one name is refused; the same class again, or one of Python's own, is not."""
    codec, first = Codec(), make("OutOfStock")
    codec.register_error(first)
    codec.register_error(first)
    codec.register_error(make("TimeoutError"))
    with pytest.raises(AlreadyRegistered, match="OutOfStock"):
        codec.register_error(make("OutOfStock"))
