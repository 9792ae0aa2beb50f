"""One benchmark in a process of its own: `python -m benchmarks.one NAME FOLDER quick|full` prints JSON lines."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(name: str, folder: Path, quick: bool) -> None:
    """Print every result when it is there."""
    for result in importlib.import_module(f"benchmarks.{name}").measure(folder, quick=quick):
        print(result.line(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "quick")
