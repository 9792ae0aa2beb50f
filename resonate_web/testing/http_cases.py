"""What the HTTP of every adapter must be, as functions that take a served application.

@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_http(case, my_server, folder):
    site = Site(my_server, variant_of(case), folder, case.__name__)
    case(site)
    assert site.transcript.text == Path(f"transcripts/{case.__name__}.txt").read_text()

Each case checks what it is about. Its transcript holds every answer it was told, byte for byte but for instants and
the like, so that two adapters with the same transcripts answer alike in what no case thought of.
"""

from __future__ import annotations

from collections.abc import Callable

from resonate_web.testing.http_cases_approvals import APPROVAL_CASES
from resonate_web.testing.http_cases_callbacks import CALLBACK_CASES
from resonate_web.testing.http_cases_decisions import DECISION_CASES
from resonate_web.testing.http_cases_idempotent import IDEMPOTENT_CASES
from resonate_web.testing.http_cases_ids import ID_CASES
from resonate_web.testing.http_cases_keys import KEY_CASES
from resonate_web.testing.http_cases_live import LIVE_CASES
from resonate_web.testing.http_cases_mounted import MOUNTED_CASES
from resonate_web.testing.http_cases_start import START_CASES
from resonate_web.testing.http_cases_status import STATUS_CASES
from resonate_web.testing.http_driver import Site, Variant

Case = Callable[[Site], None]

CASES: tuple[Case, ...] = (
    *START_CASES,
    *ID_CASES,
    *KEY_CASES,
    *STATUS_CASES,
    *LIVE_CASES,
    *APPROVAL_CASES,
    *DECISION_CASES,
    *CALLBACK_CASES,
    *IDEMPOTENT_CASES,
    *MOUNTED_CASES,
)


def variant_of(case: Case) -> Variant:
    """Return how the application of a case is served."""
    return "mounted" if case in MOUNTED_CASES else "plain"
