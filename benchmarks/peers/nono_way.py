"""nono: a plan of a CSV, and the settling of its answers, schema-checked, as a run does both."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from nono.datasets import open_source
from nono.model import Outcome
from nono.providers import Task, provider_named
from nono.runs.plan import Plan, plan
from nono.runs.settle import Answers, settle

PROVIDER = provider_named("openai")
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
TASK = Task("chat", "gpt-4o-mini", schema=SCHEMA, parameters={"temperature": 0, "max_tokens": 100})


def build(folder: Path) -> Plan:
    for name in ("shards", "rows", "results"):
        (folder / name).mkdir(exist_ok=True)
    return plan(
        open_source(folder / "prompts.csv"),
        TASK,
        PROVIDER,
        prompt="{{ prompt }}",
        id_column="id",
        shards_into=folder / "shards",
        rows_into=folder / "rows",
    )


def read(folder: Path, made: Plan) -> int:
    settled = 0
    for part in made.parts:
        summary = settle(
            part,
            [Answers([folder / "answers.jsonl"], batch_id="batch_1")],
            provider=PROVIDER,
            task=TASK,
            columns=made.columns,
            id_column="id",
            rows=folder / "rows",
            results=folder / "results",
        )
        settled += summary.outcomes.get(Outcome.SUCCEEDED, 0)
    return settled


def warm_up() -> None:
    """Import what is imported where it is used: the other libraries are there whole before their clock starts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "prompts.csv").write_text("id,prompt\n0,a\n")
        (folder / "answers.jsonl").write_text("")
        read(folder, build(folder))


if __name__ == "__main__":
    job, folder = sys.argv[1], Path(sys.argv[2])
    warm_up()
    made = None if job == "build" else build(folder)
    began = time.perf_counter()
    count = build(folder).requests if made is None else read(folder, made)
    print(json.dumps({"seconds": time.perf_counter() - began, "count": count}))
