"""Real processes that really die: `kill -9` of a run and of the server beside it at random instants; Ctrl-C."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from audit import Verdict, check
from forge import Forge
from lives import FULL, folder

import nono
from nono.runs.ledger import RunState
from nono.server.app import LocalServer
from nono.server.models.simulated import SimulatedModel
from patience import PATIENT_S
from ports import free_port

KILLS = int(os.environ.get("NONO_KILLS") or (1000 if FULL else 30))
ROWS = 90
HERE = Path(__file__).parent
# Some rows are refused, some batches are at work for a while; nothing else is wrong but that everybody dies.
RULES = """[
    {"fault": "row-error", "share": 0.15, "times": 1},
    {"fault": "stuck", "share": 0.5, "seconds": 0.2}
]"""


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


class Beside:
    """A server and a run beside it, each in a process of its own; both die, again and again."""

    def __init__(self, forge: Forge, folder: Path, chance: random.Random) -> None:
        self._forge, self._folder, self._chance = forge, folder, chance
        self._port = free_port(chance)
        url = f"http://127.0.0.1:{self._port}/v1"
        self._run_words = str(folder / "home"), url, str(ROWS), str(time.time())
        self.kills = Counter[str]()

    def live(self, most_kills: int) -> None:
        """Until the run is over, or somebody gave up."""
        server, run = self._start_server(most_kills > 0), self._start_run(most_kills > 0)
        while True:
            ended = self._forge.wait()
            what = "server" if ended.pid == server else "run"
            if ended.code == -signal.SIGKILL:
                self.kills[what] += 1
            else:
                assert ended.pid == run, f"the server gave up: {ended.said}"
                # Where nobody was there from the first call on, a run stops and can be resumed.
                assert ended.code == 0 or "unavailable: " in ended.said, ended.said
            if ended.code == 0:
                os.kill(server, signal.SIGKILL)
                self._forge.wait()
                return
            mortal = self.kills.total() < most_kills
            if ended.pid == server:
                server = self._start_server(mortal)
            else:
                run = self._start_run(mortal)

    def audit(self) -> Verdict:
        run = nono.open_run(home=self._folder / "home", api_key="local")
        try:
            assert run.status.state is RunState.FINISHED
            assert [row["answer"] for row in run.results()] == [str(number) for number in range(ROWS)]
            assert len(run.ledger.runs()) == 1
            log = self._folder / "server" / "faults.jsonl"
            return check(log, run.ledger.path, run.folder.results, run.id)
        finally:
            run.workspace.close()

    def _start_server(self, mortal: bool) -> int:
        data = str(self._folder / "server")
        words = ("serve", "--port", str(self._port), "--data", data, "--faults", RULES)
        return self._forge.start(*words, kill_after_s=self._chance.uniform(0.1, 1.2) if mortal else None)

    def _start_run(self, mortal: bool) -> int:
        kill_after_s = self._chance.uniform(0.01, 0.6) if mortal else None
        return self._forge.start(*self._run_words, program=HERE / "one_run.py", kill_after_s=kill_after_s)


@pytest.mark.timeout(120 + 4 * KILLS)
def test_a_run_and_a_server_that_are_killed_again_and_again_lose_nothing_and_pay_nothing_twice(
    forge: Forge, figure: Callable[[str], None]
) -> None:
    kills, runs = Counter[str](), 0
    while kills.total() < KILLS:
        runs += 1
        here = folder()
        try:
            beside = Beside(forge, here, random.Random(runs))
            beside.live(min(KILLS - kills.total(), 30))
            assert beside.audit().wrong == [], f"in run {runs}"
            kills += beside.kills
        finally:
            shutil.rmtree(here, ignore_errors=True)
    figure(
        f"kill -9: 0 rows lost, 0 batches run twice, 0 rows paid again in {runs} runs, "
        f"which were killed {kills['run']} times and their server {kills['server']} times"
    )


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


def test_ctrl_c_leaves_a_run_that_can_be_resumed(tmp_path: Path, source: Path) -> None:
    """As a shell starts it; at every boundary, and for the other signals, `test_signals` has the same."""
    model = Counting(pause_s=60.0)
    with LocalServer(model, data=tmp_path / "server") as server:
        process = nono_run(tmp_path / "home", server, source)
        assert process.stderr is not None
        for line in process.stderr:
            if "1 running" in line:
                break
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENT_S)
        assert process.returncode == 130
        assert "resume with: nono resume" in said
        model._pause.set()
        again = nono_run(tmp_path / "home", server, source)
        _, said = again.communicate(timeout=PATIENT_S)
        assert again.returncode == 0, said
        assert set(model.asked.values()) == {1}
