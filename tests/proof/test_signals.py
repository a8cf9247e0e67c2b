"""Ctrl-C, twice, and SIGTERM at any boundary of a real process; and many processes that want the same run."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from forge import Forge
from lives import FULL
from test_kills import Counting, completed

import nono
from nono.runs.bench import Settings
from nono.runs.ledger import RunState
from nono.runs.run import Run
from nono.server.app import LocalServer

# Patient enough for a listing that never lags, as this server's.
QUICK = Settings(poll_first_s=0.02, poll_cap_s=0.05, reconcile_s=0.2, fence_s=0.3, workers=2)
# More boundaries than a life of so few rows has; those behind its end are told by the process ending with 0.
MOST_BOUNDARIES = 200
EVERY = 1 if FULL else 17
STARTS = 100 if FULL else 20
AT_ONCE = 10
WORDS = {
    (signal.SIGINT,): 130,
    (signal.SIGINT, signal.SIGINT): 130,
    (signal.SIGTERM,): 143,
}


@dataclass
class Beside:
    """Planned runs beside a server, and how `nono` finds both."""

    server: LocalServer
    folder: Path
    planned: int = 0

    def plan(self) -> tuple[Run, dict[str, str]]:
        self.planned += 1
        home = self.folder / f"home-{self.planned}"
        run = nono.run(
            [{"text": f"{kind} {self.planned} [[nono:say {kind}]]"} for kind in ("ok", "flaky", "fine")],
            prompt="{{ text }}",
            model="openai/gpt-4o-mini",
            home=home,
            api_key="local",
            base_url=self.server.openai_base_url,
            rows_per_part=2,
            settings=QUICK,
        )
        return run, self.server.environment() | {"NONO_HOME": str(home), "OPENAI_API_KEY": "local"}


@pytest.mark.parametrize("signals", WORDS, ids=["SIGINT", "SIGINT-SIGINT", "SIGTERM"])
def test_a_signal_at_any_boundary_leaves_a_run_that_goes_on_from_there(
    signals: tuple[signal.Signals, ...], forge: Forge, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    model = Counting(pause_s=0.0)
    left = 0
    with LocalServer(model, data=tmp_path / "server") as server:
        beside = Beside(server, tmp_path)
        for at in range(len(signals), MOST_BOUNDARIES, EVERY):
            run, environment = beside.plan()
            ended = forge.run("resume", run.id, environment=environment, at=at, signals=signals)
            if ended.code == 0:  # it was over before
                assert run.status.state is RunState.FINISHED, f"{at}: {ended.said}"
                run.workspace.close()
                if "leaving" not in ended.said:
                    break
                continue
            left += 1
            assert ended.code == WORDS[signals], f"{at}: {ended.said}"
            assert "batches go on at the provider" in ended.said, f"{at}: {ended.said}"
            if len(signals) == 1:
                assert f"resume with: nono resume {run.id}" in ended.said, f"{at}: {ended.said}"
            again = forge.run("resume", run.id, environment=environment)
            assert again.code == 0, f"{at}: {again.said}"
            assert [row["answer"] for row in run.results()] == ["ok", "flaky", "fine"]
            run.workspace.close()
        assert set(completed(server).values()) == {1}
        wrong = {text: times for text, times in model.asked.items() if times != (2 if text.startswith("flaky") else 1)}
        assert wrong == {}
    assert left > 1
    figure(f"{' '.join(number.name for number in signals)}: 0 wrong, left {left} times")


def test_of_many_processes_on_a_run_one_owns_it_and_the_others_name_it(
    forge: Forge, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    for _ in range(STARTS // AT_ONCE):
        model = Counting(pause_s=60.0)
        with LocalServer(model, data=tmp_path / "server") as server:
            beside = Beside(server, tmp_path / str(_))
            run, environment = beside.plan()
            pids = {forge.start("resume", run.id, environment=environment) for _ in range(AT_ONCE)}
            refused = [forge.wait() for _ in range(AT_ONCE - 1)]
            (owner,) = pids - {ended.pid for ended in refused}
            model._pause.set()
            last = forge.wait()
            assert (last.pid, last.code) == (owner, 0), last.said
            for ended in refused:
                assert ended.code == 6, ended.said
                assert re.search(rf"is owned by (\S+:{owner}|another process)\b", ended.said), ended.said
            # One that came before the owner had written its name cannot say it; the others do.
            assert {prompt: times for prompt, times in model.asked.items() if times > 2} == {}
            run.workspace.close()
    figure(f"two and more processes on one run: {STARTS} starts, one owner each time")
