"""The description of the routes: complete, valid, and true."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from resonate_web.config import Settings
from resonate_web.gateway.messages import Request
from resonate_web.gateway.openapi import OPERATIONS, description
from resonate_web.gateway.openapi_schemas import SCHEMAS
from resonate_web.gateway.routes import ROUTES, Gateway
from resonate_web.resonate import Options, Resonate


def asks(ctx):
    return (yield (yield ctx.approval("boss", summary="Well?")))


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    settings = Settings(store="memory://", status_access="public", openapi=True, prefix="/durable")
    core = Resonate(settings)
    core.register(asks)
    yield Gateway(core, secrets=lambda: ["secret"])
    core.close()


def get(gateway: Gateway, path: str) -> object:
    flow = gateway.handle(Request(method="GET", path=path))
    assert flow is not None
    response = gateway.resonate.on_thread.perform(flow)
    assert isinstance(response.body, bytes)
    assert response.status == 200
    return json.loads(response.body)


def test_every_route_is_described() -> None:
    """Each method of each route has its description, and nothing else has one."""
    assert set(OPERATIONS) == {(route.name, method) for route in ROUTES for method in route.methods}


def test_the_description_is_valid(gateway: Gateway) -> None:
    """What is served is OpenAPI 3.1, below the prefix."""
    document = get(gateway, "/durable/resonate/openapi.json")
    validate(document)  # type: ignore[arg-type]
    assert document == json.loads(json.dumps(description(ROUTES, "/durable", ["/"])))
    assert "/durable/status/{id}" in document["paths"]  # type: ignore[index]


def test_it_is_served_when_it_is_enabled() -> None:
    """Nobody is told about routes that was not meant to be."""
    core = Resonate(Settings(store="memory://"))
    flow = Gateway(core).handle(Request(method="GET", path="/resonate/openapi.json"))
    assert flow is not None
    assert core.on_thread.perform(flow).status == 404


def test_documents_are_as_described(gateway: Gateway) -> None:
    """A real status document follows its schema."""
    flow = gateway.start(Request(method="POST", path="/"), "a", asks, (), {}, Options())
    gateway.resonate.on_thread.perform(flow)
    schema = {"$ref": "#/components/schemas/Status", "components": {"schemas": SCHEMAS}}
    Draft202012Validator(schema).validate(get(gateway, "/durable/status/a"))
