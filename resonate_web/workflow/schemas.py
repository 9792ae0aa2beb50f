"""JSON schemas of values that come from outside: checked when a promise is made, and when it is resolved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from resonate_web.errors import ConfigError
from resonate_web.protocol.records import Promise
from resonate_web.workflow.recorded import parameters

EXTRA = "pip install 'resonate-web[webhooks]'"

MOST_MISTAKES = 20
"""Mistakes that are told at once."""


def checked(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema as it is stored. Raises: ValueError saying where it is no JSON schema; ConfigError."""
    if not isinstance(schema, Mapping):
        raise TypeError(f"a schema is a dict, not {schema!r}")
    try:
        text = json.dumps(schema, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the schema is no JSON: {error}") from None
    wrong = _wrong(text)
    if wrong is not None:
        raise ValueError(wrong)
    return json.loads(text)  # type: ignore[no-any-return]


def schema_of(promise: Promise) -> Mapping[str, Any] | None:
    """Return the schema of a promise's value, None if it has none."""
    found = parameters(promise).get("schema")
    return found if isinstance(found, dict) else None


def mistakes(schema: Mapping[str, Any], value: Any) -> list[dict[str, str]]:
    """Return where (a JSON pointer) and why a value is not what a schema asks for. Raises: ConfigError."""
    from referencing.exceptions import Unresolvable

    found = _validator(json.dumps(schema, sort_keys=True)).iter_errors(value)
    try:
        told = [{"where": _pointer(error.absolute_path), "why": error.message[:500]} for error in found]
    except (OverflowError, RecursionError, Unresolvable):
        # A number beyond floats, a schema without an end, a reference in a place that `checked` does not know.
        return [{"where": "", "why": "the schema of the promise cannot be applied to this value"}]
    return sorted(told, key=lambda mistake: (mistake["where"], mistake["why"]))[:MOST_MISTAKES]


@lru_cache(maxsize=256)
def _wrong(schema: str) -> str | None:
    """Return what is wrong with a schema; a workflow that is replayed asks again and again."""
    jsonschema = _library()
    try:
        jsonschema.Draft202012Validator.check_schema(json.loads(schema))
    except jsonschema.SchemaError as error:
        return f"the schema is no JSON schema: {_pointer(error.absolute_path) or 'at its top'}: {error.message}"
    dangling = _dangling(json.loads(schema))
    return None if dangling is None else f"the schema refers to {dangling!r}, which is not in it; nothing is fetched"


def _dangling(schema: Mapping[str, Any]) -> str | None:
    """Return a reference that leads nowhere within the schema: no value could ever be checked against it."""
    from jsonschema_specifications import REGISTRY  # what the validator knows without fetching anything
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = DRAFT202012.create_resource(schema)
    left = [(root, REGISTRY.resolver_with_root(root))]
    while left:
        part, resolver = left.pop()
        if isinstance(part.contents, Mapping):
            for reference in (part.contents.get(key) for key in ("$ref", "$dynamicRef")):
                try:
                    _ = reference is None or resolver.lookup(reference)
                except Unresolvable:
                    return str(reference)
        left += [(inner, resolver.in_subresource(inner)) for inner in part.subresources()]
    return None


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    # Without a registry a reference to another address would be fetched.
    import referencing

    return _library().Draft202012Validator(json.loads(schema), registry=referencing.Registry())


def _library() -> Any:
    try:
        import jsonschema
    except ImportError:
        raise ConfigError(f"a promise with a schema needs the jsonschema package: {EXTRA}") from None
    return jsonschema


def _pointer(path: Any) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
