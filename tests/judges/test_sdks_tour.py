"""The official SDKs, unmodified, current major and the one before, go through the local server and see the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patience import PATIENT_S

HERE = Path(__file__).parent
# `make test` makes this environment; without it the tour of the earlier major is skipped, visibly.
PREVIOUS = HERE.parent.parent / ".venv-previous" / "bin" / "python"
INTERPRETERS = [
    pytest.param(Path(sys.executable), 3, id="current"),
    pytest.param(
        PREVIOUS, 2, id="previous", marks=pytest.mark.skipif(not PREVIOUS.exists(), reason="no .venv-previous")
    ),
]


def tour(python: Path, sdk: str, base_url: str) -> dict[str, Any]:
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        [python, HERE / "tour.py", sdk, base_url], env=environment, capture_output=True, text=True, timeout=PATIENT_S
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize(("python", "major"), INTERPRETERS)
def test_the_openai_sdk_sees_the_service_it_knows(server: Any, python: Path, major: int) -> None:
    assert tour(python, "openai", server.openai_base_url) == {
        "major": major,
        "file": ["file", True, "batch", "processed"],
        "retrieved": True,
        "listed": True,
        "created": ["validating", {"k": "v"}, 86400, None],
        "done": ["completed", 3, 3, 0, None],
        "ids": ["q-0", "q-1", "q-2"],
        "answer": [200, "assistant", True],
        "streamed": True,
        "paged": [True, True, 3],
        "conflict": [409, True],
        "no_batch": ["NotFoundError", 404, "invalid_request_error"],
        "no_file": ["NotFoundError", 404, "invalid_request_error"],
        "no_content": ["NotFoundError", 404, "invalid_request_error"],
        "bad_endpoint": ["BadRequestError", 400, "invalid_request_error"],
        "chat": ["chat.completion", True, True],
        "embeddings": [2, 8],
        "responses": ["completed", True],
        "moderations": [False, False],
        "upload": ["completed", True],
        "deleted": True,
        "models": True,
    }


@pytest.mark.parametrize(("python", "major"), INTERPRETERS)
def test_the_google_sdk_sees_the_service_it_knows(server: Any, python: Path, major: int) -> None:
    seen = tour(python, "gemini", server.gemini_base_url)
    size = seen["file"].pop(1)
    assert size > 100
    assert seen == {
        "major": major,
        "file": ["ACTIVE", "jsonl", "in"],
        "retrieved": True,
        "listed": True,
        "created": ["tour", "models/gemini-2.5-flash", "JOB_STATE_PENDING"],
        "done": ["JOB_STATE_SUCCEEDED", True],
        "keys": ["k0", "k1", "k2"],
        "text": True,
        "inline": [2, True],
        "paged": True,
        "embeddings": [2, 8],
        "cancelled": True,
        "deleted": [404, "NOT_FOUND"],
        "no_file": [403, "PERMISSION_DENIED"],
        "bad_model": [404, "NOT_FOUND"],
        "generate": [True, True],
    }
