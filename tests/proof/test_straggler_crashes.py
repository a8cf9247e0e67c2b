"""A process that dies while the last rows are asked without a batch: no row is lost, none is asked twice.

The world has a synchronous endpoint beside its batches, which take too long: they are cancelled in time. What a crash
makes unknown (was this request answered?) ends as `missing`, and is not asked again by itself.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lives import FULL, MOST_LIVES, SETTINGS, Plan, begin_after, folder, opened
from world import (
    BASE_URL,
    WITH_EFFECT,
    WITHOUT_EFFECT,
    Batch,
    Crash,
    Fault,
    Weather,
    World,
    _completion,
    _json,
)

import nono
from nono.exchange import Call, Reply
from nono.runs.bench import FinishSync
from nono.runs.run import Run

WINDOW_S, BEFORE_S = 600, 300
TEXTS = ("ok 1", "flaky 2", "ok 3", "bad 4", "ok 5", "expire 6", "ok 7")
# While the process is down the batches are cancelled as was asked, run out, or are done long since.
DOWNTIMES_S = (1.0, 400.0, 4 * 86_400.0)


class LateWorld(World):
    """A world whose batches take nearly their whole time, with a synchronous endpoint."""

    def _answer(self, call: Call, at: int | None = None) -> Reply:
        if (call.method, call.path) != ("POST", "/chat/completions"):
            return super()._answer(call, at)
        text = str(call.json["messages"][-1]["content"])
        first = self._asked[text] == 0
        self._asked[text] += 1
        status = 400 if text.startswith("bad") else 429 if text.startswith("flaky") and first else 200
        self._note("asked", text=text, status=status)
        return _json(_completion({"body": call.json}, text)) if status == 200 else self._refusal(status, "no")

    def _batch(self, batch: Batch) -> dict[str, Any]:
        return super()._batch(batch) | {"expires_at": batch.made_ms // 1000 + WINDOW_S}


@pytest.fixture(scope="module")
def plan() -> Iterator[Plan]:
    home = folder()
    run = nono.run(
        [{"text": text} for text in TEXTS],
        prompt="{{ text }}",
        model="openai/gpt-4o-mini",
        home=home,
        api_key="key",
        base_url=BASE_URL,
        settings=replace(SETTINGS, poll_cap_s=60.0),
        max_attempts=SETTINGS.max_attempts,
        finish_sync=FinishSync(before_s=BEFORE_S, most_rows=100, calls=2),
        rows_per_part=4,
    )
    run.workspace.close()
    yield Plan(home, run.id, TEXTS)
    shutil.rmtree(home, ignore_errors=True)


def lived(
    plan: Plan, *, crash_at: frozenset[int] = frozenset(), faults: tuple[Fault, ...] = (), downtime_s: float = 1.0
) -> tuple[LateWorld, list[str]]:
    """A run lived to its end, and what is wrong with it."""
    home = folder()
    world = LateWorld(Weather(running_s=WINDOW_S - 50), faults, crash_at)
    begin_after(world, plan)
    try:
        shutil.copytree(plan.home, home, dirs_exist_ok=True)
        for _ in range(MOST_LIVES):
            run = opened(home, plan.run_id, world)
            try:
                run.wait()
                return world, audit(run, world)
            except Crash:
                world.revive(downtime_s)
            finally:
                run.workspace.close()
        raise AssertionError(f"not over after {MOST_LIVES} lives: {world.places[-5:]}")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def audit(run: Run, world: LateWorld) -> list[str]:
    """Rows lost, rows asked twice, books that do not agree; the world's own log decides."""
    answered = Counter(
        entry["text"] for entry in world.log if entry["what"] in ("asked", "executed") and entry["status"] == 200
    )
    wrong = [f"{text!r} was answered, and paid, {count} times" for text, count in answered.items() if count > 1]
    rows = list(run.results())
    if [row["text"] for row in rows] != list(TEXTS):
        wrong.append(f"{len(rows)} rows came out")
    lost = [row["text"] for row in rows if row["error_code"] == "answer_lost"]
    broken = world.crashes + sum(entry["what"] == "fault" for entry in world.log)
    if len(lost) > broken:
        wrong.append(f"{lost} are lost, after {broken} crashes and faults")
    for row in rows:
        expected = "errored" if row["text"].startswith("bad") else "succeeded"
        if row["text"] not in lost and row["outcome"] != expected:
            wrong.append(f"{row['text']!r} ended as {row['outcome']}: {row['error_message']}")
        if row["outcome"] == "succeeded" and row["answer"] != f"answer to {row['text']}":
            wrong.append(f"{row['text']!r} has another row's answer")
    kept = sum(row["outcome"] == "succeeded" for row in rows)
    if run.status.output_tokens != 5 * kept or run.status.state != "finished":
        wrong.append(f"{run.status.output_tokens} output tokens for {kept} answers, {run.status.state}")
    return wrong


def test_undisturbed_every_row_is_answered_and_some_without_a_batch(plan: Plan) -> None:
    world, wrong = lived(plan)
    assert wrong == []
    asked = [entry["text"] for entry in world.log if entry["what"] == "asked" and entry["status"] == 200]
    assert asked == ["flaky 2", "ok 3", "expire 6", "ok 7"]


def test_a_crash_at_any_boundary_loses_no_row_and_asks_none_twice(plan: Plan, figure: Callable[[str], None]) -> None:
    places = lived(plan)[0].places
    begins = next(at for at, place in enumerate(places) if place.endswith("/cancel"))
    told, wrong = 0, []
    for at in range(0 if FULL else begins, len(places)):
        for downtime_s in DOWNTIMES_S if FULL else DOWNTIMES_S[at % 3 : at % 3 + 1]:
            world, found = lived(plan, crash_at=frozenset({at}), downtime_s=downtime_s)
            told += 1
            wrong += [f"{at} ({world.places[at]}, {downtime_s:g} s): {what}" for what in found]
    figure(f"crash at every boundary while the last rows are asked: {len(wrong)} wrong in {told} histories")
    assert wrong == []


def test_a_fault_at_any_request_loses_no_row_and_asks_none_twice(plan: Plan, figure: Callable[[str], None]) -> None:
    calls = lived(plan)[0].calls
    asks = [at for at, call in enumerate(calls) if call == "POST /chat/completions"]
    # A model that has run behind a 500 in the API's own words is taken not to be billed, and is asked again.
    kinds = [kind for kind in (*WITHOUT_EFFECT, *WITH_EFFECT) if kind not in ("429absurd", "500+")]
    told, wrong = 0, []
    for number, kind in enumerate(kinds):
        for at in asks if FULL else asks[number % len(asks) :][:1]:
            _, found = lived(plan, faults=(Fault(at, kind),))
            told += 1
            wrong += [f"{kind} at call {at}: {what}" for what in found]
    figure(f"a fault at a request of the last rows: {len(wrong)} wrong in {told} histories")
    assert wrong == []


def test_two_crashes_lose_no_row_and_ask_none_twice(plan: Plan) -> None:
    places = lived(plan)[0].places
    begins = next(at for at, place in enumerate(places) if place.endswith("/cancel"))
    wrong = []
    for first in range(begins, len(places), 1 if FULL else 7):
        for gap in (2, 5, 9):
            wrong += lived(plan, crash_at=frozenset({first, first + gap}))[1]
    assert wrong == []


def test_a_half_line_that_a_crash_left_says_nothing(tmp_path: Path) -> None:
    from nono.runs.asked import Journal, Word
    from nono.runs.joining import IdReader

    words, answers, reader = tmp_path / "words.jsonl", tmp_path / "answers.jsonl", IdReader("custom_id")
    line = b'{"custom_id":"a","body":{}}'
    with Journal(words, answers, reader) as journal:
        journal.say(line, Word.SENT)
        journal.answer(b'{"custom_id":"a","response":{}}')
    words.write_bytes(words.read_bytes() + b'{"custom_id":"b","wo')
    answers.write_bytes(answers.read_bytes() + b'{"custom_id":"b","resp')
    with Journal(words, answers, reader) as journal:
        assert journal.may_be_sent("b")
        assert not journal.may_be_sent("a")
        journal.say(b'{"custom_id":"b","body":{}}', Word.SENT)
    with Journal(words, answers, reader) as journal:
        assert (journal.answered, journal.lost) == (1, 1)
