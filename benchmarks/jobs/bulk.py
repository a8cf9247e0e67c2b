"""Planning and settling a million rows against plain loops; the ways themselves are `benchmarks.plan_settle`'s."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks import plan_settle
from benchmarks.job import OURS, REVIEWS, Goal, Job, Stage, Way, faster_than

JSON, ORJSON, COPY = "json", "orjson", "copying the bytes"


def prepare(folder: Path, rows: int) -> None:
    plan_settle.prepare(folder, rows, REVIEWS)


def prepare_reviews(folder: Path, rows: int) -> None:
    plan_settle.make_data(folder, rows, REVIEWS, prompt_bytes=None)
    plan_settle.JOBS["plan Parquet"][OURS](folder)


def _way(job: str, name: str) -> Way:
    def do(stage: Stage) -> None:
        plan_settle.JOBS[job][name](stage.folder)

    return Way(name, do)


def _copies(read: str, *written: str) -> Way:
    """Reading what the job reads, and writing as many bytes as it writes."""

    def do(stage: Stage) -> None:
        for path in stage.folder.glob(read):
            with path.open("rb") as file:
                while file.read(1 << 20):
                    pass
        with (stage.folder / "copy").open("wb") as out:
            for path in sorted(path for pattern in written for path in stage.folder.glob(pattern)):
                with path.open("rb") as file:
                    shutil.copyfileobj(file, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())

    return Way(COPY, do)


def _job(
    job: str,
    says: str,
    copies: Way,
    goals: tuple[Goal, ...],
    prepare: Callable[[Path, int], None],
    of: str = "",
) -> Job:
    ways = (*(_way(job, way) for way in (OURS, JSON, ORJSON)), copies)
    return Job(job + of, ways, 1_000_000, "rows", goals, says, prepare=prepare, least=200)


PLAN_GOALS = (faster_than(JSON, 8), faster_than(ORJSON, 1.5, figure="cpu_s", words="by processor time, as fast as"))
PLAN_SAYS = (
    "{}, rendered from a template, into request files that fit the provider's limits. nono also checks ids, limits and "
    "the template, estimates tokens, keeps the rows for the results and forces its files to disk; the loops build a "
    "dict a row and write it."
)
PROMPTS = PLAN_SAYS.format("Prompts of 500 bytes from real sentences")
REVIEW_TEXTS = PLAN_SAYS.format("Real sentences as they are, 88 characters on average, each many times")
_csv, _parquet = (_copies(f"in.{kind}", "shards/*", "rows/*") for kind in ("csv", "parquet"))
JOBS = (
    _job("plan CSV", PROMPTS, _csv, PLAN_GOALS, prepare),
    _job("plan Parquet", PROMPTS, _parquet, PLAN_GOALS, prepare),
    _job("plan CSV", REVIEW_TEXTS, _csv, PLAN_GOALS, prepare_reviews, of=" of reviews"),
    _job("plan Parquet", REVIEW_TEXTS, _parquet, PLAN_GOALS, prepare_reviews, of=" of reviews"),
    _job(
        "settle",
        "Answer lines of 1 KB and the kept rows, into one Parquet row each. nono joins, checks, orders and writes, in "
        "one process a processor; the loops read the answers into a dict and take the texts out in order, and "
        "write nothing.",
        _copies("answers/*.jsonl", "results/*"),
        (faster_than(JSON, 6), faster_than(ORJSON, 1.0)),
        prepare,
    ),
)
