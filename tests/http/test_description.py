"""The OpenAPI description is true: what it allows is answered as it says, by every adapter."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from resonate_web.gateway.routes import ROUTES
from resonate_web.testing.http_driver import Driver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

EXAMPLES = 10
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_answers_are_as_described(driver: Driver, served: Any) -> None:
    """Every operation, with whatever the description allows: known statuses, types and documents, and no 500."""
    server, _ = served(driver, "plain")
    url, status = server.url, server.ask("POST", "/waits", {"id": "described"}).headers["Location"]
    schema = schemathesis.openapi.from_url(f"{url}/resonate/openapi.json")
    link = urlsplit(status)
    genuine = {"id": unquote(link.path).removeprefix("/status/")}, {"sig": parse_qs(link.query)["sig"][0]}
    seen = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        seen.append(operation.label)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(), known=st.booleans())
        def ask(case: Any, known: bool) -> None:
            if known and case.path_parameters and "id" in case.path_parameters:
                case.path_parameters, case.query = dict(genuine[0]), {**(case.query or {}), **genuine[1]}
            if case.headers:
                case.headers.pop("Prefer", None)  # whoever waits gets the same, later
            case.call_and_validate(base_url=url, checks=CHECKS)

        ask()
    described = {route.name for route in ROUTES if route.name != "openapi"}  # where it came from is not asked again
    assert len(seen) == sum(len(route.methods) for route in ROUTES if route.name in described)
