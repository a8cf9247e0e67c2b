"""The same run over both protocols gives the same table, and the same protocol of submission holds over both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from engine_tools import EAGER, FailsFirst, answers, events, texts

import nono
from nono.errors import AnswerLost
from nono.exchange import Call, Reply, Send
from nono.providers import provider_named
from nono.runs.events import Event
from nono.runs.ledger import RunState
from nono.runs.run import Run
from nono.runs.workspace import Workspace
from nono.server.app import LocalServer
from nono.transport import Sender
from patience import PATIENT_S

MODELS = {"openai": "openai/gpt-4o-mini", "gemini": "gemini/gemini-2.5-flash", "vertex": "vertex/gemini-2.5-flash"}


@pytest.fixture(params=list(MODELS))
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def base_url(server: LocalServer, provider: str) -> str:
    return {"openai": server.openai_base_url, "gemini": server.gemini_base_url, "vertex": server.url}[provider]


def start(provider: str, server: LocalServer, home: Path, through: Callable[[Send], Send] | None = None) -> Run:
    url = base_url(server, provider)
    rows = [*texts(4), {"text": "flaky [[nono:say late]]"}, {"text": "[[nono:error 400]]"}]
    settings = replace(EAGER, workers=1)
    run = nono.run(
        rows,
        prompt="{{ text }}",
        model=MODELS[provider],
        home=home,
        api_key="local",
        base_url=url,
        settings=settings,
        rows_per_part=3,
    )
    if through is None:
        return run
    send = through(Sender(provider_named(provider).account(api_key="local", base_url=url)))
    return Run(Workspace(home), run.id, api_key="local", send=send)


def is_create(call: Call) -> bool:
    creates = ("/batches", ":batchGenerateContent", "/batchPredictionJobs")
    return call.method == "POST" and call.path.endswith(creates)


def faulty(fault: Callable[[Call, Send], Reply]) -> Callable[[Send], Send]:
    """The first create goes wrong."""
    left = [fault]

    def through(send: Send) -> Send:
        return lambda call: left.pop()(call, send) if left and is_create(call) else send(call)

    return through


@pytest.fixture
def server(tmp_path: Path):  # type: ignore[no-untyped-def]
    with LocalServer(FailsFirst(), data=tmp_path / "server") as running:
        yield running


def test_every_row_has_its_outcome_over_either_protocol(provider: str, server: LocalServer, tmp_path: Path) -> None:
    run = start(provider, server, tmp_path / "home")
    assert run.wait(timeout_s=PATIENT_S).state is RunState.FINISHED
    assert answers(run) == ["row 0", "row 1", "row 2", "row 3", "late", None]
    assert [row["outcome"] for row in run.results()] == ["succeeded"] * 5 + ["errored"]


def test_a_create_whose_answer_was_lost_is_found_by_its_tag(provider: str, server: LocalServer, tmp_path: Path) -> None:
    def lost(call: Call, send: Send) -> Reply:
        send(call)
        raise AnswerLost("the answer was lost")

    run = start(provider, server, tmp_path / "home", faulty(lost))
    assert run.wait(timeout_s=PATIENT_S).succeeded == 5
    assert len(events(run, "adopted")) == 1
    assert len(run.ledger.attempts(run.id)) == 3


def test_a_create_that_never_arrived_is_fenced_and_made_anew(
    provider: str, server: LocalServer, tmp_path: Path
) -> None:
    def lost(call: Call, send: Send) -> Reply:
        raise AnswerLost("reset")

    run = start(provider, server, tmp_path / "home", faulty(lost))
    assert run.wait(timeout_s=PATIENT_S).succeeded == 5
    assert len(events(run, "fence_raised")) == 1
    assert len(run.ledger.attempts(run.id)) == 4


def test_a_create_that_arrives_behind_the_fence_runs_nothing(
    provider: str, server: LocalServer, tmp_path: Path
) -> None:
    """The one POST is held back until its input file is gone."""
    held: list[tuple[Call, Send]] = []

    def late(call: Call, send: Send) -> Reply:
        held.append((call, send))
        raise AnswerLost("timed out")

    run = start(provider, server, tmp_path / "home", faulty(late))

    def arrive(event: Event) -> None:
        if event.what == "abandoned" and held:
            call, send = held.pop()
            send(call)

    run.subscribe(arrive)
    assert run.wait(timeout_s=PATIENT_S).succeeded == 5
    assert held == []
    assert all(times == 1 for times in asked_of(server, "[[nono:say row"))


def asked_of(server: LocalServer, begin: str) -> list[int]:
    model = server.settings.model
    assert isinstance(model, FailsFirst)
    prompts = [prompt for prompt in model.asked if prompt.startswith(begin)]
    return [prompts.count(prompt) for prompt in set(prompts)]
