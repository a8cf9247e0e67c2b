"""The last rows without a batch: cancelled in time, harvested, and asked directly, each once, at the full price."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_tools import EAGER, Gated, events, outcomes, states, texts

import nono
from nono.errors import AnswerLost, InputError, NotSent
from nono.exchange import Call, Reply, Send
from nono.providers import provider_named
from nono.runs.bench import FinishSync
from nono.runs.run import Run
from nono.runs.workspace import Workspace
from nono.server.app import LocalServer
from nono.transport import Sender
from patience import PATIENT_S

MODELS = {"openai": "openai/gpt-4o-mini", "gemini": "gemini/gemini-2.5-flash"}
# Longer than any batch may take: its time is nearly over from the beginning.
ALWAYS_NEAR = 1e6


@pytest.fixture(params=list(MODELS))
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def is_ask(call: Call) -> bool:
    return call.path == "/chat/completions" or call.path.endswith(":generateContent")


@contextmanager
def started(
    home: Path,
    provider: str = "openai",
    *,
    answered: int = 3,
    rows: int = 6,
    wish: FinishSync | None = None,
    through: Callable[[Send], Send] = lambda send: send,
    **words: Any,
) -> Iterator[tuple[Run, Gated]]:
    """A run whose batch answers some rows and then hangs until it is cancelled."""
    model = Gated(answered)
    with LocalServer(model, data=home / "server") as server:
        base_url = server.gemini_base_url if provider == "gemini" else server.openai_base_url
        settings = words.pop("settings", replace(EAGER, workers=1))
        source = words.pop("source", texts(rows))
        made = nono.run(
            source,
            prompt="{{ text }}",
            model=MODELS[provider],
            home=home,
            api_key="local",
            base_url=base_url,
            settings=settings,
            finish_sync=wish or FinishSync(before_s=ALWAYS_NEAR, most_rows=rows - answered + 1, calls=1),
            **words,
        )
        run = again(made, through)
        try:
            yield run, model
        finally:
            model.open()


def again(run: Run, through: Callable[[Send], Send] = lambda send: send) -> Run:
    """The run as another process opens it; when batches are cancelled, the model is not in their way any more."""
    account = provider_named(run.spec.provider).account(api_key="local", base_url=run.spec.base_url)
    return Run(Workspace(run.workspace.home), run.id, api_key="local", send=through(Sender(account)))


def opening(model: Gated, at: str = "cancel_asked") -> Callable[[Any], None]:
    """Whoever looks at events so lets the model answer from that one on."""
    return lambda event: model.open() if event.what == at else None


def finished(run: Run) -> list[dict[str, Any]]:
    status = run.wait(timeout_s=PATIENT_S)
    assert status.state == "finished", [(one.name, one.detail) for one in run.ledger.events(run.id)]
    return list(run.results())


def test_the_last_rows_are_asked_without_a_batch(tmp_path: Path) -> None:
    with started(tmp_path) as (run, model):
        run.subscribe(opening(model))
        rows = finished(run)
    assert [row["answer"] for row in rows] == [f"row {n}" for n in range(6)]
    assert [row["batch_id"] == "sync" for row in rows] == [False] * 4 + [True] * 2
    assert [row["attempts"] for row in rows] == [1, 1, 1, 1, 2, 2]
    assert model.asked == 6
    assert states(run) == ["cleaned", "settled"]


def test_at_gemini_a_batch_that_has_answered_nothing_is_asked_without_one(tmp_path: Path) -> None:
    """A job that is cancelled there gives no answers: what it had would be gone."""
    with started(tmp_path, "gemini", answered=0) as (run, model):
        run.subscribe(opening(model, "retry_planned"))
        rows = finished(run)
    assert [row["answer"] for row in rows] == [f"row {n}" for n in range(6)]
    assert {row["batch_id"] for row in rows} == {"sync"}


def test_at_gemini_a_batch_that_has_answered_some_is_not_cancelled(tmp_path: Path) -> None:
    with started(tmp_path, "gemini", answered=3) as (run, model):

        def look(event: Any) -> None:
            if event.what == "state_seen" and event.detail["done"] == 3:
                model.open()

        run.subscribe(look)
        assert {row["batch_id"] for row in finished(run)} != {"sync"}
        assert events(run, "cancel_asked") == []


def test_what_was_asked_without_a_batch_costs_the_full_price(tmp_path: Path) -> None:
    with started(tmp_path) as (run, model):
        run.subscribe(opening(model))
        rows = finished(run)
    assert rows[5]["cost_usd"] == pytest.approx(2 * rows[0]["cost_usd"])
    assert run.cost().spent_usd == pytest.approx(sum(row["cost_usd"] for row in rows))
    assert run.cost().sync_usd == pytest.approx(rows[4]["cost_usd"] + rows[5]["cost_usd"])
    assert (run.status.sync_requests, run.status.committed_usd) == (2, 0)


def test_what_it_may_cost_is_told_before_it_begins(tmp_path: Path) -> None:
    told: list[Any] = []
    with started(tmp_path) as (run, model):
        run.subscribe(opening(model))
        run.subscribe(lambda event: told.append(event) if event.what in ("stragglers", "cancel_asked") else None)
        rows = finished(run)
    assert [event.what for event in told] == ["stragglers", "cancel_asked"]
    assert told[0].detail["at_most_usd"] > sum(row["cost_usd"] for row in rows)


def test_while_there_is_time_or_many_rows_are_left_nothing_is_cancelled(tmp_path: Path) -> None:
    for number, wish in enumerate((FinishSync(before_s=3600, most_rows=6), FinishSync(ALWAYS_NEAR, most_rows=2))):
        with started(tmp_path / str(number), wish=wish) as (run, model):

            def look(event: Any, model: Gated = model) -> None:
                if event.what == "state_seen" and event.detail["done"] == 3:
                    model.open()

            run.subscribe(look)
            assert "sync" not in {row["batch_id"] for row in finished(run)}


def test_without_the_wish_nothing_is_cancelled(tmp_path: Path) -> None:
    with started(tmp_path) as (run, model):
        made = again(run)
        settings = replace(run.spec.settings, finish_sync=None)
        made.subscribe(lambda event: model.open() if event.what == "state_seen" and event.detail["done"] else None)
        assert made.wait(timeout_s=PATIENT_S, settings=settings).state == "finished"
        assert events(made, "cancel_asked") == []


def test_rows_that_came_back_in_time_go_into_another_batch(tmp_path: Path) -> None:
    """Only what would wait for another day is worth the full price."""
    wish = FinishSync(before_s=3600, most_rows=6)
    source = [{"text": "[[nono:error 429 once]]"}, {"text": "x"}]
    with started(tmp_path, answered=100, wish=wish, source=source, max_attempts=2) as (run, _):
        assert run.wait(timeout_s=PATIENT_S).state == "finished"
        assert "settled" not in states(run)


def test_a_budget_that_is_too_small_for_the_full_price_leaves_the_batch_alone(tmp_path: Path) -> None:
    with started(tmp_path, max_cost=0.0035) as (run, model):

        def look(event: Any) -> None:
            if event.what == "state_seen" and event.detail["done"] == 3:
                model.open()

        run.subscribe(look)
        assert "sync" not in {row["batch_id"] for row in finished(run)}


def answers_of_calls(*answers: Callable[[Call, Send], Reply]) -> Callable[[Send], Send]:
    """The first requests that are asked directly go so."""
    left = list(answers)

    def through(send: Send) -> Send:
        return lambda call: left.pop(0)(call, send) if left and is_ask(call) else send(call)

    return through


def refused(status: int, code: str = "rate_limit_exceeded") -> Callable[[Call, Send], Reply]:
    body = json.dumps({"error": {"message": "not now", "type": "requests", "param": None, "code": code}}).encode()
    return lambda call, send: Reply(status, {"retry-after-ms": "1"}, body)


def lost(call: Call, send: Send) -> Reply:
    send(call)
    raise AnswerLost("the connection broke")


def proxy_page(call: Call, send: Send) -> Reply:
    return Reply(502, {"content-type": "text/html"}, b"<html>busy</html>")


def never_left(call: Call, send: Send) -> Reply:
    raise NotSent("connection refused")


@contextmanager
def asked_through(home: Path, *answers: Callable[[Call, Send], Reply], **words: Any) -> Iterator[tuple[Run, Gated]]:
    with started(home, through=answers_of_calls(*answers), **words) as (run, model):
        run.subscribe(opening(model))
        run._clock = Hasty()  # waits are told, not waited for
        yield run, model


class Hasty:
    """The machine's clock, on which backing off takes no time."""

    def __init__(self) -> None:
        self._ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._ahead_ms

    def elapsed_s(self) -> float:
        return time.monotonic() + self._ahead_ms / 1000

    def wait(self, seconds: float, wake: threading.Event) -> None:
        if seconds > 0.5:
            self._ahead_ms += int(seconds * 1000)
            seconds = 0.01
        wake.wait(max(0.0, seconds))


@pytest.mark.parametrize("how", [refused(429), refused(503, "server_error"), never_left])
def test_a_refusal_without_effect_is_sent_again(how: Callable[[Call, Send], Reply], tmp_path: Path) -> None:
    with asked_through(tmp_path, how, how) as (run, model):
        assert [row["outcome"] for row in finished(run)] == ["succeeded"] * 6
        assert model.asked == 6


@pytest.mark.parametrize("how", [lost, proxy_page, refused(409)])
def test_a_lost_answer_is_missing_and_is_not_asked_again(how: Callable[[Call, Send], Reply], tmp_path: Path) -> None:
    with asked_through(tmp_path, how) as (run, model):
        rows = finished(run)
        assert [row["outcome"] for row in rows] == ["succeeded"] * 4 + ["missing", "succeeded"]
        assert (rows[4]["error_code"], rows[4]["batch_id"], rows[4]["attempts"]) == ("answer_lost", "sync", 2)
        assert model.asked <= 6


def test_a_person_decides_about_a_lost_answer(tmp_path: Path) -> None:
    with asked_through(tmp_path, lost) as (run, _):
        finished(run)
        assert run.retry("missing").succeeded == 6
        assert [row["batch_id"] == "sync" for row in run.results()] == [False] * 5 + [True]


def test_a_request_that_cannot_succeed_has_its_reason(tmp_path: Path) -> None:
    with asked_through(tmp_path, refused(400, "context_length_exceeded")) as (run, _):
        rows = finished(run)
    assert (rows[4]["outcome"], rows[4]["error_code"]) == ("errored", "context_length_exceeded")


def test_refusals_are_not_waited_out_for_ever(tmp_path: Path) -> None:
    with asked_through(tmp_path, *[refused(429)] * 16, max_attempts=2) as (run, _):
        rows = finished(run)
        assert [row["outcome"] for row in rows] == ["succeeded"] * 4 + ["errored"] * 2
        assert rows[5]["error_code"] == "rate_limit_exceeded"
        assert len(events(run, "trouble")) == 14


def test_an_account_without_money_stops_the_run_and_nothing_is_lost(tmp_path: Path) -> None:
    with asked_through(tmp_path, refused(429, "insufficient_quota")) as (run, _):
        status = run.wait(timeout_s=PATIENT_S)
        assert (status.state, (status.reason or "").partition(":")[0]) == ("stopped", "out_of_quota")
        assert [row["outcome"] for row in finished(again(run))] == ["succeeded"] * 6


def test_several_are_asked_at_a_time_and_each_once(tmp_path: Path) -> None:
    wish = FinishSync(ALWAYS_NEAR, most_rows=40, calls=8)
    with started(tmp_path, rows=40, answered=5, wish=wish) as (run, model):
        run.subscribe(opening(model))
        assert {row["outcome"] for row in finished(run)} == {"succeeded"}
        assert model.asked == 40


def test_a_run_that_is_cancelled_meanwhile_keeps_what_was_asked(tmp_path: Path) -> None:
    def cancel(call: Call, send: Send) -> Reply:
        with run.ledger.transaction() as work:
            work.set_wish(run.id, "cancel")
        run._engine.leave()  # type: ignore[union-attr]
        return send(call)

    with started(tmp_path, through=answers_of_calls(cancel)) as (run, model):
        run.subscribe(opening(model))
        run.wait(timeout_s=PATIENT_S)
        other = again(run)
        assert other.cancel().state == "cancelled"
        assert outcomes(other) == ["succeeded"] * 5 + ["cancelled"]
        assert model.asked == 5


def test_finish_sync_with_one_attempt_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one attempt"):
        nono.run([{"text": "x"}], prompt="{{ text }}", model=MODELS["openai"], finish_sync=True, max_attempts=1)


def test_the_plan_tells_what_the_last_rows_may_cost() -> None:
    report = nono.plan(texts(10), prompt="{{ text }}", model=MODELS["openai"], finish_sync=FinishSync(most_rows=4))
    assert report.finish_sync is not None
    assert report.finish_sync.requests == 4
    assert report.finish_sync.at_most_usd == pytest.approx(0.8 * (report.estimate.high_usd or 0), rel=0.01)
    assert "without a batch" in report.finish_sync.sentence()
