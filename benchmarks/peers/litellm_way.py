"""LiteLLM: what it has for answers, its reading of an output file; requests are built by hand, as its guide does."""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path

from litellm.batches.batch_utils import get_file_content_as_dictionary
from litellm.types.utils import ModelResponse


def build(folder: Path) -> int:
    count = 0
    with (folder / "prompts.csv").open(newline="") as file, (folder / "litellm.jsonl").open("w") as out:
        for row in csv.DictReader(file):
            messages = [{"role": "user", "content": row["prompt"]}]
            body = {"model": "gpt-4o-mini", "messages": messages, "temperature": 0, "max_tokens": 100}
            line = {"custom_id": row["id"], "method": "POST", "url": "/v1/chat/completions", "body": body}
            out.write(json.dumps(line) + "\n")
            count += 1
    return count


def read(folder: Path) -> int:
    lines = get_file_content_as_dictionary((folder / "answers.jsonl").read_bytes())
    answers = {line["custom_id"]: ModelResponse(**line["response"]["body"]) for line in lines}
    return sum(answer.choices[0].message.content is not None for answer in answers.values())


if __name__ == "__main__":
    job, folder = sys.argv[1], Path(sys.argv[2])
    began = time.perf_counter()
    count = {"build": build, "read": read}[job](folder)
    print(json.dumps({"seconds": time.perf_counter() - began, "count": count}))
