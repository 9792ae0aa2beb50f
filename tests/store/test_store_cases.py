"""The case kit on every store."""

import pytest

from resonate_web.config import Settings
from resonate_web.store.open import open_store
from resonate_web.testing.store_cases import CASES


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/r.db"}
    store = open_store(Settings(store=urls[request.param], sqlite_synchronous="NORMAL"))
    yield store
    store.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_store_behaves_alike(case, store):
    """Each case holds on each store."""
    case(store)
