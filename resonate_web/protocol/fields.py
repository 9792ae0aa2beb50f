"""Records and their fields as JSON values, in both directions.

Reading is lenient about what is absent (absent, null and empty are one) and strict about types; unknown
keys are ignored. Writing omits what is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from resonate_web.protocol.records import (
    EMPTY,
    Promise,
    PromiseState,
    Schedule,
    Task,
    TaskState,
    Value,
)

State = TypeVar("State", bound=StrEnum)
# Any: a JSON value before its type was checked.
Json = dict[str, Any]


class Malformed(Exception):
    """A JSON value does not have the shape that the protocol asks for."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object that is read field by field; every method raises `Malformed`."""

    data: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Return a string."""
        value = self.data.get(name)
        if not isinstance(value, str):
            raise Malformed(f"{name} must be a string")
        return _unicode(value, name)

    def text_or_none(self, name: str) -> str | None:
        """Return a string, None when it is absent or null."""
        return None if self.data.get(name) is None else self.text(name)

    def integer(self, name: str) -> int:
        """Return an integer."""
        value = self.data.get(name)
        if type(value) is not int:
            raise Malformed(f"{name} must be an integer")
        return value

    def integer_or_none(self, name: str) -> int | None:
        """Return an integer, None when it is absent or null."""
        return None if self.data.get(name) is None else self.integer(name)

    def state(self, name: str, states: type[State]) -> State:
        """Return a state by its word on the wire."""
        word = self.text(name)
        try:
            return states(word)
        except ValueError:
            raise Malformed(f"{name} must be one of {', '.join(states)}") from None

    def state_or_none(self, name: str, states: type[State]) -> State | None:
        """Return a state, None when it is absent or null."""
        return None if self.data.get(name) is None else self.state(name, states)

    def object(self, name: str) -> Fields:
        """Return a nested object."""
        return as_fields(self.data.get(name), name)

    def objects(self, name: str) -> list[Fields]:
        """Return a list of nested objects."""
        values = self.data.get(name)
        if not isinstance(values, list):
            raise Malformed(f"{name} must be a list")
        return [as_fields(value, name) for value in values]

    def value(self, name: str) -> Value:
        """Return a payload, the empty one when it is absent or null."""
        if self.data.get(name) is None:
            return EMPTY
        fields = self.object(name)
        data, headers = fields.text_or_none("data"), fields.texts("headers")
        return EMPTY if data is None and not headers else Value(data=data, headers=headers or None)

    def texts(self, name: str) -> dict[str, str]:
        """Return an object of strings, the empty one when it is absent or null."""
        if self.data.get(name) is None:
            return {}
        texts: dict[str, str] = {}
        for key, value in self.object(name).data.items():
            if not isinstance(value, str):
                raise Malformed(f"{name} must hold strings only")
            texts[_unicode(key, name)] = _unicode(value, name)
        return texts


def as_fields(value: object, name: str) -> Fields:
    """Return a JSON object's fields.

    Raises: Malformed when it is anything else.
    """
    if not isinstance(value, dict):
        raise Malformed(f"{name} must be an object")
    return Fields(value)


def read_promise(fields: Fields) -> Promise:
    """Return the promise of a JSON object."""
    return Promise(
        id=fields.text("id"),
        state=fields.state("state", PromiseState),
        param=fields.value("param"),
        value=fields.value("value"),
        tags=fields.texts("tags"),
        timeout_at=fields.integer("timeoutAt"),
        created_at=fields.integer("createdAt"),
        settled_at=fields.integer_or_none("settledAt"),
    )


def read_task(fields: Fields) -> Task:
    """Return the task of a JSON object; some servers list the resumes instead of counting them."""
    resumes = fields.data.get("resumes") or 0
    if not isinstance(resumes, int | list):
        raise Malformed("resumes must be a number")
    return Task(
        id=fields.text("id"),
        state=fields.state("state", TaskState),
        version=fields.integer("version"),
        resumes=len(resumes) if isinstance(resumes, list) else int(resumes),
        ttl=fields.integer_or_none("ttl"),
        pid=fields.text_or_none("pid"),
    )


def read_schedule(fields: Fields) -> Schedule:
    """Return the schedule of a JSON object."""
    return Schedule(
        id=fields.text("id"),
        cron=fields.text("cron"),
        promise_id=fields.text("promiseId"),
        promise_timeout=fields.integer("promiseTimeout"),
        promise_param=fields.value("promiseParam"),
        promise_tags=fields.texts("promiseTags"),
        created_at=fields.integer("createdAt"),
        next_run_at=fields.integer("nextRunAt"),
        last_run_at=fields.integer_or_none("lastRunAt"),
    )


def write_value(value: Value) -> Json:
    """Return a payload as JSON, `{}` when it is empty."""
    return present(headers=dict(value.headers) if value.headers else None, data=value.data)


def write_promise(promise: Promise) -> Json:
    """Return a promise as JSON."""
    return present(
        id=promise.id,
        state=promise.state.value,
        param=write_value(promise.param),
        value=write_value(promise.value),
        tags=dict(promise.tags),
        timeoutAt=promise.timeout_at,
        createdAt=promise.created_at,
        settledAt=promise.settled_at,
    )


def write_task(task: Task) -> Json:
    """Return a task as JSON."""
    return present(
        id=task.id,
        state=task.state.value,
        version=task.version,
        resumes=task.resumes,
        ttl=task.ttl,
        pid=task.pid,
    )


def write_schedule(schedule: Schedule) -> Json:
    """Return a schedule as JSON."""
    return present(
        id=schedule.id,
        cron=schedule.cron,
        promiseId=schedule.promise_id,
        promiseTimeout=schedule.promise_timeout,
        promiseParam=write_value(schedule.promise_param),
        promiseTags=dict(schedule.promise_tags),
        createdAt=schedule.created_at,
        nextRunAt=schedule.next_run_at,
        lastRunAt=schedule.last_run_at,
    )


def present(**fields: Any) -> Json:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _unicode(text: str, name: str) -> str:
    # JSON can spell half a surrogate pair, which no store can keep.
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Malformed(f"{name} must be Unicode text") from None
    return text
