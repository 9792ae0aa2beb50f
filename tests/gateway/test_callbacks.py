"""Machines that settle promises: signatures, what may be settled, and values that are held against a schema."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from resonate_web import ConfigError
from resonate_web.gateway.routes import Gateway
from resonate_web.protocol.records import PromiseState
from resonate_web.resonate import Resonate
from resonate_web.testing.simulation import Simulation, settings_for_tests
from resonate_web.testing.visitor import Reply, Visitor
from resonate_web.workflow.schemas import checked, mistakes

OLD = "whsec_" + base64.b64encode(b"an older key that still verifies").decode()
KEY = base64.b64encode(b"the key with which senders sign now").decode()
SCHEMA = {
    "type": "object",
    "properties": {"parcel": {"type": "string"}, "weights": {"type": "array", "items": {"type": "number"}}},
    "required": ["parcel"],
}


def order(ctx: Any) -> Any:
    shipped = yield ctx.promise("shipped")
    weighed = yield ctx.promise("weighed", schema=SCHEMA)
    approval = yield ctx.approval("manager")
    yield ctx.begin_rpc("elsewhere")
    yield ctx.begin_run(nested)
    yield ctx.all(shipped, weighed, approval)


def nested(ctx: Any) -> Any:
    yield (yield ctx.promise("inner"))


class Machine:
    """A sender, and the process that it sends to."""

    def __init__(self, *keys: str, run: str = "order/42") -> None:
        self.simulation = Simulation()
        self.client: Resonate = self.simulation.client(settings=settings_for_tests(webhook_keys=keys))
        self.client.register(order)
        self.client.register(nested)
        self.visitor = Visitor(Gateway(self.client))
        self.client.begin_run(run, order)
        self.simulation.run_until_idle()

    def send(
        self, id: str, action: str, document: object = None, *, key: str = KEY, late_s: int = 0, **changed: str
    ) -> Reply:
        """Send a signed message; `changed` are header fields that are not as they should be."""
        raw = b"" if document is None else json.dumps(document).encode()
        sent = self.client.now() // 1000 - late_s
        name = changed.get("webhook_id", f"{id}:{action}")
        signed = Webhook(key).sign(name, datetime.fromtimestamp(sent, UTC), raw.decode())
        fields = {"webhook_timestamp": str(sent), "webhook_signature": signed, **changed}
        fields["webhook_id"] = name.encode().decode("latin-1")
        path = f"/promises/{id.replace('%', '%25').replace('?', '%3F').replace('#', '%23')}/{action}"
        return self.visitor.ask("POST", path, raw, **fields)


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(OLD, KEY)
    yield made
    made.simulation.close()


def test_a_machine_resolves_rejects_and_cancels(machine: Machine) -> None:
    """200 with the promise's state; the workflow gets the value, the error, the cancel."""
    first = machine.send("order/42:@shipped", "resolve", {"value": {"parcel": "1Z"}})
    assert (first.status, first.json["id"], first.json["state"]) == (200, "order/42:@shipped", "resolved")
    promises = machine.client.promises
    assert machine.client.codec.outcome(promises.get("order/42:@shipped")) == {"parcel": "1Z"}
    assert machine.send("order/42:@weighed", "reject", {"error": "no scales"}).json["state"] == "rejected"
    with pytest.raises(Exception, match="no scales"):
        machine.client.codec.outcome(promises.get("order/42:@weighed"))
    inner = next(p.id for p in machine.client.tree("order/42") if p.id.endswith("@inner"))
    assert machine.send(inner, "cancel").json["state"] == "rejected_canceled"


@pytest.mark.parametrize(
    ("action", "document", "other"),
    [
        ("resolve", {"value": [1, None]}, {"value": [1]}),
        ("reject", {"error": "a"}, {"error": "b"}),
        ("cancel", None, None),
    ],
)
def test_the_same_again_is_200_and_another_outcome_409(
    machine: Machine, action: str, document: Any, other: Any
) -> None:
    """Senders repeat themselves; the first settlement stands."""
    id = "order/42:@shipped"
    answers = [machine.send(id, action, document) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].json == answers[1].json
    if other is not None:
        assert machine.send(id, action, other).status == 409
    opposite, said = ("reject", {"error": "no"}) if action == "resolve" else ("resolve", {"value": 1})
    late = machine.send(id, opposite, said)
    assert (late.status, late.json["state"]) == (409, answers[0].json["state"])


def test_only_promises_of_workflows_are_settled(machine: Machine) -> None:
    """Runs, children that run, approvals, entries of their ledgers, plain promises, keys: one 404."""
    client = machine.client
    client.promises.create("plain")
    client.approvals.revoke("order/42:@manager")
    children = [p.id for p in client.tree("order/42") if not p.id.endswith(("@shipped", "@weighed", "@inner"))]
    assert {"order/42", "order/42:@manager", "order/42:@manager.@1"} <= set(children)
    ids = [*children, "plain", "~key", "~key:@x", "order/42:@nothing", "", ":"]
    answers = [machine.send(id, "resolve", {"value": 1}) for id in ids]
    assert {(answer.status, answer.body) for answer in answers} == {(404, answers[0].body)}


def test_without_a_key_there_is_nothing() -> None:
    """The routes are 404 until RESONATE_WEBHOOK_KEYS is set."""
    machine = Machine()
    for action in ("resolve", "reject", "cancel"):
        assert machine.send("order/42:@shipped", action, {"value": 1}).status == 404
    machine.simulation.close()


@pytest.mark.parametrize(
    "changed",
    [
        {"key": base64.b64encode(b"a key that nobody knows here").decode()},
        {"late_s": 301},
        {"late_s": -301},
        {"webhook_id": "order/42:@weighed:resolve"},
        {"webhook_id": "order/42:@shipped:reject"},
        {"webhook_id": "order/42:@shipped"},
        {"webhook_id": ""},
        {"webhook_signature": ""},
        {"webhook_signature": "v1"},
        {"webhook_signature": "v1,"},
        {"webhook_signature": "v1,\xe9 v1,== v2"},
        {"webhook_timestamp": ""},
        {"webhook_timestamp": "now"},
        {"webhook_timestamp": "1e9"},
        {"webhook_timestamp": "9" * 5000},
        {"webhook_timestamp": "-1"},
    ],
)
def test_what_is_not_signed_is_401(machine: Machine, changed: dict[str, Any]) -> None:
    """Another key, another message, too old, too new, no signature: refused, and nothing is settled."""
    answer = machine.send("order/42:@shipped", "resolve", {"value": 1}, **changed)
    assert (answer.status, answer.json["type"].rpartition(":")[2]) == (401, "not-signed")
    assert machine.client.record("order/42:@shipped").state is PromiseState.PENDING


def test_every_key_verifies_and_the_time_is_ours(machine: Machine) -> None:
    """An older key still opens; the clock of the store counts, not that of the machine."""
    machine.simulation.clock.step(400 * 24 * 3600 * 1000)
    assert machine.send("order/42:@shipped", "resolve", {"value": 1}, key=OLD, late_s=299).status == 200
    now = datetime.fromtimestamp(machine.client.now() // 1000, UTC)
    several = f"v1,AAAA {Webhook(KEY).sign('order/42:@weighed:cancel', now, '')}"
    assert machine.send("order/42:@weighed", "cancel", webhook_signature=several).status == 200


def test_a_changed_body_is_not_signed(machine: Machine) -> None:
    """The signature covers the value."""
    sent = machine.client.now() // 1000
    signature = Webhook(KEY).sign("order/42:@shipped:resolve", datetime.fromtimestamp(sent, UTC), '{"value":1}')
    fields = {"webhook_id": "order/42:@shipped:resolve", "webhook_timestamp": str(sent), "webhook_signature": signature}
    for body, status in ((b'{"value":2}', 401), (b'{"value":1}\xff', 401), (b'{"value":1}', 200)):
        assert machine.visitor.ask("POST", "/promises/order/42:@shipped/resolve", body, **fields).status == status


def test_values_are_held_against_the_schema(machine: Machine) -> None:
    """422 says where and why; a value that fits is taken."""
    wrong = machine.send("order/42:@weighed", "resolve", {"value": {"weights": [1, "heavy"]}})
    assert (wrong.status, wrong.json["type"].rpartition(":")[2]) == (422, "invalid-value")
    assert [mistake["where"] for mistake in wrong.json["errors"]] == ["", "/weights/1"]
    assert "'parcel' is a required property" in wrong.json["detail"]
    assert machine.send("order/42:@weighed", "resolve", {"value": None}).status == 422
    assert machine.send("order/42:@weighed", "resolve", {"value": {"parcel": "1Z"}}).status == 200


@pytest.mark.parametrize(
    ("action", "document"),
    [
        ("resolve", {}), ("resolve", []), ("resolve", "x"), ("reject", {}), ("reject", {"error": 1}),
        ("reject", {"error": "x" * 2001}), ("resolve", {"value": "\ud800"}), ("resolve", {"value": float("inf")}),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_400(machine: Machine, action: str, document: object) -> None:
    """Signed, and yet no message of ours."""
    assert machine.send("order/42:@shipped", action, document).status == 400


def test_a_dict_of_the_codecs_own_shape_is_data(machine: Machine) -> None:
    """Nobody makes Python objects from outside."""
    value = {"__type": "bytes", "value": "AAAA"}
    assert machine.send("order/42:@shipped", "resolve", {"value": value}).status == 200
    assert machine.client.codec.outcome(machine.client.promises.get("order/42:@shipped")) == value


@pytest.mark.parametrize("run", ["a/b c", "50%25", "ü/日本", "a?b#c;d", "x" * 200])
def test_odd_ids_can_be_settled(run: str) -> None:
    """Whatever the run is called; the id in the header is UTF-8."""
    machine = Machine(KEY, run=run)
    assert machine.send(f"{run}:@shipped", "resolve", {"value": 1}).status == 200
    machine.simulation.close()


@pytest.mark.parametrize("keys", [("",), ("whsec_",), ("not base64 é",)])
def test_a_key_that_is_none_is_found_at_mount(keys: tuple[str, ...]) -> None:
    """And the error does not show it."""
    client = Simulation().client(settings=settings_for_tests(webhook_keys=keys))
    with pytest.raises(ConfigError, match="RESONATE_WEBHOOK_KEYS") as raised:
        Gateway(client)
    assert "base64 é" not in str(raised.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "thing"},
        {"properties": []},
        {"minimum": float("nan")},
        [1],
        "x",
        {"a": {1}},
        {"$ref": "http://127.0.0.1:9/order.json"},
        {"properties": {"parcel": {"not": {"$ref": "#/$defs/parcel"}}}},
    ],
)
def test_a_bad_schema_is_an_error_of_the_workflow(schema: Any) -> None:
    """It says so where the promise is made, not when the callback comes."""

    def hopeful(ctx: Any) -> Any:
        yield (yield ctx.promise("x", schema=schema))

    simulation = Simulation()
    client = simulation.client()
    client.register(hopeful)
    handle = client.begin_run("a", hopeful)
    simulation.run_until_idle()
    with pytest.raises((ValueError, TypeError), match="schema"):
        handle.result()
    simulation.close()


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"multipleOf": 0.1}, {"$ref": "#/examples/0", "examples": [{"$ref": "#/nowhere"}]}]
)
def test_a_schema_that_cannot_be_applied_refuses_the_value(schema: Any) -> None:
    """A schema without an end, a number beyond floats: the sender gets an answer, not a fault."""
    assert [mistake["where"] for mistake in mistakes(checked(schema), 10**400)] == [""]


def test_references_within_a_schema_are_followed() -> None:
    """To definitions, to anchors, to itself, and to what JSON Schema defines."""
    schema = {
        "$defs": {"part": {"$anchor": "part", "type": "integer"}},
        "properties": {
            "first": {"$ref": "#/$defs/part"},
            "second": {"$ref": "#part"},
            "inner": {"$ref": "#"},
            "schema": {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        },
    }
    value = {"first": 1, "second": "x", "inner": {"first": "x"}, "schema": {"type": 1}}
    assert {mistake["where"] for mistake in mistakes(checked(schema), value)} == {
        "/inner/first",
        "/schema/type",
        "/second",
    }


@pytest.fixture(scope="module")
def kept() -> Iterator[Machine]:
    made = Machine(KEY)
    yield made
    made.simulation.close()


@given(id=st.text(max_size=60), signature=st.text(max_size=60), body=st.binary(max_size=60))
def test_nothing_that_is_sent_is_a_fault(kept: Machine, id: str, signature: str, body: bytes) -> None:
    """Any id, signature and body: refused as what it is."""
    sent = str(kept.client.now() // 1000)
    fields = {"webhook_id": id, "webhook_signature": signature, "webhook_timestamp": sent}
    answer = kept.visitor.ask("POST", "/promises/order/42:@shipped/resolve", body, **fields)
    assert answer.status == 401
