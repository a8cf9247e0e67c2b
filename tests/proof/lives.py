"""Lives of a run: a process works on it until it is over or dies; then another one takes it up, until all is told."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checker import Verdict, check
from gemini_world import GEMINI_URL, GeminiWorld
from world import BASE_URL, START_MS, Crash, Weather, World

import nono
from nono.runs.bench import Settings
from nono.runs.ledger import Ledger, Transaction
from nono.runs.run import Run
from nono.runs.workspace import Workspace

# One step at a time, in one thread: a history is a function of its parameters.
SETTINGS = Settings(workers=0, poll_first_s=2.0, poll_cap_s=20.0, max_attempts=8)
MOST_LIVES = 40
# Some histories in every test run, all of them with NONO_PROOF=full (`make prove`).
FULL = os.environ.get("NONO_PROOF") == "full"
# Parts of two rows: one is answered in a second round, one never, a batch expires half-way.
SHORT = ("ok 1", "flaky 2", "ok 3")
# A provider's model, its address, and the world that speaks its language.
DIALECTS: dict[str, tuple[str, str, type[World]]] = {
    "openai": ("openai/gpt-4o-mini", BASE_URL, World),
    "gemini": ("gemini/gemini-2.5-flash", GEMINI_URL, GeminiWorld),
}
PROVIDERS = tuple(DIALECTS)
LONG = ("ok 1", "flaky 2", "ok 3", "bad 4", "ok 5", "expire 6", "ok 7")


class WatchedLedger(Ledger):
    """The real ledger; before and after every commit the process may die."""

    def __init__(self, path: Path, world: World) -> None:
        super().__init__(path)
        self._world = world

    @contextmanager
    def transaction(self, *, run_id: str | None = None, epoch: int | None = None) -> Iterator[Transaction]:
        with super().transaction(run_id=run_id, epoch=epoch) as work:
            yield work
            self._world.boundary("before a commit")
        self._world.boundary("after a commit")


class WatchedWorkspace(Workspace):
    """The real workspace, over a ledger that is watched."""

    def __init__(self, home: Path, world: World) -> None:
        self.home = home
        self.ledger = WatchedLedger(home / "ledger.db", world)


@dataclass(frozen=True)
class Plan:
    """A planned run, as a folder to copy: planning is not what is proved here."""

    home: Path
    run_id: str
    texts: tuple[str, ...]
    provider: str = "openai"

    def world(self, weather: Weather | None = None, **words: Any) -> World:
        """The world of the run's provider, just after the run was planned."""
        return begin_after(DIALECTS[self.provider][2](weather, **words), self)


def folder() -> Path:
    """A new folder, in memory where there is such a place: a history has some hundred fsyncs."""
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="nono-proof-", dir=where))


def planned(
    home: Path,
    texts: tuple[str, ...],
    *,
    rows_per_part: int = 2,
    settings: Settings = SETTINGS,
    provider: str = "openai",
    id_column: str | None = None,
) -> Plan:
    """A planned run, with a row for each of the texts; `id_column` has ids of their own."""
    model, base_url, _ = DIALECTS[provider]
    run = nono.run(
        [{"text": text} | ({id_column: f"own {no}"} if id_column else {}) for no, text in enumerate(texts)],
        prompt="{{ text }}",
        model=model,
        home=home,
        api_key="key",
        base_url=base_url,
        settings=settings,
        max_attempts=settings.max_attempts,
        rows_per_part=rows_per_part,
        id=id_column,
    )
    run.workspace.close()
    return Plan(home, run.id, texts, provider)


@dataclass(frozen=True)
class History:
    """What became of a run: the auditor's verdict, and the world as it was in the end."""

    verdict: Verdict
    world: World
    lives: int

    @property
    def wrong(self) -> list[str]:
        return self.verdict.wrong


def opened(home: Path, run_id: str, world: World) -> Run:
    return Run(WatchedWorkspace(home, world), run_id, api_key="key", send=world.send, clock=world.clock)


def live(
    plan: Plan,
    world: World,
    *,
    downtime_s: float = 1.0,
    deed: Callable[[Run], object] = Run.wait,
    cancelled: bool = False,
    hours_after: float = 1.0,
    seed: int = 0,
) -> History:
    """Live a run to its end, however many processes it takes, and audit it.

    `deed` is what each process does with the run. In the end some time passes: what is under way at the provider
    arrives, and is audited too. `seed` decides the part of chance in the engine's pauses, and so what meets what.
    """
    random.seed(seed)
    home = folder()
    try:
        shutil.copytree(plan.home, home, dirs_exist_ok=True)
        for lives in range(1, MOST_LIVES + 1):  # noqa: B007 - told in the end
            run = opened(home, plan.run_id, world)
            try:
                deed(run)
                break
            except Crash:
                world.revive(downtime_s)
            finally:
                run.workspace.close()
        else:
            raise AssertionError(f"not over after {MOST_LIVES} lives: {world.places[-5:]}")
        world.clock.advance(hours_after * 3600)
        world.pass_time()
        verdict = check(home, plan.run_id, list(plan.texts), world.log, cancelled=cancelled)
        return History(verdict, world, lives)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def begin_after(world: World, plan: Plan) -> World:
    """Set the world's clock to when the run was planned: to a whole second, because services count in such."""
    with contextlib.closing(Ledger(plan.home / "ledger.db")) as ledger:
        run = ledger.run(plan.run_id)
    assert run is not None
    world.clock.true_ms = max(START_MS, (run.created_at // 1000 + 2) * 1000)
    return world
