"""Memory of planning and settling at three sizes: a run that is fifty times as large should not need more."""

from __future__ import annotations

from pathlib import Path

from benchmarks import plan_settle
from benchmarks.job import OURS, REVIEWS, Goal, Job, Stage, Way, median

SIZES = (100_000, 1_000_000, 5_000_000)


def _name(size: int) -> str:
    return f"{size // 1000:,} thousand rows" if size < 1_000_000 else f"{size // 1_000_000} million rows"


def _folder(folder: Path, size: int) -> Path:
    return folder / str(size)


def prepare(folder: Path, size: int) -> None:
    for one in SIZES:
        rows = max(LEAST, round(size * one / SIZES[-1]))
        _folder(folder, one).mkdir()
        plan_settle.prepare(_folder(folder, one), rows, REVIEWS)


def _ways(job: str) -> tuple[Way, ...]:
    def way(size: int) -> Way:
        def do(stage: Stage) -> None:
            plan_settle.JOBS[job][OURS](_folder(stage.folder, size))

        return Way(_name(size), do, size)

    return tuple(map(way, SIZES))


LEAST = 200
GOALS = (
    Goal(
        "peak memory", lambda found: max(median(found, _name(size), "peak_mb") for size in SIZES), most=300, unit=" MB"
    ),
    Goal(
        "memory at 5 million rows against 1 million",
        lambda found: median(found, _name(SIZES[2]), "peak_mb") / median(found, _name(SIZES[1]), "peak_mb"),
        most=1.1,
        unit=" ×",
    ),
)
SAYS = "One execution each; the peak of the process and its worker processes together, shared pages counted once."
JOBS = tuple(
    Job(
        f"memory of {words}",
        _ways(job),
        SIZES[-1],
        "rows",
        GOALS,
        SAYS,
        prepare=prepare,
        repeats=1,
        least=LEAST,
    )
    for job, words in (("plan Parquet", "planning"), ("settle", "settling"))
)
