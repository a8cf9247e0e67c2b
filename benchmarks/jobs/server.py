"""The local server's own cost: a batch through the simulated model, from its creation to its answer file."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.job import OURS, REVIEWS, Goal, Job, Stage, Way, median
from nono.connector.genai_batch_processing import OpenAIBatchService
from nono.server.models import CHAT
from nono.server.models.simulated import SimulatedModel

PROMPT_BYTES = 500
LOOP = "a plain loop"
SMALL = "nono, a tenth"
SIZE = 50_000
# How often the batch is looked at; a tenth of what is measured at most.
LOOK_EVERY_S = 0.02


def prompts(count: int) -> Iterator[str]:
    """The real sentences, each repeated to 500 bytes."""
    with REVIEWS.open(encoding="utf-8", newline="") as file:
        said = [(row["text"] + " ") * (PROMPT_BYTES // (len(row["text"]) + 1) + 1) for row in csv.DictReader(file)]
    for number in range(count):
        yield said[number % len(said)][:PROMPT_BYTES]


def request_line(number: int, prompt: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    body = {"model": "gpt-4o-mini", "messages": messages, "temperature": 0}
    return {"custom_id": f"q-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def prepare(folder: Path, size: int) -> None:
    with (folder / "in.jsonl").open("w") as file:
        for number, prompt in enumerate(prompts(size)):
            file.write(json.dumps(request_line(number, prompt)) + "\n")


def through_the_server(stage: Stage) -> None:
    path = stage.folder / f"{stage.size}.jsonl"
    with (stage.folder / "in.jsonl").open("rb") as file, path.open("wb") as wanted:
        wanted.writelines(line for line, _ in zip(file, range(stage.size), strict=False))
    service = OpenAIBatchService(api_key="local", base_url=stage.openai_base_url)
    file_id = service.upload_file(path).id
    with stage.timed():
        batch = service.create_batch(input_file_id=file_id)
        while batch.status not in ("completed", "failed"):
            time.sleep(LOOK_EVERY_S)
            batch = service.get_batch(batch.id)
    assert batch.status == "completed" and batch.request_counts.completed == stage.size, batch


def plain_loop(stage: Stage) -> None:
    model = SimulatedModel()
    with (stage.folder / "in.jsonl").open() as file, (stage.folder / "out.jsonl").open("w") as answers:
        for line in file:
            request = json.loads(line)
            status, body = model.answer(CHAT, request["body"])
            response = {"status_code": status, "request_id": "", "body": body}
            answer = {"id": "batch_req_", "custom_id": request["custom_id"], "response": response, "error": None}
            answers.write(json.dumps(answer) + "\n")


JOBS = (
    Job(
        name="server: one batch",
        ways=(Way(OURS, through_the_server), Way(LOOP, plain_loop), Way(SMALL, through_the_server, SIZE // 10)),
        size=SIZE,
        unit="requests",
        server=True,
        least=20,
        prepare=prepare,
        goals=(
            Goal(
                "the time of a plain loop that reads, answers in memory and writes",
                lambda found: median(found, OURS) / median(found, LOOP),
                most=2.5,
                unit=" ×",
            ),
            Goal(
                "the server's memory, against a batch of a tenth",
                lambda found: median(found, OURS, "server_mb") / median(found, SMALL, "server_mb"),
                most=1.25,
                unit=" ×",
            ),
        ),
        columns={"server_mb": "server MB", "server_cpu_s": "server cpu s"},
        says="From creating the batch to its answer file, answered by the instant simulated model; every answer is in "
        "a journal on disk before the next request is asked. The loop keeps nothing, checks nothing and polls nothing.",
    ),
)
