"""A whole run against the local server, and the same done by hand with the official SDK."""

from __future__ import annotations

import csv
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import nono
from benchmarks import plan_settle
from benchmarks.job import OURS, REVIEWS, Goal, Job, Stage, Way, faster_than, median
from nono.runs.words import LOCAL_POLL_CAP_S

SDK = "the official SDK, by hand"
MODEL = "gpt-4o-mini"
REQUESTS_A_FILE = 50_000


def prepare(folder: Path, size: int) -> None:
    plan_settle.make_data(folder, size, REVIEWS)


def with_nono(stage: Stage) -> None:
    with tempfile.TemporaryDirectory(dir=stage.folder) as home, stage.timed():
        run = nono.run(
            stage.folder / "in.csv",
            prompt=plan_settle.PROMPT,
            system="You are a careful reader.",
            temperature=0,
            model=f"openai/{MODEL}",
            id="id",
            dedupe=False,  # the sentences repeat, and every row is to be asked, as the script does
            home=home,
            api_key="local",
            base_url=stage.openai_base_url,
        )
        status = run.wait()
        written = run.export(stage.folder / "nono.csv")
    assert status.succeeded == written == stage.size, status


def by_hand(stage: Stage) -> None:
    """What a careful person writes: files under the limit, upload, create, poll, download, join by id, write."""
    from openai import OpenAI

    with stage.timed():
        client = OpenAI(base_url=stage.openai_base_url, api_key="local")
        with (stage.folder / "in.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        batches = []
        for first in range(0, len(rows), REQUESTS_A_FILE):
            path = stage.folder / f"by-hand-{first}.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for row in rows[first : first + REQUESTS_A_FILE]:
                    file.write(json.dumps(_request(row)) + "\n")
            with path.open("rb") as content:
                uploaded = client.files.create(file=content, purpose="batch")
            batches.append(
                client.batches.create(
                    input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
                )
            )
        answers: dict[str, Any] = {}
        while batches:
            time.sleep(LOCAL_POLL_CAP_S)
            for batch in [client.batches.retrieve(one.id) for one in batches]:
                if batch.status in ("completed", "expired", "failed", "cancelled"):
                    batches = [one for one in batches if one.id != batch.id]
                    for file_id in (batch.output_file_id, batch.error_file_id):
                        if file_id:
                            for line in client.files.content(file_id).text.splitlines():
                                answer = json.loads(line)
                                answers[answer["custom_id"]] = answer
        with (stage.folder / "by-hand.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text", "answer", "input_tokens", "output_tokens"])
            for row in rows:
                body = answers[row["id"]]["response"]["body"]
                text, usage = body["choices"][0]["message"]["content"], body["usage"]
                writer.writerow([row["id"], row["text"], text, usage["prompt_tokens"], usage["completion_tokens"]])
    assert len(answers) == stage.size


def _request(row: dict[str, str]) -> dict[str, Any]:
    prompt = plan_settle.PROMPT.replace("{{ text }}", row["text"])
    messages = [{"role": "system", "content": "You are a careful reader."}, {"role": "user", "content": prompt}]
    body = {"model": MODEL, "messages": messages, "temperature": 0}
    return {"custom_id": row["id"], "method": "POST", "url": "/v1/chat/completions", "body": body}


JOBS = (
    Job(
        name="whole run",
        ways=(Way(OURS, with_nono), Way(SDK, by_hand)),
        size=200_000,
        unit="rows",
        prepare=prepare,
        server=True,
        repeats=1,
        least=50,
        goals=(
            faster_than(SDK, 1.0),
            Goal(
                f"the memory of {SDK}",
                lambda found: median(found, OURS, "peak_mb") / median(found, SDK, "peak_mb"),
                most=1.0,
                unit=" ×",
            ),
        ),
        columns={"server_mb": "server MB", "server_cpu_s": "server cpu s"},
        says="A CSV in, a CSV with the answers out, through the local server with its instant simulated model, which "
        "both have to wait for, looking as often; equal prompts are all sent. nono's run survives a crash at any "
        "point; the script would begin again.",
    ),
)
