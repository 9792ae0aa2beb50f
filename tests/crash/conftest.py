"""A shop in real processes: the orders example, served from a folder of its own for each test."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from resonate_web import Resonate
from resonate_web.config import Settings
from resonate_web.resonate.view import RunView
from resonate_web.testing.servers import Ledger, Server, until

EXAMPLE = Path(__file__).parents[2] / "example_projects/orders_flask"
SITE = Path(__file__).parent / "site"
BIND = ("-b", "127.0.0.1:0", "--no-control-socket")


@dataclass
class Shop:
    """One store and its ledger, and the servers on them."""

    folder: Path
    servers: list[Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.folder / "ledger")
        self.store = f"sqlite:///{self.folder / 'resonate.db'}"
        self.plan = self.folder / "plan"
        # Reads the store beside the servers, so that nothing has to be sent to them; it never executes anything.
        self.reader = Resonate(Settings(store=self.store, worker=False))

    def serve(self, *options: str, workers: int = 2, **environ: str) -> Server:
        """Start gunicorn on the example."""
        server = Server(
            ["gunicorn", "-c", "gunicorn.conf.py", "-w", str(workers), *BIND, *options, "crashing:app"],
            folder=EXAMPLE,
            log=self.folder / f"server-{len(self.servers)}.log",
            environ={
                "CRASH_PLAN": str(self.plan),
                "EFFECT_LEDGER": str(self.ledger.path),
                "PYTHONPATH": os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
                "RESONATE_STORE": self.store,
                **environ,
            },
        )
        self.servers.append(server)
        return server

    def view(self, run: str) -> RunView | None:
        """Return a run as it is stored."""
        return self.reader.view(run)

    def finished(self, run: str, seconds: float = 20.0) -> RunView:
        """Wait, sending nothing, until a run has ended; return it."""
        until(lambda: self.ended(run), seconds, f"the end of {run}, having {self.ledger.steps(run)},")
        found = self.view(run)
        assert found is not None
        return found

    def ended(self, run: str) -> bool:
        """Tell whether a run has ended."""
        found = self.view(run)
        return found is not None and found.done

    def close(self) -> None:
        """Leave no process behind."""
        for server in self.servers:
            server.kill()
        self.reader.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Return a shop; its servers are gone when the test ends."""
    made = Shop(tmp_path)
    yield made
    made.close()


@pytest.fixture
def order() -> Callable[..., dict[str, Any]]:
    """Return a maker of orders."""

    def make(id: str, qty: int = 2) -> dict[str, Any]:
        customer = {"id": "c-1", "email": "ada@example.com"}
        return {"id": id, "items": [{"sku": "pencils", "qty": qty, "price": 2299}], "customer": customer}

    return make


@pytest.fixture
def aged() -> Callable[[Path], None]:
    """Return how to make the files of a folder look an hour old."""

    def age(folder: Path) -> None:
        hour_ago = time.time() - 3600
        for path in folder.iterdir():
            os.utime(path, (hour_ago, hour_ago))

    return age
