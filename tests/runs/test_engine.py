"""A run beside the real local server: what comes out, what is sent again, and what is not."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from engine_tools import (
    EAGER,
    Beside,
    FailsFirst,
    Gated,
    answers,
    batches,
    events,
    is_create,
    is_upload,
    outcomes,
    replaced,
    states,
    texts,
)

import nono
from nono.errors import AnswerLost, InputError
from nono.exchange import Call, Reply, Send
from nono.runs.events import Event, Happened
from nono.runs.ledger import AttemptState, RunState
from nono.runs.owner import Ownership, RunOwned
from nono.runs.problems import PlanRefused
from nono.runs.rounds import plan_next_round
from nono.runs.run import Run
from nono.server.app import LocalServer
from patience import PATIENT_S


@pytest.fixture
def beside(tmp_path: Path, server: LocalServer) -> Beside:
    return Beside(tmp_path / "home", server)


def refused(status: int, code: str, message: str = "no") -> Reply:
    return Reply(status, {}, json.dumps({"error": {"message": message, "type": code, "code": code}}).encode())


# --- what comes out ---


def test_every_row_is_answered_in_the_order_of_the_input(beside: Beside) -> None:
    run = beside.run(texts(12), rows_per_part=5)
    status = run.wait(timeout_s=PATIENT_S)
    assert status.state is RunState.FINISHED
    assert answers(run) == [f"row {number}" for number in range(12)]
    assert states(run) == ["cleaned"] * 3


def test_a_row_that_is_refused_once_is_answered_in_the_next_round(tmp_path: Path) -> None:
    model = FailsFirst()
    with LocalServer(model, data=tmp_path / "server") as server:
        run = Beside(tmp_path / "home", server).run([*texts(4), {"text": "flaky [[nono:say late]]"}], rows_per_part=5)
        run.wait(timeout_s=PATIENT_S)
        assert answers(run) == ["row 0", "row 1", "row 2", "row 3", "late"]
        assert [row["attempts"] for row in run.results()] == [1, 1, 1, 1, 2]
        assert len(model.asked) == 6


def test_a_row_that_is_being_sent_again_has_not_failed(tmp_path: Path) -> None:
    with LocalServer(FailsFirst(), data=tmp_path / "server") as server:
        beside = Beside(tmp_path / "home", server)
        run = beside.run([*texts(2), {"text": "flaky"}])
        run.subscribe(lambda event: run.leave() if event.what is Happened.RETRY_PLANNED else None)
        status = run.wait(timeout_s=PATIENT_S)
        assert (status.succeeded, status.failed, status.left, status.sent_again) == (2, 0, 1, 1)
        status = beside.again(run).wait(timeout_s=PATIENT_S)
        assert (status.succeeded, status.failed, status.left, status.sent_again) == (3, 0, 0, 0)


def test_a_row_that_cannot_succeed_is_asked_once_and_grouped_by_its_reason(beside: Beside) -> None:
    run = beside.run([*texts(2), {"text": "[[nono:error 400 context_length_exceeded]]"}])
    assert run.wait(timeout_s=PATIENT_S).failed == 1
    (group,) = run.errors()
    assert (group.outcome, group.code, group.count, group.examples) == (
        "errored",
        "context_length_exceeded",
        1,
        ("r-2",),
    )
    assert len(batches(beside.server)) == 1


def test_a_row_that_always_fails_is_sent_max_attempts_times(beside: Beside) -> None:
    run = beside.run([{"text": "[[nono:error 429]]"}], max_attempts=2)
    run.wait(timeout_s=PATIENT_S)
    assert [(row["outcome"], row["attempts"]) for row in run.results()] == [("errored", 2)]
    assert len(batches(beside.server)) == 2


def test_a_persons_retry_sends_what_has_no_answer_and_nothing_else(tmp_path: Path) -> None:
    model = FailsFirst()
    with LocalServer(model, data=tmp_path / "server") as server:
        beside = Beside(tmp_path / "home", server)
        run = beside.run([*texts(3), {"text": "flaky [[nono:say late]]"}], max_attempts=1)
        assert run.wait(timeout_s=PATIENT_S).failed == 1
        assert run.retry("failed").failed == 0
        assert answers(run) == ["row 0", "row 1", "row 2", "late"]
        assert len(model.asked) == 5


def test_identical_requests_are_sent_once_and_both_rows_have_the_answer(beside: Beside) -> None:
    rows = [{"text": "[[nono:say same]]"}, {"text": "[[nono:say other]]"}, {"text": "[[nono:say same]]"}]
    run = beside.run(rows, dedupe=True, rows_per_part=1)
    run.wait(timeout_s=PATIENT_S)
    assert answers(run) == ["same", "other", "same"]
    assert sum(batch.counts.total for batch in batches(beside.server)) == 2


def test_files_are_uploaded_side_by_side(beside: Beside) -> None:
    two = threading.Barrier(2)

    def together(send: Send) -> Send:
        def wrapped(call: Call) -> Reply:
            if (call.method, call.path) == ("POST", "/files"):
                two.wait(timeout=PATIENT_S)
            return send(call)

        return wrapped

    run = beside.run(texts(4), through=together, rows_per_part=2)
    assert run.wait(timeout_s=PATIENT_S).succeeded == 4


def test_a_row_without_a_request_of_its_own_is_not_sent_again(beside: Beside) -> None:
    run = beside.run([{"text": "[[nono:error 400 too_long]]"}] * 2, dedupe=True)
    assert run.wait(timeout_s=PATIENT_S).failed == 2
    with run._at_work() as engine:
        assert plan_next_round(engine.bench, rows=[1]) == 0
        assert plan_next_round(engine.bench, rows=[0, 1]) == 1


def test_borrowed_rows_of_an_answer_that_came_late_have_it_too(tmp_path: Path) -> None:
    with LocalServer(FailsFirst(), data=tmp_path / "server") as server:
        run = Beside(tmp_path / "home", server).run(
            [{"text": "flaky [[nono:say late]]"}, *texts(2), {"text": "flaky [[nono:say late]]"}],
            dedupe=True,
            rows_per_part=2,
        )
        assert run.wait(timeout_s=PATIENT_S).succeeded == 4
        assert answers(run) == ["late", "row 0", "row 1", "late"]


def test_results_are_exported(beside: Beside, tmp_path: Path) -> None:
    run = beside.run(texts(2))
    run.wait(timeout_s=PATIENT_S)
    assert run.export(tmp_path / "out.jsonl") == 2
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["answer"] for line in lines] == ["row 0", "row 1"]


# --- the same work, once ---


def test_the_same_line_again_finds_the_finished_run_and_sends_nothing(beside: Beside) -> None:
    first = beside.run(texts(3))
    first.wait(timeout_s=PATIENT_S)
    again = beside.run(texts(3))
    assert again.id == first.id
    assert again.wait(timeout_s=PATIENT_S).succeeded == 3
    assert len(batches(beside.server)) == 1


def test_other_pictures_in_the_files_that_the_data_name_are_other_work(beside: Beside, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(base64.b64decode("iVBORw0KGgo="))
    data = tmp_path / "in.jsonl"
    data.write_text('{"id": 1, "picture": "a.png"}\n{"id": 2, "picture": "https://example.com/b.png"}\n')
    ask = partial(beside.run, data, prompt="What is it?", images="picture")
    first = ask()
    (tmp_path / "a.png").touch()
    assert ask().id == first.id
    (tmp_path / "a.png").write_bytes(b"another")
    assert ask().id != first.id
    (tmp_path / "a.png").unlink()
    with pytest.raises(PlanRefused, match=r"there is no picture 'a\.png'"):
        ask()


def test_a_template_file_that_says_something_else_is_other_work(beside: Beside, tmp_path: Path) -> None:
    template = tmp_path / "prompt.j2"
    template.write_text("Sentiment of: {{ text }}")
    first = beside.run(texts(1), prompt=str(template))
    template.write_text("Language of: {{ text }}")
    second = beside.run(texts(1), prompt=f"@{template}")
    assert first.id != second.id
    assert beside.run(texts(1), prompt="Language of: {{ text }}").id == second.id


def test_a_run_needs_its_source_no_more_and_another_source_is_other_work(beside: Beside, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("text\nfirst\n")
    run = beside.run(source, name="nightly")
    source.write_text("text\nfirst\nsecond\n")
    assert run.wait(timeout_s=PATIENT_S).succeeded == 1
    again = beside.run(source, name="nightly")
    assert again.status.rows == 2
    # Of two runs with one name it is the newest that is meant.
    assert nono.open_run("nightly", home=beside.home).id == again.id


@pytest.mark.parametrize("name", ["", " ", "-x", "two\nlines", "n" * 101])
def test_a_name_that_could_not_be_asked_for_is_refused(beside: Beside, name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name of a run"):
        beside.run(texts(1), name=name)
    assert not beside.home.exists()


def test_two_processes_that_plan_the_same_line_at_once_make_one_run(beside: Beside) -> None:
    barrier = threading.Barrier(4)
    found: list[str] = []

    def plan() -> None:
        barrier.wait()
        found.append(beside.run(texts(50)).id)

    threads = [threading.Thread(target=plan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert [folder.name for folder in (beside.home / "runs").iterdir()] == [found[0]]


def test_a_finished_run_that_is_waited_for_again_stays_finished(beside: Beside) -> None:
    run = beside.run(texts(2))
    run.wait(timeout_s=PATIENT_S)
    assert beside.again(run).wait(timeout_s=PATIENT_S).state is RunState.FINISHED


def test_a_run_that_was_left_goes_on_where_it_was(tmp_path: Path) -> None:
    model = Gated(free=3)
    with LocalServer(model, data=tmp_path / "server") as server:
        beside = Beside(tmp_path / "home", server)
        run = beside.run(texts(6), rows_per_part=3)
        run.subscribe(lambda event: run.leave() if event.what == "created" else None)
        status = run.wait(timeout_s=PATIENT_S)
        assert status.state is RunState.RUNNING
        assert not status.over
        model.open()
        assert beside.again(run).resume(timeout_s=PATIENT_S).succeeded == 6
        assert model.asked == 6


def test_until_submitted_returns_when_all_is_sent(tmp_path: Path) -> None:
    model = Gated()
    with LocalServer(model, data=tmp_path / "server") as server:
        run = Beside(tmp_path / "home", server).run(texts(4), rows_per_part=2)
        status = run.wait(until_submitted=True, timeout_s=PATIENT_S)
        assert status.batches == {"running": 2}
        model.open()
        assert run.wait(timeout_s=PATIENT_S).succeeded == 4


def test_a_run_is_waited_for_inside_an_event_loop(beside: Beside) -> None:
    run = beside.run(texts(3))

    async def main() -> int:
        return (await run.wait_async(timeout_s=PATIENT_S)).succeeded

    assert asyncio.run(main()) == 3


def test_a_cancelled_task_leaves_the_run_resumable(tmp_path: Path) -> None:
    model = Gated()
    with LocalServer(model, data=tmp_path / "server") as server:
        run = Beside(tmp_path / "home", server).run(texts(2))
        running = threading.Event()
        run.subscribe(lambda event: running.set() if event.what == "created" else None)

        async def main() -> None:
            task = asyncio.create_task(run.wait_async())
            assert await asyncio.to_thread(running.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        model.open()
        assert run.wait(timeout_s=PATIENT_S).succeeded == 2


# --- money ---


def test_a_budget_stops_the_run_before_the_batch_that_would_pass_it_and_more_lets_it_go_on(beside: Beside) -> None:
    run = beside.run(texts(9), rows_per_part=3, max_tokens=1000, settings=EAGER)
    per_batch = run.estimated_usd / 3
    run = beside.run(texts(9), rows_per_part=3, max_tokens=1000, new=True, max_cost=per_batch * 1.5)
    status = run.wait(timeout_s=PATIENT_S)
    assert status.state is RunState.STOPPED
    assert (status.reason or "").startswith("budget: ")
    assert 0 < status.succeeded < 9
    more = replace(run.spec.settings, max_cost_usd=per_batch * 4)
    assert run.resume(settings=more, timeout_s=PATIENT_S).succeeded == 9
    assert len(batches(beside.server)) == 3


def test_a_budget_that_nothing_can_be_held_against_is_refused(beside: Beside) -> None:
    with pytest.raises(InputError, match="max_cost cannot be kept: no price of 'my-model' is known"):
        beside.run(texts(2), model="openai/my-model", max_cost=1.0)
    assert batches(beside.server) == []


def test_a_raised_budget_is_remembered(beside: Beside) -> None:
    run = beside.run(texts(2), max_cost=0.0)
    assert run.wait(timeout_s=PATIENT_S).state is RunState.STOPPED
    run.resume(settings=replace(run.spec.settings, max_cost_usd=7.0), timeout_s=PATIENT_S)
    assert run.status.max_cost_usd == 7.0
    assert beside.again(run).spec.settings.max_cost_usd == 7.0


def test_the_same_line_with_another_budget_goes_on_with_that_budget(beside: Beside) -> None:
    assert beside.run(texts(2), max_cost=0.0).wait(timeout_s=PATIENT_S).state is RunState.STOPPED
    run = beside.run(texts(2), max_cost=5.0)
    assert run.wait(timeout_s=PATIENT_S).state is RunState.FINISHED
    assert run.status.max_cost_usd == 5.0


def test_a_refused_key_stops_the_run_at_once(tmp_path: Path) -> None:
    with LocalServer(data=tmp_path / "server", api_key="the-right-key") as server:
        run = Beside(tmp_path / "home", server).run(texts(2))
        status = run.wait(timeout_s=PATIENT_S)
        assert status.state is RunState.STOPPED
        assert (status.reason or "").startswith("key_refused: ")


def test_an_account_without_money_stops_the_run_and_credit_lets_it_go_on(beside: Beside) -> None:
    broke = replaced(is_upload, lambda call, send: refused(429, "insufficient_quota"), times=10**9)
    run = beside.run(texts(2), through=broke)
    status = run.wait(timeout_s=PATIENT_S)
    assert status.state is RunState.STOPPED
    assert (status.reason or "").startswith("out_of_quota: ")
    assert beside.again(run).wait(timeout_s=PATIENT_S).succeeded == 2


def test_an_upload_that_is_forbidden_stops_the_run(beside: Beside) -> None:
    run = beside.run(texts(2), through=replaced(is_upload, lambda call, send: refused(403, "forbidden"), times=10**9))
    status = run.wait(timeout_s=PATIENT_S)
    assert status.state is RunState.STOPPED
    assert (status.reason or "").startswith("upload_refused: ")
    assert beside.again(run).wait(timeout_s=PATIENT_S).succeeded == 2


# --- cancelling ---


def test_a_cancelled_run_keeps_what_was_answered_and_sends_no_more(tmp_path: Path) -> None:
    model = Gated(free=1)
    with LocalServer(model, data=tmp_path / "server") as server:
        beside = Beside(tmp_path / "home", server)
        run = beside.run(texts(6), rows_per_part=2, max_batches=2)
        run.wait(until_submitted=True, timeout_s=PATIENT_S)
        model.wait_for(2)
        again = beside.again(run)
        asked: list[Event] = []

        def open_when_both_are_asked_to_stop(event: Event) -> None:
            if event.what is Happened.CANCEL_ASKED:
                asked.append(event)
            if len(asked) == 2:
                model.open()

        again.subscribe(open_when_both_are_asked_to_stop)
        status = again.cancel()
        assert status.state is RunState.CANCELLED
        # One was answered, a second was being answered when the batches were asked to stop.
        assert sorted(outcomes(run)) == ["cancelled"] * 4 + ["succeeded"] * 2
        assert sum(batch.counts.total for batch in batches(server)) == 4
        assert again.wait().state is RunState.CANCELLED
        assert len(batches(server)) == 2


def test_cancelling_a_stopped_run_sends_nothing(beside: Beside) -> None:
    run = beside.run(texts(4), rows_per_part=2, max_cost=0.0)
    assert run.wait(timeout_s=PATIENT_S).state is RunState.STOPPED
    free = replace(run.spec, settings=EAGER)
    free.save(run.folder)  # nothing but the cancellation keeps it from sending
    status = run.cancel()
    assert status.state is RunState.CANCELLED
    assert outcomes(run) == ["cancelled"] * 4
    assert batches(beside.server) == []


def test_cancelling_a_finished_run_changes_nothing_and_is_not_remembered(beside: Beside) -> None:
    run = beside.run(texts(2))
    run.wait(timeout_s=PATIENT_S)
    assert run.cancel().state is RunState.FINISHED
    assert run.row.wish is None


def test_another_process_asks_the_owner_to_cancel(tmp_path: Path) -> None:
    model = Gated()
    with LocalServer(model, data=tmp_path / "server") as server:
        beside = Beside(tmp_path / "home", server)
        run = beside.run(texts(2))
        worker = threading.Thread(target=run.wait, kwargs={"timeout_s": PATIENT_S})
        running = threading.Event()
        run.subscribe(lambda event: running.set() if event.what == "created" else None)
        worker.start()
        assert running.wait(PATIENT_S)
        beside.again(run).cancel()
        model.open()
        worker.join(PATIENT_S)
        assert run.status.state is RunState.CANCELLED


# --- owners ---


def test_a_run_that_somebody_works_on_is_not_taken(beside: Beside) -> None:
    run = beside.run(texts(1))
    with (
        Ownership(run.ledger, run.row, run.folder.path, run._clock),
        pytest.raises(RunOwned, match=f"run {run.id} is owned by "),
    ):
        beside.again(run).wait()


# --- room ---


def token_limit(limit: int) -> object:
    """A service that fails every batch of more than `limit` requests for its tokens."""

    def through(send):  # type: ignore[no-untyped-def]
        def wrapped(call: Call) -> Reply:
            reply = send(call)
            if call.path.startswith("/batches") and call.method == "GET":
                body = json.loads(reply.body)
                for batch in body.get("data", [body]):
                    if (batch.get("request_counts") or {}).get("total", 0) > limit:
                        batch |= {"status": "failed", "output_file_id": None, "error_file_id": None}
                        error = {
                            "code": "token_limit_exceeded",
                            "message": "Enqueued token limit reached for gpt-4o-mini in organization org-1.",
                        }
                        batch["errors"] = {"object": "list", "data": [error]}
                        batch["request_counts"] = {"total": 0, "completed": 0, "failed": 0}
                return Reply(reply.status, reply.headers, json.dumps(body).encode())
            return reply

        return wrapped

    return through


def test_a_shard_that_is_too_large_by_itself_is_split_until_it_fits(beside: Beside) -> None:
    run = beside.run(texts(8), through=token_limit(2), rows_per_part=8)
    status = run.wait(timeout_s=PATIENT_S)
    assert status.succeeded == 8
    assert answers(run) == [f"row {number}" for number in range(8)]
    assert states(run).count("split") == 3


# --- files at the provider ---


def test_files_at_the_provider_are_deleted_when_the_results_are_on_disk(beside: Beside) -> None:
    run = beside.run(texts(2))
    run.wait(timeout_s=PATIENT_S)
    (batch,) = batches(beside.server)
    assert beside.server.core.store.file("openai", batch.input_file_id) is None
    assert [beside.server.core.store.file("openai", id) for id in batch.outputs.values()] == [None]


def test_files_at_the_provider_are_kept_when_asked(beside: Beside) -> None:
    run = beside.run(texts(2), provider_files="keep")
    run.wait(timeout_s=PATIENT_S)
    (batch,) = batches(beside.server)
    assert beside.server.core.store.file("openai", batch.input_file_id) is not None


# --- batches made elsewhere, and unclear ones ---


def by_hand(beside: Beside, tmp_path: Path) -> tuple[str, Path]:
    """A batch that another tool made: its id and its input file."""
    made = beside.run(texts(3), provider_files="keep", name="by another tool")
    made.wait(timeout_s=PATIENT_S)
    (attempt,) = made.ledger.attempts(made.id)
    assert attempt.batch_id
    path = tmp_path / "input.jsonl"
    path.write_bytes(made.folder.shard_file(0).read_bytes())
    return attempt.batch_id, path


def test_a_batch_made_elsewhere_is_adopted_and_settled(beside: Beside, tmp_path: Path) -> None:
    batch_id, path = by_hand(beside, tmp_path)
    adopted = nono.adopt(
        batch_id,
        model="openai/gpt-4o-mini",
        input_path=path,
        home=tmp_path / "other",
        api_key="local",
        base_url=beside.server.openai_base_url,
    )
    assert adopted.wait(timeout_s=PATIENT_S).succeeded == 3
    assert answers(adopted) == ["row 0", "row 1", "row 2"]
    assert len(batches(beside.server)) == 1


def test_a_run_that_died_before_it_took_its_batch_over_does_so_when_it_goes_on(
    beside: Beside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id, path = by_hand(beside, tmp_path)
    monkeypatch.setattr(Run, "take_over", lambda _: None)  # as far as a process comes that dies then
    adopted = nono.adopt(
        batch_id,
        model="openai/gpt-4o-mini",
        input_path=path,
        home=tmp_path / "other",
        api_key="local",
        base_url=beside.server.openai_base_url,
    )
    assert states(adopted) == ["planned"]
    assert adopted.wait(timeout_s=PATIENT_S).succeeded == 3
    assert answers(adopted) == ["row 0", "row 1", "row 2"]
    assert len(batches(beside.server)) == 1


def test_a_batch_that_is_not_there_is_not_adopted_and_leaves_no_run_that_could_be_sent(
    beside: Beside, tmp_path: Path
) -> None:
    _, path = by_hand(beside, tmp_path)
    with pytest.raises(nono.NonoError, match="No batch found"):
        nono.adopt(
            "batch_nowhere",
            model="openai/gpt-4o-mini",
            input_path=path,
            home=tmp_path / "other",
            api_key="local",
            base_url=beside.server.openai_base_url,
        )
    with pytest.raises(InputError, match="no runs in"):
        nono.open_run(home=tmp_path / "other")
    assert list((tmp_path / "other" / "runs").iterdir()) == []


def test_a_batch_that_belongs_to_a_run_is_not_adopted_twice(beside: Beside, tmp_path: Path) -> None:
    batch_id, path = by_hand(beside, tmp_path)
    with pytest.raises(InputError, match=f"batch {batch_id} belongs to run "):
        nono.adopt(
            batch_id,
            model="openai/gpt-4o-mini",
            input_path=path,
            home=beside.home,
            api_key="local",
            base_url=beside.server.openai_base_url,
        )


@pytest.fixture
def unclear(beside: Beside):  # type: ignore[no-untyped-def]
    """A run with a create of unknown fate: its answer was lost, and the list cannot be read."""

    def make(*, arrives: bool):  # type: ignore[no-untyped-def]
        def lost(call: Call, send) -> Reply:  # type: ignore[no-untyped-def]
            if is_create(call):
                if arrives:
                    send(call)
                raise AnswerLost("the answer was lost")
            return refused(400, "unsupported", "this service has no list")

        def fits(call: Call) -> bool:
            return is_create(call) or (call.method == "GET" and call.path == "/batches")

        run = beside.run(
            texts(2), through=replaced(fits, lost, times=1000), settings=replace(EAGER, patience=0), max_attempts=2
        )
        status = run.wait(timeout_s=PATIENT_S)
        assert status.state is RunState.STOPPED
        assert (status.reason or "").startswith("unclear_submit: ")
        (attempt,) = run.unclear()
        return beside.again(run), attempt.tag

    return make


def test_an_unclear_create_is_adopted_by_a_person(unclear, beside: Beside) -> None:  # type: ignore[no-untyped-def]
    run, tag = unclear(arrives=True)
    (batch,) = batches(beside.server)
    run.resolve(tag, adopt=batch.id)
    assert run.wait(timeout_s=PATIENT_S).succeeded == 2
    assert len(batches(beside.server)) == 1


def test_an_unclear_create_is_sent_again_when_a_person_says_so(unclear, beside: Beside) -> None:  # type: ignore[no-untyped-def]
    run, tag = unclear(arrives=False)
    run.resolve(tag, resubmit=True)
    assert run.wait(timeout_s=PATIENT_S).succeeded == 2
    assert len(batches(beside.server)) == 1


def test_an_unclear_create_is_dropped_when_a_person_says_so(unclear, beside: Beside) -> None:  # type: ignore[no-untyped-def]
    run, tag = unclear(arrives=False)
    run.resolve(tag, drop=True)
    status = run.wait(timeout_s=PATIENT_S)
    assert status.state is RunState.FINISHED
    assert outcomes(run) == ["cancelled", "cancelled"]


def test_only_what_waits_for_a_decision_can_be_decided(beside: Beside) -> None:
    run = beside.run(texts(1))
    with pytest.raises(InputError, match="no attempt 'x' waits for a decision"):
        run.resolve("x", drop=True)


def test_a_double_that_the_list_shows_is_cancelled(tmp_path: Path) -> None:
    model = Gated()
    with LocalServer(model, data=tmp_path / "server") as server:

        def twice(call: Call, send) -> Reply:  # type: ignore[no-untyped-def]
            send(call)
            return send(call)

        beside = Beside(tmp_path / "home", server)
        run = beside.run(texts(2), through=replaced(is_create, twice))
        seen = threading.Event()
        run.subscribe(lambda event: seen.set() if event.what == "double_cancelled" else None)
        worker = threading.Thread(target=run.wait, kwargs={"timeout_s": PATIENT_S})
        worker.start()
        assert seen.wait(PATIENT_S)
        model.open()
        worker.join(PATIENT_S)
        assert run.status.succeeded == 2
        assert len(events(run, "double_cancelled")) == 1


def test_purge_refuses_while_a_create_is_unclear(unclear, beside: Beside) -> None:  # type: ignore[no-untyped-def]
    from nono.runs.collecting import purge

    run, _ = unclear(arrives=True)
    with pytest.raises(InputError, match="may be at the provider"):
        purge(run.workspace, run.id)


def test_leaving_is_heeded_even_before_the_first_step(beside: Beside) -> None:
    run = beside.run(texts(1))
    with run._at_work() as engine:
        engine.leave()
        assert engine.work() is RunState.RUNNING
    assert states(run) == [AttemptState.PLANNED]


# --- collecting ---


def test_gc_leaves_a_run_alone_that_is_being_planned_and_removes_what_a_dead_process_left(beside: Beside) -> None:
    from nono.runs.collecting import collect

    run = beside.run(texts(2))
    run.wait(timeout_s=PATIENT_S)
    young, old = (beside.home / "runs" / name for name in ("young", "old"))
    young.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))
    assert collect(run.workspace) > 0
    assert young.exists()
    assert not old.exists()
    assert answers(run) == ["row 0", "row 1"]
    assert beside.again(run).wait(timeout_s=PATIENT_S).succeeded == 2
