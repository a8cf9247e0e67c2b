"""bespokelabs-curator: the steps of its OpenAI batch processor around the network, one after the other."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
import time
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bespokelabs.curator.llm.prompt_formatter import PromptFormatter
from bespokelabs.curator.request_processor.batch.openai_batch_request_processor import OpenAIBatchRequestProcessor
from bespokelabs.curator.request_processor.config import BatchRequestProcessorConfig
from bespokelabs.curator.types.generic_request import GenericRequest
from pydantic import BaseModel

from datasets import Dataset

REQUESTS_A_FILE = 50_000


class Answer(BaseModel):
    answer: str


def build(processor: OpenAIBatchRequestProcessor, folder: Path) -> int:
    with (folder / "prompts.csv").open(newline="") as file:
        rows = Dataset.from_list([{"prompt": row["prompt"]} for row in csv.DictReader(file)])
    for first in range(0, len(rows), REQUESTS_A_FILE):
        generic = _generic(folder, first)
        asyncio.run(processor.acreate_request_file(rows, str(generic), f"{generic}.meta", first, REQUESTS_A_FILE))
        requests = processor.requests_from_generic_request_file(str(generic), set())
        (folder / f"curator-{first}.jsonl").write_bytes(processor.create_batch_file(requests))
    return len(rows)


def _generic(folder: Path, first: int) -> Path:
    return folder / f"requests_{first}.jsonl"


def read(processor: OpenAIBatchRequestProcessor, folder: Path) -> int:
    asked: dict[int, GenericRequest] = {}
    for path in folder.glob("requests_*.jsonl"):
        with path.open() as file:
            for line in file:
                request = GenericRequest.model_validate_json(line)
                asked[request.original_row_idx] = request
    batch: Any = SimpleNamespace(id="batch_1", created_at=datetime.now(), finished_at=datetime.now())
    count = 0
    with (folder / "answers.jsonl").open() as file, (folder / "responses_0.jsonl").open("w") as out:
        for line in file:
            raw = json.loads(line)
            response = processor.parse_api_specific_response(raw, asked[int(raw["custom_id"])], batch)
            response.parsed_response_message = processor._process_response(response)
            out.write(json.dumps(response.model_dump(mode="json"), default=str) + "\n")
            count += response.parsed_response_message is not None
    return count


def _processor() -> OpenAIBatchRequestProcessor:
    config = BatchRequestProcessorConfig(model="gpt-4o-mini", api_key="none", batch_size=REQUESTS_A_FILE)
    processor = OpenAIBatchRequestProcessor(config)
    processor.prompt_formatter = PromptFormatter(
        model_name="gpt-4o-mini",
        prompt_func=lambda row: row["prompt"],
        response_format=Answer,
        generation_params={"temperature": 0, "max_tokens": 100},
    )
    return processor


if __name__ == "__main__":
    job, folder = sys.argv[1], Path(sys.argv[2])
    with redirect_stdout(sys.stderr):
        processor = _processor()
        if job == "read":
            build(processor, folder)
        began = time.perf_counter()
        count = {"build": build, "read": read}[job](processor, folder)
        seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "count": count}))
