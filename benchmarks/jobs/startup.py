"""How long it takes until something happens: importing, the help page, a run's status."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nono
from benchmarks.job import Goal, Job, Stage, Way, median

BARE = "python -c pass"
IMPORT, HELP, STATUS = "import nono", "nono --help", "nono status"
# Nobody listens there; a run is planned without a call.
NOWHERE = "http://127.0.0.1:9/v1"


def prepare(folder: Path, size: int) -> None:
    """A workspace with a run; and every module is compiled."""
    nono.run(
        [{"text": "a"}],
        prompt="{{ text }}",
        model="openai/gpt-4o-mini",
        home=folder,
        api_key="local",
        base_url=NOWHERE,
    )
    for way in JOBS[0].ways:
        way.do(Stage(folder, 1))


def _python(*arguments: str) -> Callable[[Stage], None]:
    def do(stage: Stage) -> None:
        from benchmarks.measuring import ENVIRONMENT

        environment = ENVIRONMENT | {"NONO_HOME": str(stage.folder)}
        command = [sys.executable, *arguments]
        for _ in range(stage.size):
            with stage.timed():
                subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
        stage.seconds = (stage.seconds or 0.0) / stage.size
        stage.cpu_s /= stage.size

    return do


def _over_bare(way: str, most: float) -> Goal:
    return Goal(
        f"{way}, over bare Python",
        lambda found: median(found, way) - median(found, BARE),
        most=most,
        unit=" s",
    )


JOBS = (
    Job(
        name="start-up",
        ways=(
            Way(BARE, _python("-c", "pass")),
            Way(IMPORT, _python("-c", "import nono")),
            Way("import nono; nono.run", _python("-c", "import nono; nono.run")),
            Way(HELP, _python("-m", "nono.cli", "--help")),
            Way(STATUS, _python("-m", "nono.cli", "status")),
            Way("import openai", _python("-c", "import openai")),
            Way("from google import genai", _python("-c", "from google import genai")),
        ),
        size=5,
        unit="times",
        prepare=prepare,
        repeats=3,
        goals=(
            _over_bare(IMPORT, 0.1),
            Goal(HELP, lambda found: median(found, HELP), most=0.3, unit=" s"),
            _over_bare(STATUS, 0.1),
        ),
        says="A new process each time, modules compiled; seconds are of one process.",
    ),
)
