"""Every adapter answers alike: one list of cases on real servers of each, and one transcript for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resonate_web.testing.http_cases import CASES, Case, variant_of
from resonate_web.testing.http_driver import Driver, Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TRANSCRIPTS = Path(__file__).parent / "transcripts"


def test_every_adapter_answers_alike(case: Case, driver: Driver, served: Any, transcript: Any) -> None:
    """Each case holds for each adapter, with the very bytes of all others."""
    variant = variant_of(case)
    server, folder = served(driver, variant)
    site = Site(server, variant, folder, case.__name__)
    case(site)
    transcript(case.__name__, site.transcript.text)


def test_every_transcript_is_of_a_case() -> None:
    """No transcript is left behind by a case that was renamed, and there are as many as the case list is long."""
    assert {path.stem for path in TRANSCRIPTS.glob("*.txt")} == {case.__name__ for case in CASES}
    assert len(CASES) == len({case.__name__ for case in CASES}) >= 60
