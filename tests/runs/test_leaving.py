"""Being left, and leaving: an address where nobody is, an outage, a person who does not want to wait for a call."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from engine_tools import Beside, Gated, answers, texts

from nono.errors import NotSent
from nono.exchange import Call, Reply, Send
from nono.providers import provider_named
from nono.runs.crew import Crew
from nono.runs.ledger import RunState
from nono.runs.run import Run
from nono.runs.workspace import Workspace
from nono.server.app import LocalServer
from nono.transport import Sender
from patience import PATIENT_S


class HandClock:
    """Stands still, but for those who wait."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def elapsed_s(self) -> float:
        return self.seconds

    def wait(self, seconds: float, wake: threading.Event) -> None:
        self.seconds += seconds


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[Run, Callable[[], None]]]:
    """A run whose batch is at work, and what lets the model answer."""
    model = Gated()
    with LocalServer(model, data=tmp_path / "server") as server:
        run = Beside(tmp_path / "home", server).run(texts(1))
        run.wait(until_submitted=True, timeout_s=PATIENT_S)
        yield run, model.open
        model.open()


def again(run: Run, send: Send) -> Run:
    return Run(Workspace(run.workspace.home), run.id, api_key="local", send=send, clock=HandClock())


def test_a_run_that_waits_where_nobody_has_answered_stops_and_says_so(
    waiting: tuple[Run, Callable[[], None]],
) -> None:
    run, let_answer = waiting

    def nobody(call: Call) -> Reply:
        raise NotSent(f"{call.method} {call.path}: connection refused")

    status = again(run, nobody).wait(timeout_s=PATIENT_S)
    assert status.state is RunState.STOPPED
    assert status.reason is not None and status.reason.startswith("unavailable: GET /batches")
    let_answer()
    assert run.wait(timeout_s=PATIENT_S).succeeded == 1


def test_an_outage_is_waited_out_however_long_it_lasts(waiting: tuple[Run, Callable[[], None]]) -> None:
    run, let_answer = waiting
    calls = []
    account = provider_named("openai").at().account(api_key="local", base_url=run.spec.base_url)
    with closing(Sender(account)) as sender:

        def flaky(call: Call) -> Reply:
            calls.append(call)
            if 1 < len(calls) < 40:
                raise NotSent("no network")
            let_answer()
            return sender(call)

        assert again(run, flaky).wait(timeout_s=PATIENT_S).state is RunState.FINISHED
    assert answers(run) == ["row 0"]


def test_a_call_that_hangs_does_not_keep_the_interpreter_from_ending() -> None:
    code = "from threading import Event; from nono.runs.crew import Crew; Crew(2, 'hangs').do(Event().wait)"
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENT_S, check=False).returncode == 0


def test_a_crew_ends_when_everything_is_done() -> None:
    crew, did = Crew(3, "counts"), []
    for number in range(50):
        crew.do(lambda number=number: did.append(number))  # type: ignore[misc]
    crew.end()
    assert sorted(did) == list(range(50))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("counts")]
