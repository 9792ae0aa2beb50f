"""One driver per adapter: its application on a real server, as long as the tests of a process last.

A new adapter is one more line in DRIVERS. WRITE_TRANSCRIPTS=1 writes the transcripts instead of comparing them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from resonate_web.testing import http_driver
from resonate_web.testing.http_driver import PREFIXES, ROOTS, Driver, Variant, environment
from resonate_web.testing.servers import Server

HERE = Path(__file__).parent
KIT = Path(http_driver.__file__).parent
pytest.register_assert_rewrite(*(f"resonate_web.testing.{path.stem}" for path in KIT.glob("http_cases*.py")))

GUNICORN = ("gunicorn", "-c", "gunicorn.conf.py")
UVICORN = ("uvicorn", "--port", "0", "--no-access-log")


@dataclass(frozen=True, kw_only=True)
class Command:
    """An application that a command line serves."""

    name: str
    command: tuple[str, ...]
    mounts: bool = False
    """Whether the server mounts the application where SCRIPT_NAME says; else the application does it itself."""
    lacks: frozenset[str] = frozenset()

    def serve(self, folder: Path, variant: Variant) -> Server:
        """Start the server, with the store and the gates in `folder`."""
        told = {
            **environment(folder, variant),
            "CASES_PREFIX": PREFIXES[variant],
            "CASES_ROOT": ROOTS[variant],
            "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        }
        if self.mounts and ROOTS[variant]:
            told["SCRIPT_NAME"] = ROOTS[variant]
        return Server(self.command, folder=HERE, log=folder / "server.log", environ=told)


CHUNKED = frozenset({"a_small_body_in_chunks_starts", "large_bodies_in_chunks_are_refused"})
"""Under WSGI Django reads no body whose length is not told."""

DRIVERS = (
    Command(name="flask", command=(*GUNICORN, "-w", "2", "site_flask:app"), mounts=True),
    Command(name="django-wsgi", command=(*GUNICORN, "site_django:wsgi"), mounts=True, lacks=CHUNKED),
    Command(name="django-asgi", command=(*UVICORN, "--lifespan", "off", "site_django:asgi")),
    Command(name="starlette", command=(*UVICORN, "site_starlette:app")),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask every driver, each in a process of its own if there are several: then each server is started once."""
    if "driver" not in metafunc.fixturenames:
        return
    if "case" not in metafunc.fixturenames:
        alone = [pytest.param(d, id=d.name, marks=pytest.mark.xdist_group(d.name)) for d in DRIVERS]
        metafunc.parametrize("driver", alone)
        return
    from resonate_web.testing.http_cases import CASES  # not before its asserts are to tell what they compared

    asked = [
        pytest.param(driver, case, id=f"{driver.name}-{case.__name__}", marks=pytest.mark.xdist_group(driver.name))
        for driver in DRIVERS
        for case in CASES
        if case.__name__ not in driver.lacks
    ]
    metafunc.parametrize(("driver", "case"), asked)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Driver, Variant], tuple[Server, Path]]]:
    """Return how to get a server of a driver; both are started when one is asked for first."""
    found: dict[tuple[str, Variant], tuple[Server, Path]] = {}

    def serve(driver: Driver, variant: Variant) -> tuple[Server, Path]:
        for each in ROOTS if (driver.name, variant) not in found else ():
            folder = tmp_path_factory.mktemp(f"{driver.name}-{each}")
            found[driver.name, each] = (driver.serve(folder, each), folder)
        return found[driver.name, variant]

    yield serve
    for server, _ in found.values():
        server.kill()


@pytest.fixture
def transcript() -> Callable[[str, str], None]:
    """Return how to compare a transcript with the one that is checked in."""

    def compare(case: str, told: str) -> None:
        path = HERE / "transcripts" / f"{case}.txt"
        if os.environ.get("WRITE_TRANSCRIPTS"):
            path.write_text(told)
        assert told == path.read_text()

    return compare
