"""Models that do what a test tells them, and short words for what most tests of the server do."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from openai.types import Batch

from nono.server.models import CHAT, EMBEDDINGS, IMAGES, MODERATIONS
from openai import OpenAI
from patience import PATIENT_S


def chat_answer(body: Mapping[str, Any], text: str = "fine") -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_763_800_000,
        "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 7,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


class Told:
    """A model that does what the prompt says: `fail` answers 400, `raise` raises, anything else is said back.

    `asked` is what it was asked, in order.
    """

    name = "told"
    endpoints = frozenset({CHAT, EMBEDDINGS, MODERATIONS, IMAGES})

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.asked: list[str] = []

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        prompt = body["messages"][0]["content"]
        self.asked.append(prompt)
        if prompt == "fail":
            return 400, {
                "error": {"message": "no", "type": "invalid_request_error", "param": "messages", "code": "bad"}
            }
        if prompt == "raise":
            raise ValueError("this model has a bug")
        return 200, chat_answer(body, prompt)

    def close(self) -> None:
        pass


class Held(Told):
    """Answers only as many requests as it was allowed to; `in_hand` are those that wait."""

    def __init__(self, slots: int = 1) -> None:
        super().__init__(slots)
        self._allowed = threading.Semaphore(0)
        self._changed = threading.Condition()
        self.in_hand: list[str] = []

    def allow(self, answers: int = 1) -> None:
        self._allowed.release(answers)

    def wait_for(self, count: int) -> None:
        """Wait until so many requests have been asked."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.in_hand) >= count, PATIENT_S)

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.in_hand.append(body["messages"][0]["content"])
            self._changed.notify_all()
        assert self._allowed.acquire(timeout=PATIENT_S)
        return super().answer(endpoint, body)


def chat_line(custom_id: str, prompt: str = "hello", **body: Any) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **body},
    }


def chat_lines(prompts: Iterable[str]) -> list[dict[str, Any]]:
    return [chat_line(f"r{number}", prompt) for number, prompt in enumerate(prompts)]


def jsonl(lines: Iterable[Any]) -> bytes:
    return b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)


def submit(sdk: OpenAI, lines: Iterable[Any], endpoint: Any = "/v1/chat/completions", **options: Any) -> Batch:
    file = sdk.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    return sdk.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options)


def reached(sdk: OpenAI, batch: Batch, *states: str) -> Batch:
    """Poll until the batch is in one of the states (any end, if none is named)."""
    wanted = states or ("completed", "failed", "expired", "cancelled")
    until = time.monotonic() + PATIENT_S
    while (batch := sdk.batches.retrieve(batch.id)).status not in wanted:
        assert time.monotonic() < until, f"still {batch.status}: {batch}"
        time.sleep(0.005)
    return batch


def done(sdk: OpenAI, lines: Iterable[Any], endpoint: Any = "/v1/chat/completions", **options: Any) -> Batch:
    return reached(sdk, submit(sdk, lines, endpoint, **options))


def answers(sdk: OpenAI, file_id: str | None) -> list[Any]:
    """The lines of an answer file."""
    assert file_id is not None
    return [json.loads(line) for line in sdk.files.content(file_id).content.split(b"\n") if line]


def counts(batch: Batch) -> tuple[int, int, int]:
    """total, completed, failed"""
    assert batch.request_counts is not None
    return batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed


def peak_mb(pid: int) -> float:
    """The most memory that a process has ever had."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found is not None
    return int(found.group(1)) / 1024
