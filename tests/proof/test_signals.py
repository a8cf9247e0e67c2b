"""Ctrl-C, twice, and SIGTERM at any boundary of a real process; and many processes that want the same run."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
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
EVERY = 1 if FULL else 23
STARTS = 100 if FULL else 20
AT_ONCE = 10
WORDS = {
    (signal.SIGINT,): 130,
    (signal.SIGINT, signal.SIGINT): 130,
    (signal.SIGTERM,): 143,
}


def batched(numbers: range, size: int) -> Iterator[tuple[int, ...]]:
    left = iter(numbers)
    while some := tuple(islice(left, size)):
        yield some


@dataclass(frozen=True)
class Life:
    """A planned run, the boundary that its process is to be interrupted at, and how that is started."""

    at: int
    run: Run
    environment: dict[str, str]

    @property
    def words(self) -> tuple[str, str]:
        return "resume", self.run.id


@dataclass
class Beside:
    """Planned runs beside a server, and how `nono` finds both."""

    server: LocalServer
    folder: Path
    planned: int = 0

    def plan(self, at: int = 0) -> Life:
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
        return Life(at, run, self.server.environment() | {"NONO_HOME": str(home), "OPENAI_API_KEY": "local"})


@pytest.mark.parametrize("signals", WORDS, ids=["SIGINT", "SIGINT-SIGINT", "SIGTERM"])
def test_a_signal_at_any_boundary_leaves_a_run_that_goes_on_from_there(
    signals: tuple[signal.Signals, ...], forge: Forge, home: Path, figure: Callable[[str], None]
) -> None:
    model = Counting(pause_s=0.0)
    left = 0
    with LocalServer(model, data=home / "server") as server:
        beside = Beside(server, home)
        for wave in batched(range(len(signals), MOST_BOUNDARIES, EVERY), AT_ONCE):
            lives: dict[int, Life] = {}
            for at in wave:
                life = beside.plan(at)
                lives[forge.start(*life.words, environment=life.environment, at=at, signals=signals)] = life
            left_behind, over = [], 0
            for _ in wave:
                ended = forge.wait()
                life = lives[ended.pid]
                if ended.code == 0:  # it was over before, or nearly
                    assert life.run.status.state is RunState.FINISHED, f"{life.at}: {ended.said}"
                    over += "leaving" not in ended.said
                    continue
                assert ended.code == WORDS[signals], f"{life.at}: {ended.said}"
                assert "batches go on at the provider" in ended.said, f"{life.at}: {ended.said}"
                if len(signals) == 1:
                    assert f"resume with: nono resume {life.run.id}" in ended.said, f"{life.at}: {ended.said}"
                left_behind.append(life)
            again = {forge.start(*life.words, environment=life.environment): life for life in left_behind}
            for _ in again:
                ended = forge.wait()
                assert ended.code == 0, f"{again[ended.pid].at}: {ended.said}"
            for life in lives.values():
                assert [row["answer"] for row in life.run.results()] == ["ok", "flaky", "fine"]
                life.run.workspace.close()
            left += len(left_behind)
            if over:
                break
        assert set(completed(server).values()) == {1}
        wrong = {text: times for text, times in model.asked.items() if times != (2 if text.startswith("flaky") else 1)}
        assert wrong == {}
    assert left > 1
    figure(f"{' '.join(number.name for number in signals)}: 0 wrong, left {left} times")


def test_of_many_processes_on_a_run_one_owns_it_and_the_others_name_it(
    forge: Forge, home: Path, figure: Callable[[str], None]
) -> None:
    for number in range(STARTS // AT_ONCE):
        model = Counting(pause_s=60.0)
        with LocalServer(model, data=home / "server") as server:
            beside = Beside(server, home / str(number))
            life = beside.plan()
            pids = {forge.start(*life.words, environment=life.environment) for _ in range(AT_ONCE)}
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
            life.run.workspace.close()
    figure(f"two and more processes on one run: {STARTS} starts, one owner each time")
