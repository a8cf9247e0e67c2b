"""The whole of it: a data set through a server that misbehaves, both killed again and again on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from audit import Verdict, check
from system_tools import MODELS, PRICES

import nono
from nono.runs.ledger import RunState
from patience import PATIENT_S
from ports import free_port

FULL = os.environ.get("NONO_PROOF") == "full"
ROWS = 100_000 if FULL else 3_000
KILLS = 10
SERVER_KILLS = 3 if FULL else 1
PARTS = 24
HERE = Path(__file__).parent
WAIT_S = 1800.0 if FULL else 600.0
RULES = """[
    {"fault": "row-error", "status": 429, "share": 0.05, "times": 1},
    {"fault": "row-error", "status": 500, "share": 0.03, "times": 1, "seed": 1},
    {"fault": "row-error", "status": 400, "share": 0.001, "seed": 2},
    {"fault": "expire", "share": 0.2, "after": 0.5},
    {"fault": "corrupt-lines", "share": 0.05},
    {"fault": "shuffle-lines"},
    {"fault": "drop-answer", "call": "create", "share": 0.2},
    {"fault": "refuse", "status": 503, "share": 0.02},
    {"fault": "reset", "share": 0.02}
]"""


class Process:
    """A process that is started again when it has died."""

    def __init__(self, *command: str, said: Path) -> None:
        self._command = command
        self._said = said.open("ab")
        self.kills = 0
        self.start()

    def start(self) -> None:
        environment = os.environ | {"NO_PROXY": "127.0.0.1"}
        self._process = subprocess.Popen(self._command, env=environment, stdout=self._said, stderr=self._said)

    @property
    def code(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        """`kill -9`, and another one takes its place."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.kills += 1
        self.start()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()


class Show:
    """A server and a run beside it, each in a process of its own."""

    def __init__(self, folder: Path, provider: str, rows: int) -> None:
        self.rows = rows
        self.home, self.data = folder / "home", folder / "server"
        self._provider = provider
        self._port = str(free_port())
        source = folder / "rows.jsonl"
        source.write_text("".join(f'{{"text": "[[nono:say {number}]]"}}\n' for number in range(rows)))
        nono_ = (sys.executable, "-m", "nono.cli")
        self.server = Process(
            *nono_,
            "serve",
            "--port",
            self._port,
            "--data",
            str(self.data),
            "--faults",
            RULES,
            said=folder / "server.txt",
        )
        self._wait_until_served()
        base_url = f"http://127.0.0.1:{self._port}/{'v1' if provider == 'openai' else 'gemini'}"
        part = str(rows // PARTS)
        script = str(HERE / "show_run.py")
        self.run = Process(
            sys.executable,
            script,
            str(self.home),
            str(source),
            MODELS[provider],
            base_url,
            part,
            said=folder / "run.txt",
        )

    def _wait_until_served(self) -> None:
        until = time.monotonic() + PATIENT_S
        while time.monotonic() < until:
            with suppress(httpx2.TransportError):
                httpx2.get(f"http://127.0.0.1:{self._port}/_nono/clock")
                return
            time.sleep(0.02)
        raise AssertionError("the server does not start")

    def play(self, chance: random.Random) -> None:
        """Let it go on to its end; both processes die at random instants on the way."""
        deaths = [((number + chance.random()) / (KILLS + 1), self.run) for number in range(KILLS)]
        deaths += [((number + chance.random()) / SERVER_KILLS, self.server) for number in range(SERVER_KILLS)]
        deaths.sort(key=lambda death: death[0])
        progress, until = Progress(self.data / "faults.jsonl"), time.monotonic() + WAIT_S
        while self.run.code is None or deaths:
            assert time.monotonic() < until, f"not over: {progress.executed} executions, {len(deaths)} deaths to come"
            assert self.run.code in (None, 0), "the run gave up"
            assert deaths or self.server.code is None, "the server gave up"
            if deaths and progress.look() >= deaths[0][0] * self.rows:
                deaths.pop(0)[1].kill()
            time.sleep(0.01)

    def audit(self) -> Verdict:
        run = nono.open_run(home=self.home, api_key="local")
        assert run.status.state is RunState.FINISHED
        log = self.data / "faults.jsonl"
        return check(log, run.ledger.path, run.folder.results, run.id, usd_per_million=PRICES[self._provider])

    def end(self) -> None:
        self.run.end()
        self.server.end()


class Progress:
    """How many requests have been executed, by the server's log."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("rb")
        self._rest = b""
        self.executed = 0

    def look(self) -> int:
        whole, _, self._rest = (self._rest + self._log.read()).rpartition(b"\n")
        self.executed += whole.count(b'"what":"executed"')
        return self.executed


@pytest.mark.timeout(WAIT_S + 60)
@pytest.mark.parametrize("provider", ["openai", "gemini"] if FULL else ["openai"])
def test_a_run_and_its_server_that_are_killed_on_the_way_lose_nothing_and_pay_nothing_twice(
    provider: str, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    show = Show(tmp_path, provider, ROWS)
    began = time.monotonic()
    try:
        show.play(random.Random(ROWS))
    finally:
        show.end()
    verdict = show.audit()
    assert verdict.wrong == []
    assert (verdict.rows, show.run.kills, show.server.kills) == (ROWS, KILLS, SERVER_KILLS)
    again = verdict.executions - verdict.rows
    figure(
        f"{provider}: {verdict.rows:,} rows, kill -9 of the run {show.run.kills} times and of the server "
        f"{show.server.kills} times: 0 lost, 0 paid twice; {again:,} rows ran again after errors, expiry or damage "
        f"({time.monotonic() - began:.0f} s)"
    )
