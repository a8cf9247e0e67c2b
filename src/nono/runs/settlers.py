"""Who settles the parts of a run: worker processes where there is much to do, else one thread of this process.

What a worker made is put in place here. So nothing that a dead run's worker still does can reach the results.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from nono.files import put_in_place
from nono.runs.crew import Crew
from nono.runs.parts import PlannedPart
from nono.runs.plan import Plan
from nono.runs.settle import Answers, PartSummary, settle
from nono.runs.workers import WorkerFailed, Workers

# Each has some hundred megabytes.
MOST_PROCESSES = 4
# A process takes a third of a second to start, the time in which it settles as many rows.
WORTH_ROWS = 200_000
_PREFIX = "settling-"


def processes_for(plan: Plan) -> int:
    """How many processes make settling quicker: one for each processor, if there are rows enough for them."""
    return min(MOST_PROCESSES, os.cpu_count() or 1, len(plan.parts)) if plan.rows >= WORTH_ROWS else 0


class Settlers:
    """Calls `settle` for several threads; what is settled at the same time are different parts.

    `folder` is the run's, on which nobody else works.
    """

    def __init__(self, name: str, folder: Path, processes: int) -> None:
        # One thread: each one keeps much of the memory that settling has taken once.
        self._here = Crew(1, name)
        self._workers = Workers(processes)
        for left in folder.glob(f"{_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        self._into = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder)) if self._workers else None

    def settle(self, part: PlannedPart, attempts: Sequence[Answers], *, results: Path, **given: Any) -> PartSummary:
        """See `settle.settle`; raises what that raises."""
        if self._into is not None:
            # What a worker cannot do is done here, and fails here if it has to.
            with suppress(WorkerFailed):
                made = self._workers.call(settle, part, attempts, results=results, into=self._into, **given)
                return msgspec.structs.replace(made, path=put_in_place(made.path, results / made.path.name))
        return self._here.ask(partial(settle, part, attempts, results=results, **given))

    def end(self) -> None:
        """Return when everything is done and no process is left."""
        self._here.end()
        self._workers.end()
        if self._into is not None:
            shutil.rmtree(self._into, ignore_errors=True)
