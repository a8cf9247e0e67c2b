"""Real processes that really die: `kill -9` at random instants, Ctrl-C, SIGTERM; beside a real local server."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from forge import Forge
from lives import FULL

import nono
from nono.runs.ledger import RunState
from nono.server.app import LocalServer
from nono.server.models.simulated import SimulatedModel

KILLS = int(os.environ.get("NONO_KILLS") or (1000 if FULL else 30))
ROWS = 60
HERE = Path(__file__).parent


class Counting(SimulatedModel):
    """Counts what it is asked; a `flaky` prompt is refused the first time. Slow enough to be interrupted."""

    def __init__(self, pause_s: float = 0.005) -> None:
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._pause = threading.Event()
        self._pause_s = pause_s

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        prompt = str(body["messages"][0]["content"])
        self._pause.wait(self._pause_s)
        with self._lock:
            self.asked[prompt] += 1
            first = self.asked[prompt] == 1
        if first and prompt.startswith("flaky"):
            error = {"message": "too fast", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
            return 429, {"error": error}
        return super().answer(endpoint, body)


def completed(server: LocalServer) -> Counter[str]:
    """How many batches of each shard were executed."""
    tags = [
        batch.details["metadata"]["nono_tag"]
        for batch in server.core.store.batches("openai", after=None, limit=10_000)
        if batch.counts.total and batch.state != "failed"
    ]
    return Counter(re.sub(r"-\d+-\d+$", "", tag) for tag in tags)


def test_a_run_that_is_killed_again_and_again_asks_every_row_as_often_as_one_left_alone(
    forge: Forge, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    kills = 0
    round_number = 0
    while kills < KILLS:
        round_number += 1
        chance = random.Random(round_number)
        model = Counting()
        here = tmp_path / str(round_number)
        with LocalServer(model, data=here / "server") as server:
            words = str(here / "home"), server.openai_base_url, str(ROWS)
            for _ in range(100):
                wait_s = chance.uniform(0.01, 0.6) if kills < KILLS else None
                ended = forge.run(*words, program=HERE / "one_run.py", kill_after_s=wait_s)
                if ended.code != -signal.SIGKILL:
                    break
                kills += 1
            assert ended.code == 0, ended.said
            for prompt, times in model.asked.items():
                assert times == (2 if prompt.startswith("flaky") else 1), prompt
            assert set(completed(server).values()) == {1}
            run = nono.open_run(home=here / "home", api_key="local")
            assert run.status.state is RunState.FINISHED
            assert [row["answer"] for row in run.results()] == [str(number) for number in range(ROWS)]
            assert len(list((here / "home" / "runs").iterdir())) >= 1
            assert len(run.ledger.runs()) == 1
    figure(f"kill -9: 0 rows lost, 0 batches run twice after {kills} kills in {round_number} runs")


def nono_run(home: Path, server: LocalServer, source: Path, *more: str) -> subprocess.Popen[str]:
    environment = os.environ | server.environment() | {"NONO_HOME": str(home)}
    command = [sys.executable, "-m", "nono.cli", "run", str(source), "-p", "{{ text }}", "-m", "openai/gpt-4o-mini"]
    return subprocess.Popen(
        [*command, *more], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("text\n" + "".join(f"[[nono:say {number}]]\n" for number in range(4)))
    return path


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_run_that_can_be_resumed(number: int, code: int, tmp_path: Path, source: Path) -> None:
    model = Counting(pause_s=60.0)
    with LocalServer(model, data=tmp_path / "server") as server:
        process = nono_run(tmp_path / "home", server, source)
        assert process.stderr is not None
        for line in process.stderr:
            if "1 running" in line:
                break
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == code
        assert "resume with: nono resume" in said
        model._pause.set()
        again = nono_run(tmp_path / "home", server, source)
        _, said = again.communicate(timeout=30)
        assert again.returncode == 0, said
        assert set(model.asked.values()) == {1}


def test_a_second_process_on_a_run_exits_with_6_and_names_the_owner(tmp_path: Path, source: Path) -> None:
    model = Counting(pause_s=60.0)
    with LocalServer(model, data=tmp_path / "server") as server:
        first = nono_run(tmp_path / "home", server, source)
        try:
            assert first.stderr is not None
            for line in first.stderr:
                if "1 running" in line:
                    break
            second = nono_run(tmp_path / "home", server, source)
            _, said = second.communicate(timeout=30)
            assert second.returncode == 6
            assert re.search(rf"is owned by \S+:{first.pid}", said)
            model._pause.set()
            first.communicate(timeout=30)
            assert first.returncode == 0
        finally:
            first.kill()
            first.communicate()
