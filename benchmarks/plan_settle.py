"""Planning and settling against plain loops: rows a second and peak memory, each a ratio within the same run.

    python benchmarks/plan_settle.py [--rows 200000] [--repeats 3] [--texts reviews.csv]

The loops do less: they check no id, no limit and no schema, keep no input columns, and the ones that read answers write
nothing. Every measurement is a process of its own; times are processor seconds, those of its own processes included,
medians of the repeats; memory is the first process's.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from nono.datasets import open_source
from nono.providers import Task, provider_named
from nono.runs.bench import Settings
from nono.runs.parts import PlannedPart
from nono.runs.plan import Plan, plan
from nono.runs.settle import Answers
from nono.runs.settlers import Settlers, processes_for

PROVIDER = provider_named("openai")
TASK = Task("chat", "gpt-4o-mini", system="You are a careful reader.", parameters={"temperature": 0})
PROMPT = "What does the writer feel? {{ text }}\nAnswer in one word."
PROMPT_BYTES = 500
ROW_GROUP = 50_000
ANSWER_WORDS = "The writer is content with the picture, less so with the sound. " * 4


def make_data(folder: Path, rows: int, texts: Path | None, prompt_bytes: int | None = PROMPT_BYTES) -> None:
    """A CSV and a Parquet file with distinct ids; each text is repeated up to a length, or taken as it is."""
    if texts is not None:
        with texts.open(encoding="utf-8", newline="") as file:
            said = [row["text"] for row in csv.DictReader(file)]
    else:
        said = [f"the picture is fine, the sound of number {number} could be better" for number in range(997)]
    if prompt_bytes is not None:
        said = [((text + " ") * (prompt_bytes // (len(text) + 1) + 1))[:prompt_bytes] for text in said]
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with (
        (folder / "in.csv").open("w", encoding="utf-8", newline="") as file,
        pq.ParquetWriter(folder / "in.parquet", schema) as parquet,
    ):
        writer = csv.writer(file)
        writer.writerow(schema.names)
        for first in range(0, rows, ROW_GROUP):
            numbers = range(first, min(first + ROW_GROUP, rows))
            columns = [[f"q-{number}" for number in numbers], [said[number % len(said)] for number in numbers]]
            writer.writerows(zip(*columns, strict=True))
            parquet.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], schema=schema))


def prepare(folder: Path, rows: int, texts: Path | None = None) -> None:
    """Everything that the jobs need, in an empty folder: the data, its plan, and an answer to every request."""
    make_data(folder, rows, texts)
    made = _plan(folder, "parquet")
    (folder / "plan.json").write_bytes(msgspec.json.encode(made))
    make_answers(folder, made)


def make_answers(folder: Path, made: Plan) -> None:
    """An answer file of 1 KB lines for every part, in the provider's own form."""
    (folder / "answers").mkdir()
    pieces = json.dumps(_answer("q-@")).split("@")
    line = "%d".join(pieces) + "\n"
    for part in made.parts:
        with (folder / "answers" / f"{part.no}.jsonl").open("w") as file:
            for number in range(part.first_row, part.first_row + part.row_count):
                file.write(line % (number, number))


def _answer(custom_id: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": ANSWER_WORDS, "refusal": None, "annotations": []}
    details = {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
    body = {
        "id": "chatcmpl-CiZyIJnQvGhx1z4Ncv81bdSGcgC49",
        "object": "chat.completion",
        "created": 1764740742,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 131,
            "completion_tokens": 57,
            "total_tokens": 188,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": details,
        },
        "service_tier": "default",
        "system_fingerprint": None,
    }
    response = {"status_code": 200, "request_id": "20474c73147a160c9e228f2895fc3f7b", "body": body}
    return {"id": f"batch_req_{custom_id:0>32}", "custom_id": custom_id, "response": response, "error": None}


def _plan(folder: Path, kind: str) -> Plan:
    for name in ("shards", "rows", "results"):
        (folder / name).mkdir(exist_ok=True)
    return plan(
        open_source(folder / f"in.{kind}"),
        TASK,
        PROVIDER,
        prompt=PROMPT,
        id_column="id",
        shards_into=folder / "shards",
        rows_into=folder / "rows",
    )


def _loop_plan(folder: Path, kind: str, dumps: Callable[[Any], bytes]) -> None:
    with (folder / "loop.jsonl").open("wb") as file:
        for row in _rows(folder / f"in.{kind}"):
            body = {
                "model": "gpt-4o-mini",
                "messages": [
                    {"role": "system", "content": "You are a careful reader."},
                    {"role": "user", "content": f"What does the writer feel? {row['text']}\nAnswer in one word."},
                ],
                "temperature": 0,
            }
            line = {"custom_id": row["id"], "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(dumps(line) + b"\n")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    else:
        for batch in pq.ParquetFile(path).iter_batches(4096):
            yield from batch.to_pylist()


def _settle(folder: Path) -> None:
    """As a run does it whose batches have all ended: threads that ask for it, processes that do it."""
    made = _plan_of(folder)
    settlers = Settlers("nono-settles", folder, processes_for(made))

    def one(part: PlannedPart) -> object:
        return settlers.settle(
            part,
            [Answers([folder / "answers" / f"{part.no}.jsonl"], batch_id="batch_1")],
            provider=PROVIDER,
            task=TASK,
            columns=made.columns,
            id_column="id",
            rows=folder / "rows",
            results=folder / "results",
        )

    with ThreadPoolExecutor(Settings().workers) as threads:
        list(threads.map(one, made.parts))
    settlers.end()


def _plan_of(folder: Path) -> Plan:
    return msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan)


def _loop_settle(folder: Path, loads: Callable[[bytes], Any]) -> None:
    for part in _plan_of(folder).parts:
        with (folder / "answers" / f"{part.no}.jsonl").open("rb") as file:
            answers = {line["custom_id"]: line for line in map(loads, file)}
        rows = range(part.first_row, part.first_row + part.row_count)
        texts = [answers[f"q-{n}"]["response"]["body"]["choices"][0]["message"]["content"] for n in rows]
        assert len(texts) == part.row_count


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


JOBS: dict[str, dict[str, Callable[[Path], Any]]] = {
    "plan CSV": {
        "nono": lambda folder: _plan(folder, "csv"),
        "json": lambda folder: _loop_plan(folder, "csv", _dumps),
        "orjson": lambda folder: _loop_plan(folder, "csv", orjson.dumps),
    },
    "plan Parquet": {
        "nono": lambda folder: _plan(folder, "parquet"),
        "json": lambda folder: _loop_plan(folder, "parquet", _dumps),
        "orjson": lambda folder: _loop_plan(folder, "parquet", orjson.dumps),
    },
    "settle": {
        "nono": _settle,
        "json": lambda folder: _loop_settle(folder, json.loads),
        "orjson": lambda folder: _loop_settle(folder, orjson.loads),
    },
}


def measure(folder: Path, job: str, way: str) -> None:
    """Do one job in this process and print its processor seconds and peak memory."""
    begin = sum(os.times()[:4])  # with the processes that settle
    JOBS[job][way](folder)
    seconds = sum(os.times()[:4]) - begin
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    print(json.dumps([seconds, int(peak[1]) // 1024 if peak else 0]))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=200_000)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--texts", type=Path, help="a CSV with a column `text`")
    arguments.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.measure:
        folder, job, way = given.measure
        measure(Path(folder), job, way)
        return
    print(f"{given.rows:,} rows, {given.repeats} repeats; Python {platform.python_version()}, {platform.machine()}\n")
    print("| job | way | rows/s | spread | peak MB | nono is |\n|---|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="nono-bench-") as name:
        folder = Path(name)
        prepare(folder, given.rows, given.texts)
        for job, ways in JOBS.items():
            found = {way: [_measured(folder, job, way) for _ in range(given.repeats)] for way in ways}
            ours = statistics.median(seconds for seconds, _ in found["nono"])
            for way, runs in found.items():
                seconds = [one for one, _ in runs]
                median = statistics.median(seconds)
                spread = f"±{(max(seconds) - min(seconds)) / 2 / median:.0%}"
                factor = "" if way == "nono" else f"{median / ours:.1f} ×"
                print(
                    f"| {job} | {way} | {given.rows / median:,.0f} | {spread} | {max(m for _, m in runs)} | {factor} |"
                )


def _measured(folder: Path, job: str, way: str) -> tuple[float, int]:
    ran = subprocess.run(
        [sys.executable, __file__, "--measure", str(folder), job, way], capture_output=True, text=True, check=True
    )
    seconds, peak = json.loads(ran.stdout)
    return seconds, peak


if __name__ == "__main__":
    main()
