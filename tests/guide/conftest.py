"""What runs documented examples: in order, in one namespace and an empty folder, at a brisk pace."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guide_tools import Run

from nono.connector import service
from nono.exchange import drive
from nono.server.app import LocalServer


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as it:
        yield it


@pytest.fixture
def run(request: pytest.FixtureRequest, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run examples of the test's own half (its module's BLOCKS); a wait of 30 s between polls takes 10 ms."""
    blocks: dict[str, str] = request.module.BLOCKS
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_base_url)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.gemini_base_url)
    at_pace = functools.partial(drive, sleep=lambda seconds: time.sleep(min(seconds, 0.01)))
    monkeypatch.setattr(service, "drive", at_pace)

    def perform(*titles: str, **names: Any) -> dict[str, Any]:
        for title in titles:
            exec(compile(blocks[title], title, "exec"), names)
        return names

    return perform
