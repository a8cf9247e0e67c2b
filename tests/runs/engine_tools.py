"""A run beside a local server, in as few words as the tests of the engine need."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nono
from nono.exchange import Call, Reply, Send
from nono.runs.bench import Settings
from nono.runs.ledger import AttemptState, EventRow
from nono.runs.run import Run
from nono.server.app import LocalServer
from nono.server.models.simulated import SimulatedModel
from nono.transport import Sender
from patience import PATIENT_S

# Quick enough for tests: the local server answers at once.
EAGER = Settings(poll_first_s=0.01, poll_cap_s=0.05, reconcile_s=0.05, fence_s=0.1)


def texts(count: int, *, begin: str = "row") -> list[dict[str, str]]:
    return [{"text": f"[[nono:say {begin} {number}]]"} for number in range(count)]


class Beside:
    """A workspace beside a server: makes runs whose calls go to it, through `through` where that is given."""

    def __init__(self, home: Path, server: LocalServer) -> None:
        self.home = home
        self.server = server

    def run(self, source: Any, *, through: Callable[[Send], Send] | None = None, **words: Any) -> Run:
        settings = words.pop("settings", EAGER)
        words = {"prompt": "{{ text }}", "model": "openai/gpt-4o-mini"} | words
        run = nono.run(
            source,
            home=self.home,
            api_key="local",
            base_url=self.server.openai_base_url,
            settings=settings,
            **words,
        )
        return self.again(run, through) if through else run

    def again(self, run: Run, through: Callable[[Send], Send] | None = None) -> Run:
        """The same run as another process would open it."""
        from nono.runs.workspace import Workspace

        send = None
        if through is not None:
            account = run.spec.provider and _account(self.server)
            send = through(Sender(account))
        return Run(Workspace(self.home), run.id, api_key="local", send=send)


def _account(server: LocalServer) -> Any:
    from nono.providers import provider_named

    return provider_named("openai").account(api_key="local", base_url=server.openai_base_url)


def answers(run: Run) -> list[str | None]:
    return [row["answer"] for row in run.results()]


def outcomes(run: Run) -> list[str]:
    return [row["outcome"] for row in run.results()]


def states(run: Run) -> list[str]:
    return [attempt.state.value for attempt in run.ledger.attempts(run.id)]


def events(run: Run, name: str) -> list[EventRow]:
    return [event for event in run.ledger.events(run.id) if event.name == name]


def batches(server: LocalServer) -> list[Any]:
    """The server's own list of batches, newest first."""
    return server.core.store.batches("openai", after=None, limit=1000)


def until(state: AttemptState, run: Run) -> Callable[[Any], None]:
    """A subscriber that leaves the run as soon as an attempt is in that state."""

    def look(_: Any) -> None:
        if any(attempt.state is state for attempt in run.ledger.attempts(run.id)):
            run.leave()

    return look


class FailsFirst(SimulatedModel):
    """Fails each prompt that holds `flaky` with a 429 the first time it is asked; counts what it is asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked: list[str] = []

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        prompt = str(body["messages"][0]["content"])
        with self._lock:
            first = prompt not in self.asked
            self.asked.append(prompt)
        if first and "flaky" in prompt:
            return 429, {
                "error": {"message": "too fast", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
            }
        return super().answer(endpoint, body)


class Gated(SimulatedModel):
    """Answers so many requests, then waits until the gate is opened."""

    def __init__(self, free: int = 0) -> None:
        self._free = free
        self._changed = threading.Condition()
        self.asked = 0

    def open(self) -> None:
        with self._changed:
            self._free = sys.maxsize
            self._changed.notify_all()

    def wait_for(self, asked: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.asked >= asked, PATIENT_S)

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.asked += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._free > 0)
            self._free -= 1
        return super().answer(endpoint, body)


def replaced(when: Callable[[Call], bool], by: Callable[[Call, Send], Reply], times: int = 1) -> Callable[[Send], Send]:
    """A sender that performs the first `times` calls that fit in another way."""
    left = [times]

    def through(send: Send) -> Send:
        def wrapped(call: Call) -> Reply:
            if left[0] and when(call):
                left[0] -= 1
                return by(call, send)
            return send(call)

        return wrapped

    return through


def is_create(call: Call) -> bool:
    return call.method == "POST" and call.path == "/batches"


def is_upload(call: Call) -> bool:
    return call.method == "POST" and call.path == "/files"
