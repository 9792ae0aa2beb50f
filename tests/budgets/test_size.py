"""What a checkpoint takes on the disk."""

import json

import pytest

STEPS = 2_000
BYTES = 400


@pytest.mark.slow
def test_a_step_is_stored_in_400_bytes_and_its_payload(counted, tmp_path):
    """The file grows by at most 400 bytes for each step, indexes and page overhead included, and its payload."""
    payload = {"i": 1234, "reservation": "r-o1234", "qty": 2}

    def step(document):
        return document

    def loop(ctx):
        for _ in range(STEPS):
            yield ctx.run(step, payload)

    client = counted()
    client.resonate.register(loop)
    client.resonate.run("loop", loop)
    client.resonate.close()  # the log is merged into the file
    size = (tmp_path / "resonate.db").stat().st_size
    given = len(json.dumps([[payload], {}])) + len(json.dumps(payload))
    assert size / STEPS <= BYTES + given
