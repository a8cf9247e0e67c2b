"""How a batch can end: every state, with every way of naming its answer files or not. What was answered is kept, what
was not is sent again, and nothing is paid twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from gemini_world import GeminiWorld
from lives import Plan, begin_after, live
from world import Batch, File, World

from nono.runs.run import Run

STATES = ("completed", "failed", "expired", "cancelled")
TEXTS = ("ok 1", "ok 2", "ok 3", "ok 4")
# How a reply can say that there is a file, and that there is none.
NAMED, NO_FILE = "named", {"absent": ..., "null": None, "empty": ""}
SHAPES = (NAMED, *NO_FILE)


class OddEnd(World):
    """The first batch ends in some state; half of it was answered if its output is named, the rest never ran."""

    def __init__(self, state: str, output: str, error: str = "absent") -> None:
        super().__init__()
        self.end, self.shapes = state, {"output_file_id": output, "error_file_id": error}
        self.odd: Batch | None = None

    def _finish(self, batch: Batch, at: int) -> None:
        if self.odd is not None:
            super()._finish(batch, at)
            return
        self.odd = batch
        answered = len(batch.lines) // 2 if self.shapes["output_file_id"] in self.naming else 0
        good = []
        for line in batch.lines[:answered]:
            custom_id, text = self._request(line)
            self._note("executed", batch=batch.id, tag=batch.tag, custom_id=custom_id, text=text, status=200)
            good.append(self._answered(line, text))
        rest = [said for line in batch.lines[answered:] for said in self._unexecuted(line, "expired")]
        batch.state, batch.named_ms, batch.counts = self.end, at, (len(batch.lines), answered, 0)
        self._keep_answers(batch, good, rest if self.shapes["error_file_id"] == NAMED else [], at)

    naming: tuple[str, ...] = (NAMED,)

    def _keep_answers(self, batch: Batch, good: list[str], wrong: list[str], at: int) -> None:
        self._write(batch, good, wrong, at)

    def _batch(self, batch: Batch) -> dict[str, Any]:
        shown = super()._batch(batch)
        if batch is self.odd:
            shown |= {name: NO_FILE[shape] for name, shape in self.shapes.items() if shape != NAMED}
            shown = {name: value for name, value in shown.items() if value is not ...}
        return shown


class OddGeminiEnd(OddEnd, GeminiWorld):
    """The same job in Gemini's words, which name one file in two places."""

    naming = ("both", "metadata", "response")

    def _keep_answers(self, batch: Batch, good: list[str], wrong: list[str], at: int) -> None:
        batch.errors = [{"message": "internal error"}] if self.end == "failed" else []
        if good:
            batch.output = f"files/batch-{batch.id.rpartition('/')[2]}-{'o' * 30}"
            self.files[batch.output] = File(batch.output, batch.output, "".join(good).encode(), at)

    def _batch(self, batch: Batch) -> dict[str, Any]:
        shown = GeminiWorld._batch(self, batch)
        if batch is not self.odd:
            return shown
        shape = self.shapes["output_file_id"]
        if shape == "metadata":
            del shown["response"]
        elif shape == "response":
            del shown["metadata"]["output"]
        elif shape in ("null", "empty"):
            shown["response"] = {"responsesFile": NO_FILE[shape]}
            shown["metadata"]["output"] = {"responsesFile": NO_FILE[shape]}
        if self.end == "failed":
            shown["error"] = {"code": 13, "message": "internal"}
        return shown


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("output", "error"), list(itertools.product(SHAPES, SHAPES)))
def test_all_that_is_paid_is_kept_however_a_batch_ends(
    state: str, output: str, error: str, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(TEXTS, rows_per_part=4)
    assert live(plan, begin_after(OddEnd(state, output, error), plan)).wrong == []


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("output", [*OddGeminiEnd.naming, *NO_FILE])
def test_all_that_is_paid_is_kept_however_a_job_ends(state: str, output: str, plan_of: Callable[..., Plan]) -> None:
    plan, outcomes = plan_of(TEXTS, rows_per_part=4, provider="gemini"), []

    def deed(run: Run) -> None:
        run.wait()
        outcomes.extend(row["outcome"] for row in run.results())

    verdict = live(plan, begin_after(OddGeminiEnd(state, output), plan), deed=deed).verdict
    assert verdict.run_twice + verdict.paid_again + verdict.posts + verdict.books == []
    answered = 2 if output in OddGeminiEnd.naming else 0
    assert outcomes == ["succeeded"] * answered + [rest_of(state, output)] * (4 - answered)


def rest_of(state: str, output: str) -> str:
    """What becomes of rows without an answer. A job that says it succeeded was paid for, wherever its answers are; one
    that failed would fail again."""
    if state == "failed":
        return "errored"
    return "missing" if state == "completed" and output in NO_FILE else "succeeded"
