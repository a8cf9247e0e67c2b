"""Answers of earlier runs: what was answered once is not sent again, and what was not is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from engine_tools import EAGER, Beside, FailsFirst, Gated, answers, batches, texts, until

import nono
from nono.errors import InputError
from nono.exchange import Call, Reply, Send
from nono.providers import Task, provider_named
from nono.runs.collecting import collect, purge
from nono.runs.earlier import Asked, EarlierAnswers
from nono.runs.ledger import AttemptState, RunState
from nono.runs.run import Run
from nono.runs.workspace import Workspace
from nono.server.app import LocalServer
from nono.server.models.simulated import SimulatedModel
from patience import PATIENT_S


@pytest.fixture
def model() -> FailsFirst:
    return FailsFirst()


@pytest.fixture
def beside(tmp_path: Path, model: FailsFirst) -> Iterator[Beside]:
    with LocalServer(model, data=tmp_path / "server") as server:
        yield Beside(tmp_path / "home", server)


def done(run: Run) -> Run:
    run.wait(timeout_s=PATIENT_S)
    return run


def column(run: Run, name: str) -> list[Any]:
    return [row[name] for row in run.results()]


def unreachable(_: Send) -> Send:
    def send(call: Call) -> Reply:
        raise AssertionError(f"{call.method} {call.path} was sent")

    return send


# --- what is reused ---


def test_only_rows_that_no_earlier_run_has_answered_are_sent(beside: Beside, model: FailsFirst) -> None:
    done(beside.run(texts(5)))
    assert beside.run([*texts(8)[::-1]], reuse=True).wait(timeout_s=PATIENT_S).succeeded == 8
    assert sorted(model.asked) == sorted(row["text"] for row in texts(8))


def test_a_reused_row_has_the_answer_for_nothing_and_names_the_batch_that_gave_it(beside: Beside) -> None:
    first = done(beside.run(texts(2)))
    second = done(beside.run([{"id": "a", **texts(2)[1]}], id="id", reuse=True))
    (then, now) = list(first.results())[1], next(iter(second.results()))
    same = ("answer", "outcome", "finish_reason", "model", "batch_id")
    assert [now[name] for name in same] == [then[name] for name in same]
    assert {name: now[name] for name in ("custom_id", "attempts", "input_tokens", "output_tokens", "cost_usd")} == {
        "custom_id": "a",
        "attempts": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": 0.0,
    }


def test_without_the_wish_nothing_is_reused(beside: Beside, model: FailsFirst) -> None:
    done(beside.run(texts(2)))
    done(beside.run(texts(3)))
    assert len(model.asked) == 5


def test_a_run_whose_rows_are_all_answered_is_over_without_a_call(beside: Beside) -> None:
    done(beside.run(texts(3)))
    run = beside.run(texts(2), reuse=True, through=unreachable, rows_per_part=1)
    assert run.wait(timeout_s=PATIENT_S).state is RunState.FINISHED
    assert answers(run) == ["row 0", "row 1"]
    assert len(batches(beside.server)) == 1


def test_answers_come_from_runs_that_are_under_way_too(tmp_path: Path) -> None:
    model = Gated(free=2)
    with LocalServer(model, data=tmp_path / "server") as server:
        beside = Beside(tmp_path / "home", server)
        first = beside.run(texts(4), rows_per_part=2, max_batches=1)
        first.subscribe(until(AttemptState.CLEANED, first))
        assert first.wait(timeout_s=PATIENT_S).left == 2
        assert beside.run(texts(5), reuse=True).status.reused == 2
        model.open()


def test_structured_answers_are_parsed_anew(beside: Beside, model: FailsFirst) -> None:
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string"}},
        "required": ["label"],
        "additionalProperties": False,
    }
    rows = [{"text": '[[nono:say {"label": "good"}]]'}]
    done(beside.run(rows, schema=schema))
    run = done(beside.run(rows * 2, schema=schema, reuse=True))
    assert (column(run, "label"), len(model.asked)) == (["good", "good"], 1)


def test_vectors_are_reused(tmp_path: Path, server: LocalServer) -> None:
    beside = Beside(tmp_path / "home", server)
    words = {"model": "openai/text-embedding-3-small", "task": "embedding"}
    first = done(beside.run([{"text": "a"}, {"text": "b"}], **words))
    second = done(beside.run([{"text": "b"}], reuse=True, **words))
    assert column(second, "embedding") == column(first, "embedding")[1:]
    assert len(batches(server)) == 1


def test_the_gemini_protocol_reuses_in_the_same_way(tmp_path: Path, server: LocalServer) -> None:
    words: dict[str, Any] = {
        "prompt": "{{ text }}",
        "model": "gemini/gemini-2.5-flash",
        "home": tmp_path / "home",
        "api_key": "local",
        "base_url": server.gemini_base_url,
        "settings": EAGER,
    }
    done(nono.run(texts(2), **words))
    run = nono.run(texts(3), reuse=True, **words)
    assert run.status.reused == 2
    assert answers(done(run)) == ["row 0", "row 1", "row 2"]


@pytest.mark.parametrize("custom_id", ['say "hi"', "back\\slash", "naïve – 名", "tab\there"])
def test_any_id_will_do(beside: Beside, model: FailsFirst, custom_id: str) -> None:
    row = {"id": custom_id, **texts(1)[0]}
    done(beside.run([row], id="id"))
    run = done(beside.run([row, {"id": "other", **texts(1)[0]}], id="id", reuse=True))
    assert (column(run, "custom_id"), answers(run)) == ([custom_id, "other"], ["row 0", "row 0"])
    assert len(model.asked) == 1


# --- what is not ---


@pytest.mark.parametrize(
    "words",
    [{"model": "openai/gpt-4o"}, {"system": "Be brief."}, {"temperature": 0.5}, {"endpoint": "/v1/responses"}],
    ids=["model", "system", "parameter", "endpoint"],
)
def test_another_question_is_asked(beside: Beside, words: dict[str, Any]) -> None:
    done(beside.run(texts(1)))
    run = beside.run(texts(1), reuse=True, **words)
    assert run.status.reused == 0


def test_a_rehearsal_somewhere_else_does_not_answer(tmp_path: Path, beside: Beside) -> None:
    done(beside.run(texts(1)))
    with LocalServer(data=tmp_path / "other") as server:
        assert Beside(beside.home, server).run(texts(1), reuse=True).status.reused == 0


def test_what_failed_is_asked_again(beside: Beside, model: FailsFirst) -> None:
    rows = [*texts(1), {"text": "flaky [[nono:say late]]"}]
    assert done(beside.run(rows, max_attempts=1)).status.failed == 1
    run = done(beside.run(rows, max_attempts=1, new=True, reuse=True))
    assert (answers(run), run.status.reused) == (["row 0", "late"], 1)


def test_what_is_not_of_the_schema_is_asked_again(beside: Beside, model: FailsFirst) -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    rows = [{"text": "[[nono:say no object]]"}]
    assert done(beside.run(rows, schema=schema)).status.failed == 1
    assert beside.run(rows, schema=schema, new=True, reuse=True).status.reused == 0


def _line(custom_id: str, text: str, status: int = 200) -> bytes:
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "model": "m"}
    return json.dumps({"custom_id": custom_id, "response": {"status_code": status, "body": body}}).encode() + b"\n"


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Any]:
    """Makes the files of an earlier batch that asked `{"q":1}` as "a", and looks up what answers that."""
    provider = provider_named("openai").at()
    with EarlierAnswers(provider, Task("chat", "m")) as earlier:

        def add(batch_id: str, *lines: bytes) -> None:
            requests, file = tmp_path / f"{batch_id}.requests", tmp_path / f"{batch_id}.answers"
            requests.write_bytes(b'{"custom_id":"a","body":{"q":1}}\n{"custom_id":"b","body":{"q":2}}\n')
            file.write_bytes(b"".join(lines))
            earlier.add(Asked(requests, [file], batch_id))

        add.find = lambda: earlier.find(b'{"custom_id":"z","body":{"q":1}}')  # type: ignore[attr-defined]
        yield add


def test_the_answer_that_was_added_first_counts(batch: Any) -> None:
    batch("newest", _line("b", "no"), _line("a", "yes"))
    batch("older", _line("a", "old"))
    found = batch.find()
    assert (found.batch_id, found.line + b"\n") == ("newest", _line("a", "yes"))


def test_an_older_answer_stands_in_for_one_that_failed(batch: Any) -> None:
    batch("newest", _line("a", "no", status=500), b"{half a line\n", b"\n")
    batch("older", _line("a", "old"))
    assert batch.find().batch_id == "older"


def test_an_answer_with_two_ids_answers_nobody(batch: Any) -> None:
    batch("odd", _line("a", "whose?")[:-2] + b', "custom_id": "b"}\n')
    assert batch.find() is None


def test_files_that_vanish_while_they_are_looked_at_answer_nothing(batch: Any, tmp_path: Path) -> None:
    batch("gone", _line("a", "yes"))
    (tmp_path / "gone.answers").unlink()
    assert batch.find() is None


# --- which runs ---


def test_named_runs_alone_answer(beside: Beside) -> None:
    first = done(beside.run(texts(2), name="monday"))
    done(beside.run([*texts(4)[2:]]))
    assert beside.run(texts(5), reuse="monday").status.reused == 2
    assert beside.run(texts(6), reuse=["monday", first.id]).status.reused == 2


def test_a_named_run_that_asked_something_else_is_refused_with_the_reason(beside: Beside) -> None:
    done(beside.run(texts(1), name="monday", model="openai/gpt-4o"))
    with pytest.raises(InputError, match="has no answers for this one: it asked openai/gpt-4o"):
        beside.run(texts(1), reuse="monday")
    with pytest.raises(InputError, match="no run called 'sunday'"):
        beside.run(texts(1), reuse="sunday")
    assert [run.name for run in Workspace(beside.home).ledger.runs()] == ["monday"]


def test_a_damaged_run_does_not_keep_others_from_answering(beside: Beside) -> None:
    done(beside.run(texts(1)))
    broken = done(beside.run(texts(2)))
    (broken.folder.path / "run.json").write_text("{")
    assert beside.run(texts(3), reuse=True).status.reused == 1


# --- together with everything else ---


def test_rows_that_ask_the_same_are_reused_or_sent_once(beside: Beside, model: FailsFirst) -> None:
    done(beside.run(texts(1)))
    run = beside.run(texts(2) * 3, dedupe=True, reuse=True, rows_per_part=1)
    assert (run.status.reused, sum(part.borrows_from != () for part in nono_plan(run).parts)) == (3, 1)
    assert answers(done(run)) == ["row 0", "row 1"] * 3
    assert len(model.asked) == 2


def nono_plan(run: Run) -> Any:
    from nono.runs.spec import load_plan

    return load_plan(run.folder)


def test_retrying_leaves_reused_rows_alone(beside: Beside, model: FailsFirst) -> None:
    done(beside.run(texts(2)))
    rows = [texts(1)[0], {"text": "flaky [[nono:say late]]"}, texts(2)[1]]
    run = done(beside.run(rows, reuse=True, max_attempts=1))
    assert column(run, "outcome") == ["succeeded", "errored", "succeeded"]
    assert run.retry().succeeded == 3
    assert (answers(run), len(model.asked)) == (["row 0", "late", "row 1"], 4)


def test_the_same_line_again_finds_the_same_run(beside: Beside) -> None:
    done(beside.run(texts(1)))
    run = beside.run(texts(2), reuse=True)
    assert beside.run(texts(2), reuse=True).id == run.id
    assert beside.run(texts(2)).id == run.id


def test_the_plan_says_what_would_be_reused_and_costs_the_rest(beside: Beside) -> None:
    done(beside.run(texts(3)))
    words = {"prompt": "{{ text }}", "model": "openai/gpt-4o-mini", "base_url": beside.server.openai_base_url}
    report = nono.plan(texts(5), home=beside.home, reuse=True, **words).to_dict()
    assert {name: report[name] for name in ("rows", "requests", "reused", "batches")} == {
        "rows": 5,
        "requests": 2,
        "reused": 3,
        "batches": 1,
    }
    assert report["input_tokens"] < nono.plan(texts(5), **words).to_dict()["input_tokens"]


def test_an_answer_that_came_after_the_model_was_told_what_is_wrong_is_the_rows_answer(tmp_path: Path) -> None:
    model = Learner()
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string"}},
        "required": ["label"],
        "additionalProperties": False,
    }
    with LocalServer(model, data=tmp_path / "server") as server:
        beside = Beside(tmp_path / "home", server)
        done(beside.run(texts(1), schema=schema, reask=1))
        run = done(beside.run(texts(1) * 2, schema=schema, reuse=True))
    assert (column(run, "label"), model.asked) == (["good", "good"], 2)


class Learner(SimulatedModel):
    """Answers wrongly until it is told."""

    asked = 0

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked += 1
        status, answered = super().answer(endpoint, body)
        answered["choices"][0]["message"]["content"] = '{"label": "good"}' if len(body["messages"]) > 1 else "{}"
        return status, answered


# --- whatever happens to the earlier run ---


def test_purging_the_earlier_run_harms_nobody(beside: Beside, model: FailsFirst) -> None:
    first = done(beside.run(texts(3)))
    second = beside.run(texts(2), reuse=True)
    purge(second.workspace, first.id)
    assert answers(done(second)) == ["row 0", "row 1"]
    third = done(beside.run(texts(1), reuse=True))
    assert (answers(third), third.status.reused, len(model.asked)) == (["row 0"], 1, 3)


def test_a_run_that_gc_has_emptied_is_named_in_a_warning(beside: Beside) -> None:
    first = done(beside.run(texts(1)))
    collect(first.workspace)
    run = beside.run(texts(2), reuse=True)
    assert run.warnings == ("1 earlier run keeps no requests and answers any more (`nono gc`)",)
    assert run.status.reused == 0


def test_a_run_without_any_answer_is_no_reason_for_a_warning(beside: Beside) -> None:
    assert done(beside.run([{"text": "[[nono:error 400 context_length_exceeded]]"}])).status.failed == 1
    assert beside.run(texts(1), reuse=True).warnings == ()


_PLAN_AND_DIE = """
import os, signal, sys
sys.path[:0] = {tools!r}
import nono
from engine_tools import EAGER, texts
nono.run(texts(3), prompt="{{{{ text }}}}", model="openai/gpt-4o-mini", home={home!r}, api_key="local",
         base_url={url!r}, settings=EAGER, reuse=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_dies_after_planning_leaves_a_run_with_its_answers(beside: Beside, model: FailsFirst) -> None:
    first = done(beside.run(texts(2)))
    code = _PLAN_AND_DIE.format(
        tools=[str(Path(__file__).parent), str(Path(__file__).parents[1])],
        home=str(beside.home),
        url=beside.server.openai_base_url,
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    purge(first.workspace, first.id)
    run = beside.run(texts(3))
    assert run.status.reused == 2
    assert answers(done(run)) == ["row 0", "row 1", "row 2"]
    assert len(model.asked) == 3
