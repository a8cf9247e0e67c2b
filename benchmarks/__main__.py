"""Measures everything and writes benchmarks/RESULTS.md with its plot.

    python -m benchmarks [--only server,ledger] [--into FOLDER]

`BENCH_SCALE=0.01` does a hundredth of the work, once: to see that everything runs, not to learn a figure.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.job import Job
from benchmarks.measuring import measure_all
from benchmarks.results import write

# In the order of the page.
SUBJECTS = ("bulk", "memory", "whole_run", "engine", "ledger", "server", "transfer", "startup")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", default=",".join(SUBJECTS), help=f"some of {', '.join(SUBJECTS)}")
    arguments.add_argument("--into", type=Path, default=Path(__file__).parent, help="folder of the results")
    arguments.add_argument("--here", action="store_true", help="all in this process: quick, and no measurement")
    given = arguments.parse_args()
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", file=sys.stderr, flush=True)

    jobs: dict[str, Sequence[Job]] = {}
    for subject in given.only.split(","):
        module = f"benchmarks.jobs.{subject}"
        jobs[module] = import_module(module).JOBS
    found = measure_all(jobs, scale, tell, apart=not given.here)
    path = write([job for ones in jobs.values() for job in ones], found, given.into, scale, time.monotonic() - began)
    print(path)


if __name__ == "__main__":
    main()
