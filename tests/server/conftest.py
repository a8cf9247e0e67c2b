"""Servers with a model that a test directs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nono.server.app import LocalServer
from openai import OpenAI


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., tuple[LocalServer, OpenAI]]]:
    """Starts a server with the given model on this test's folder, and an SDK that repeats nothing by itself."""
    with ExitStack() as running:

        def serve(model: Any = "simulated", **options: Any) -> tuple[LocalServer, OpenAI]:
            server = running.enter_context(LocalServer(model, data=tmp_path / "data", **options))
            key = options.get("api_key", "local")
            return server, running.enter_context(OpenAI(base_url=server.openai_base_url, api_key=key, max_retries=0))

        yield serve


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """URL and process id of `nono serve` in a process of its own."""
    code = "from nono.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        found = re.search(r"http://[\d.:]+", running.stdout.readline())
        assert found is not None
        yield found.group(), running.pid
        running.terminate()
