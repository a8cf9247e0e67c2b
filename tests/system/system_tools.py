"""A run beside a server that misbehaves, lived to its end and audited."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit import Verdict, check
from timeline import Timeline

import nono
from nono.providers import provider_named
from nono.runs.bench import Settings
from nono.runs.run import Run
from nono.runs.workspace import Workspace
from nono.server.app import LocalServer
from nono.server.clock import SteeredClock
from nono.transport import Sender

MODELS = {"openai": "openai/gpt-4o-mini", "gemini": "gemini/gemini-2.5-flash"}
# Half of the synchronous prices, per million tokens in and out:
# https://openai.com/api/pricing and https://ai.google.dev/gemini-api/docs/pricing
PRICES = {"openai": (0.075, 0.30), "gemini": (0.15, 1.25)}
# The engine's own patience, in a time that leaps; one step at a time, so that time passes only when all rest. Only the
# polls of a batch that is hours old are rarer than usual.
PATIENT = Settings(workers=0, max_attempts=8, poll_cap_s=1800.0)


@dataclass(frozen=True)
class Story:
    """A run that is over, and what the auditor says."""

    run: Run
    verdict: Verdict

    @property
    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.run.results()]

    @property
    def answers(self) -> list[str | None]:
        return [row["answer"] for row in self.run.results()]

    def events(self, name: str) -> list[Any]:
        return [event for event in self.run.ledger.events(self.run.id) if event.name == name]


def base_url(server: LocalServer, provider: str) -> str:
    return {"openai": server.openai_base_url, "gemini": server.gemini_base_url}[provider]


def live(home: Path, server: LocalServer, provider: str, rows: int, *, stride: float = 1.0) -> Story:
    """Plan a run of so many rows and work on it, in the server's time, until it is over."""
    url, clock = base_url(server, provider), server.settings.clock
    assert isinstance(clock, SteeredClock)
    planned = nono.run(
        [{"text": f"[[nono:say {number}]]"} for number in range(rows)],
        prompt="{{ text }}",
        model=MODELS[provider],
        home=home,
        api_key="local",
        base_url=url,
        rows_per_part=rows // 2,
        max_attempts=PATIENT.max_attempts,
        settings=PATIENT,
    )
    planned.workspace.close()
    sender = Sender(provider_named(provider).account(api_key="local", base_url=url), timeout_s=10.0)
    run = Run(
        Workspace(home), planned.id, api_key="local", send=sender, clock=Timeline(clock, stride), settings=PATIENT
    )
    run.wait()
    sender.close()
    return Story(run, audited(run, server, provider))


def audited(run: Run, server: LocalServer, provider: str) -> Verdict:
    return check(
        server.data / "faults.jsonl",
        run.ledger.path,
        run.folder.results,
        run.id,
        usd_per_million=PRICES[provider],
    )
