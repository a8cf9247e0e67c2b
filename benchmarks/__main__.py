"""Measures everything and writes benchmarks/RESULTS.md with its plot, and the README's paragraph about it.

    python -m benchmarks [--only server,ledger] [--into FOLDER]

`BENCH_SCALE=0.01` does a hundredth of the work: to see that everything runs, not to learn a figure.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks import readme
from benchmarks.job import Job
from benchmarks.measuring import measure_all
from benchmarks.results import write

HERE = Path(__file__).parent
# In the order of the page.
SUBJECTS = ("bulk", "memory", "whole_run", "engine", "ledger", "server", "transfer", "startup")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", default=",".join(SUBJECTS), help=f"some of {', '.join(SUBJECTS)}")
    arguments.add_argument("--into", type=Path, default=HERE, help="folder of the results")
    arguments.add_argument("--repeats", type=int, default=100, help="at most so many repeats of each job")
    arguments.add_argument("--here", action="store_true", help="all in this process: quick, and no measurement")
    given = arguments.parse_args()
    subjects = given.only.split(",")
    if unknown := set(subjects) - set(SUBJECTS):
        arguments.error(f"no subject {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    if tuple(subjects) != SUBJECTS and given.into == HERE:
        arguments.error("a page of some subjects must not take the place of the whole: choose --into FOLDER")
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", file=sys.stderr, flush=True)

    jobs: dict[str, Sequence[Job]] = {}
    for subject in subjects:
        module = f"benchmarks.jobs.{subject}"
        jobs[module] = import_module(module).JOBS
    found = measure_all(jobs, scale, tell, most_repeats=given.repeats, apart=not given.here)
    path = write([job for ones in jobs.values() for job in ones], found, given.into, scale, time.monotonic() - began)
    print(path)
    if path == readme.PAGE:
        readme.main()


if __name__ == "__main__":
    main()
