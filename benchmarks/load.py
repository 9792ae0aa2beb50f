"""HTTP load from another process: wrk where it is installed, else threads of a Python process.

`python -m benchmarks.load PORT PATH SECONDS CONNECTIONS TAG` is that process; with a TAG it posts orders.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass

from benchmarks import processes
from benchmarks.measuring import quantile

CONNECTIONS = 32
_SCRIPT = processes.ROOT / "benchmarks" / "orders.lua"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of it: `good` answers are 2xx."""

    client: str
    seconds: float
    good: int
    bad: int
    p50_ms: float
    p99_ms: float


def order(id: str) -> dict[str, object]:
    """Return the body of one order."""
    customer = {"id": "c-1", "email": "ann@example.org"}
    return {"id": id, "items": [{"sku": "A-100", "qty": 2, "price": 5}], "customer": customer}


def apply(port: int, path: str, seconds: float, tag: str | None = None) -> Load:
    """Send requests for some seconds: GET, or with a `tag` POST of orders whose ids begin with it."""
    if shutil.which("wrk"):
        return _wrk(port, path, seconds, tag)
    arguments = (str(port), path, str(seconds), str(CONNECTIONS), tag or "")
    return Load(**json.loads(processes.run("benchmarks.load", *arguments, limit_s=seconds + 60)))


def _wrk(port: int, path: str, seconds: float, tag: str | None) -> Load:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "--latency"]
    script = ["-s", str(_SCRIPT)] if tag else []
    url = [f"http://127.0.0.1:{port}{path}", *(["--", tag] if tag else [])]
    run = subprocess.run([*command, *script, *url], capture_output=True, text=True, timeout=seconds + 60, check=True)
    requests, took = _found(r"(\d+) requests in\s+(\S+),", run.stdout)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", run.stdout)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", run.stdout)
    bad = int(refused[1]) if refused else 0
    return Load(
        client="wrk",
        seconds=_ms(took) / 1000,
        good=int(requests) - bad,
        bad=bad + (sum(map(int, errors.groups())) if errors else 0),
        p50_ms=_ms(_found(r"\n\s+50%\s+(\S+)", run.stdout)[0]),
        p99_ms=_ms(_found(r"\n\s+99%\s+(\S+)", run.stdout)[0]),
    )


def _found(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text)
    if match is None:
        raise processes.Failed(f"wrk printed something else:\n{text}")
    return match.groups()


def _ms(text: str) -> float:
    """Read a duration as wrk prints it: 1.50us, 2.31ms, 8.00s, 1.20m."""
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


class _Client:
    """One connection that sends request after request until it is time."""

    def __init__(self, port: int, path: str, tag: str) -> None:
        self.samples: list[float] = []
        self.bad = 0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._path, self._tag = path, tag

    def run(self, until: float) -> None:
        """Send until the instant; a connection that was closed is opened anew by the next request."""
        while (began := time.perf_counter()) < until:
            try:
                if self._tag:
                    body = json.dumps(order(f"{self._tag}-{len(self.samples) + self.bad}"))
                    self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
                else:
                    self._connection.request("GET", self._path)
                response = self._connection.getresponse()
                response.read()
                good = response.status < 300
            except (OSError, http.client.HTTPException):
                self._connection.close()
                good = False
            if good:
                self.samples.append((time.perf_counter() - began) * 1000)
            else:
                self.bad += 1


def _python(port: int, path: str, seconds: float, connections: int, tag: str) -> Load:
    clients = [_Client(port, path, f"{tag}-{i}" if tag else "") for i in range(connections)]
    began = time.perf_counter()
    threads = [threading.Thread(target=client.run, args=(began + seconds,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    samples = [sample for client in clients for sample in client.samples] or [0.0]
    return Load(
        client="python",
        seconds=time.perf_counter() - began,
        good=sum(len(client.samples) for client in clients),
        bad=sum(client.bad for client in clients),
        p50_ms=quantile(samples, 0.5),
        p99_ms=quantile(samples, 0.99),
    )


if __name__ == "__main__":
    port, path, seconds, connections, tag = sys.argv[1:]
    print(json.dumps(asdict(_python(int(port), path, float(seconds), int(connections), tag))))
