"""instructor: `BatchProcessor`, with the answer's model as a pydantic class."""

from __future__ import annotations

import csv
import json
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

from instructor.batch import BatchProcessor
from pydantic import BaseModel


class Answer(BaseModel):
    answer: str


def build(processor: BatchProcessor, folder: Path) -> int:
    with (folder / "prompts.csv").open(newline="") as file:
        messages = [[{"role": "user", "content": row["prompt"]}] for row in csv.DictReader(file)]
    processor.create_batch_from_messages(messages, str(folder / "instructor.jsonl"), max_tokens=100, temperature=0)
    return len(messages)


def read(processor: BatchProcessor, folder: Path) -> int:
    found = processor.parse_results((folder / "answers.jsonl").read_text())
    return sum(one.success for one in found)


if __name__ == "__main__":
    job, folder = sys.argv[1], Path(sys.argv[2])
    processor = BatchProcessor("openai/gpt-4o-mini", Answer)
    began = time.perf_counter()
    with redirect_stdout(sys.stderr):
        count = {"build": build, "read": read}[job](processor, folder)
    print(json.dumps({"seconds": time.perf_counter() - began, "count": count}))
