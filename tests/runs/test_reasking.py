"""Asking again with what is wrong: an answer that does not fit the schema goes back, and the second one counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from engine_tools import EAGER, events

import nono
from nono.errors import InputError
from nono.providers import Task, provider_named
from nono.runs.run import Run
from nono.server.app import LocalServer
from nono.server.models.simulated import SimulatedModel
from patience import PATIENT_S

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["label"],
    "additionalProperties": False,
}
GOOD, UGLY = '{"label": "good"}', '{"label": "ugly"}'
CHATS = (
    ("openai/gpt-4o-mini", None),
    ("openai/gpt-4o-mini", "/v1/responses"),
    ("gemini/gemini-2.5-flash", None),
)


class Learner(SimulatedModel):
    """Answers wrongly until it was told `mistakes` times what is wrong; a prompt with `cut` has its answer cut off."""

    def __init__(self, mistakes: int, fails: Mapping[int, int] | None = None) -> None:
        self.mistakes = mistakes
        self.heard: list[list[dict[str, Any]]] = []
        self._fails = dict(fails or {})
        self._lock = threading.Lock()

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.heard.append(list(body["messages"]))
            status = self._fails.get(len(self.heard), 200)
        if status != 200:
            return status, {"error": {"message": "not now", "type": "x", "param": None, "code": "rate_limit_exceeded"}}
        status, answered = super().answer(endpoint, body)
        told = sum(len(turns) > 1 for turns in self.heard)
        answered["choices"][0]["message"]["content"] = UGLY if told < self.mistakes else GOOD
        if "cut" in str(body["messages"]):
            answered["choices"][0]["finish_reason"] = "length"
        return status, answered


@contextmanager
def asked(
    home: Path, model: Learner, name: str = CHATS[0][0], endpoint: str | None = None, **words: Any
) -> Iterator[Run]:
    with LocalServer(model, data=home / "server") as server:
        base_url = server.gemini_base_url if name.startswith("gemini") else server.openai_base_url
        given = {"prompt": "{{ text }}", "schema": SCHEMA, "settings": EAGER, "api_key": "local"}
        source = words.pop("source", [{"text": "how is it?"}])
        yield nono.run(source, model=name, endpoint=endpoint, home=home, base_url=base_url, **given | words)


def only(run: Run) -> dict[str, Any]:
    assert run.wait(timeout_s=PATIENT_S).state == "finished"
    (row,) = run.results()
    return row


@pytest.mark.parametrize(("name", "endpoint"), CHATS)
def test_an_answer_that_does_not_fit_is_sent_back_with_what_is_wrong(
    name: str, endpoint: str | None, tmp_path: Path
) -> None:
    model = Learner(mistakes=1)
    with asked(tmp_path, model, name, endpoint, reask=1) as run:
        row = only(run)
    assert (row["outcome"], row["label"], row["attempts"]) == ("succeeded", "good", 2)
    first, second = model.heard
    assert [turn["role"] for turn in second] == ["user", "assistant", "user"]
    assert (first[0]["content"], second[0]["content"]) == ("how is it?", "how is it?")
    assert "ugly" in str(second[1]["content"])
    assert "data.label must be one of" in str(second[2]["content"])


def test_both_answers_are_paid_for(tmp_path: Path) -> None:
    with asked(tmp_path, Learner(mistakes=1), reask=1) as run, asked(tmp_path / "b", Learner(mistakes=0)) as once:
        twice, alone = only(run), only(once)
    assert twice["input_tokens"] > 2 * alone["input_tokens"]
    assert twice["output_tokens"] == 2 * alone["output_tokens"]
    assert twice["cost_usd"] > 2 * alone["cost_usd"]


def test_without_the_option_an_answer_that_does_not_fit_is_not_asked_for_again(tmp_path: Path) -> None:
    with asked(tmp_path, model := Learner(mistakes=9)) as run:
        row = only(run)
    assert (row["outcome"], row["error_code"], row["answer"], row["attempts"]) == (
        "errored",
        "schema_mismatch",
        UGLY,
        1,
    )
    assert len(model.heard) == 1


def test_an_answer_is_sent_back_as_often_as_was_said_and_keeps_its_text(tmp_path: Path) -> None:
    with asked(tmp_path, model := Learner(mistakes=9), reask=2, max_attempts=5) as run:
        row = only(run)
    assert (row["outcome"], row["error_code"], row["answer"], row["attempts"]) == (
        "errored",
        "schema_mismatch",
        UGLY,
        3,
    )
    assert [len(turns) for turns in model.heard] == [1, 3, 3]


def test_a_reask_is_one_of_the_attempts(tmp_path: Path) -> None:
    with asked(tmp_path, Learner(mistakes=9), reask=9, max_attempts=2) as run:
        assert only(run)["attempts"] == 2


def test_an_answer_that_was_cut_off_is_not_sent_back(tmp_path: Path) -> None:
    with asked(tmp_path, model := Learner(mistakes=9), reask=2, source=[{"text": "cut"}]) as run:
        row = only(run)
    assert row["error_message"].endswith("(finish_reason length)")
    assert len(model.heard) == 1


def test_a_reask_that_is_refused_for_the_pace_is_sent_again_with_the_answer(tmp_path: Path) -> None:
    with asked(tmp_path, model := Learner(mistakes=1, fails={2: 429}), reask=1) as run:
        row = only(run)
    assert (row["outcome"], row["label"], row["attempts"]) == ("succeeded", "good", 3)
    assert [len(turns) for turns in model.heard] == [1, 3, 3]


def test_a_reask_that_can_never_succeed_leaves_the_first_answer_as_it_was(tmp_path: Path) -> None:
    with asked(tmp_path, model := Learner(mistakes=1, fails={2: 400}), reask=2, max_attempts=5) as run:
        row = only(run)
    assert (row["outcome"], row["error_code"], row["answer"]) == ("errored", "schema_mismatch", UGLY)
    assert len(model.heard) == 2


def test_only_the_answers_that_do_not_fit_are_sent_back(tmp_path: Path) -> None:
    class Choosy(Learner):
        def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
            status, answered = super().answer(endpoint, body)
            if "easy" in str(body["messages"][0]["content"]):
                answered["choices"][0]["message"]["content"] = GOOD
            return status, answered

    rows = [{"text": f"{'easy' if number % 3 else 'hard'} {number}"} for number in range(9)]
    with asked(tmp_path, model := Choosy(mistakes=1), reask=1, source=rows, rows_per_part=4) as run:
        assert run.wait(timeout_s=PATIENT_S).succeeded == 9
        assert [row["attempts"] for row in run.results()] == [2, 1, 1] * 3
        assert json.loads(events(run, "retry_planned")[0].detail)["requests"] == 3
    assert len(model.heard) == 12


def test_a_run_that_was_left_before_the_reask_sends_the_same_question(tmp_path: Path) -> None:
    """The question is made of what stands in the results: another process makes it as this one would have."""
    with asked(tmp_path, model := Learner(mistakes=1), reask=1) as run:

        def leave(event: Any) -> None:
            if event.what == "settled":
                run.leave()

        run.subscribe(leave)
        run.wait(timeout_s=PATIENT_S)
        assert len(model.heard) == 1
        again = nono.open_run(run.id, home=tmp_path, api_key="local")
        assert only(again)["label"] == "good"
    assert [len(turns) for turns in model.heard] == [1, 3]


def test_reask_without_a_schema_says_that_it_can_do_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reask without a schema"):
        nono.run([{"text": "x"}], model=CHATS[0][0], prompt="{{ text }}", reask=1, home=tmp_path, api_key="local")


def test_an_empty_answer_goes_back_without_a_turn_of_the_model() -> None:
    """No service takes an empty turn."""
    for name in ("openai", "gemini"):
        provider = provider_named(name)
        task = Task("chat", "m")
        line = provider.request_line("a", task, provider.request_body(task, "how is it?"))
        told = json.dumps(provider.reasked_line(line, answer="", message="nothing came"))
        assert "nothing came" in told
        assert "assistant" not in told and '"model", "parts"' not in told
