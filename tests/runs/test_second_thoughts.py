"""What goes wrong around a run: keys that change, early wishes, data that no table holds, answers cut short."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from engine_tools import EAGER, Beside, answers, batches, events, outcomes, replaced, states, texts

import nono
from nono.datasets import open_source
from nono.errors import AnswerLost, InputError, SettingsError
from nono.exchange import Call, Reply, Send
from nono.providers import Task, provider_named
from nono.runs import harvest, table
from nono.runs.collecting import collect
from nono.runs.cost import cost_usd, price_of
from nono.runs.ledger import AttemptState, RunState
from nono.runs.run import Run
from nono.runs.spec import RunSpec
from nono.runs.workspace import Workspace
from nono.server.app import LocalServer
from nono.server.models.simulated import SimulatedModel
from patience import PATIENT_S


@pytest.fixture
def beside(tmp_path: Path, server: LocalServer) -> Beside:
    return Beside(tmp_path / "home", server)


# --- a wish to leave ---


def test_a_wish_to_leave_that_comes_before_the_work_is_heeded_and_nothing_is_sent(beside: Beside) -> None:
    run = beside.run(texts(1))
    run.leave()
    assert run.wait(timeout_s=PATIENT_S).state is RunState.RUNNING
    assert states(run) == ["planned"]
    assert run.wait(timeout_s=PATIENT_S).succeeded == 1


def test_a_task_that_is_cancelled_at_once_sends_nothing(beside: Beside) -> None:
    run = beside.run(texts(1))

    async def go() -> None:
        waiting = asyncio.create_task(run.wait_async())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(go())
    assert states(run) == ["planned"]


# --- keys ---


def with_key(beside: Beside, run: Run, send: Send | None = None) -> Run:
    return Run(Workspace(beside.home), run.id, api_key="another", send=send)


def elsewhere(call: Call) -> Reply:
    """An account that has nothing."""
    if call.method == "GET" and call.path in ("/batches", "/files"):
        return Reply(200, {}, b'{"object": "list", "data": [], "has_more": false}')
    return Reply(404, {}, b'{"error": {"message": "no such thing", "type": "x", "code": null}}')


def test_a_new_key_goes_on_with_what_has_not_been_sent(beside: Beside) -> None:
    run = beside.run(texts(1))
    assert with_key(beside, run).wait(timeout_s=PATIENT_S).succeeded == 1


def test_a_new_key_that_sees_the_batches_brings_their_answers(beside: Beside) -> None:
    run = beside.run(texts(2))
    run.wait(until_submitted=True)
    later = with_key(beside, run)
    assert later.wait(timeout_s=PATIENT_S).succeeded == 2
    assert len(events(later, "key_changed")) == 1
    assert len(batches(beside.server)) == 1


@pytest.mark.parametrize("state", [AttemptState.CREATED, AttemptState.RECONCILE])
def test_a_key_of_another_account_goes_on_with_nothing_that_is_awaited(beside: Beside, state: AttemptState) -> None:
    """There, a batch whose create had no answer would be looked for in vain, and made again."""

    def lose(call: Call, send: Send) -> Reply:
        send(call)
        raise AnswerLost("reset")

    lost = replaced(lambda call: call.method == "POST" and call.path == "/batches", lose)
    run = beside.run(texts(1), through=lost if state is AttemptState.RECONCILE else None)
    run.subscribe(lambda _: run.leave() if state in {one.state for one in run.ledger.attempts(run.id)} else None)
    run.wait(timeout_s=PATIENT_S)
    assert states(run) == [state]
    with pytest.raises(SettingsError, match=r"belongs to another account(?s:.)*--new"):
        with_key(beside, run, elsewhere).wait()
    assert beside.again(run).wait(timeout_s=PATIENT_S).succeeded == 1
    assert len(batches(beside.server)) == 1


# --- names ---


def test_who_steers_by_a_name_means_the_run_that_is_not_over_and_who_deletes_must_be_clear(beside: Beside) -> None:
    first = beside.run(texts(1), name="nightly")
    second = beside.run(texts(2), name="nightly")
    second.wait(timeout_s=PATIENT_S)
    workspace = Workspace(beside.home)
    assert workspace.find("nightly").id == workspace.find().id == second.id
    assert workspace.find("nightly", to="steer").id == workspace.find(to="steer").id == first.id
    with pytest.raises(InputError, match="fits 2 runs"):
        workspace.find("nightly", to="delete")
    beside.run(texts(3), name="nightly")
    with pytest.raises(InputError, match=f"fits 2 runs: .*{first.id}"):
        workspace.find("nightly", to="steer")


def test_a_run_that_is_found_again_has_the_name_of_the_last_call(beside: Beside) -> None:
    run = beside.run(texts(1), name="once")
    assert beside.run(texts(1)).status.name == "once"
    assert beside.run(texts(1), name="twice").status.name == "twice"
    assert Workspace(beside.home).find("twice").id == run.id


# --- data that Parquet does not hold ---

ODD_TYPES = {
    "interval": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    "union": pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])]),
    "empty struct": pa.array([{}], pa.struct([])),
    "run ends": pa.RunEndEncodedArray.from_arrays([1], ["a"]),
}


@pytest.mark.parametrize("kind", ODD_TYPES)
def test_a_column_that_no_table_of_results_holds_is_told_before_anything_is_sent(beside: Beside, kind: str) -> None:
    with pytest.raises(InputError, match="column 'odd' is of a type that no table of results can hold"):
        beside.run(pa.table({"text": ["a"], "odd": ODD_TYPES[kind]}))


def test_values_that_parquet_refuses_are_written_as_texts_and_the_answers_are_not_lost(beside: Beside) -> None:
    late = pa.array([(1 << 62)], pa.int64()).cast(pa.timestamp("s"))
    words = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array([["a", "b"]]))
    run = beside.run(pa.table({"text": ["[[nono:say fine]]"], "late": late, "words": words, "n": [7]}))
    assert run.wait(timeout_s=PATIENT_S).succeeded == 1
    (row,) = run.results()
    assert (row["answer"], row["n"], row["words"]) == ("fine", 7, '["a","b"]')


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (lambda pandas: pandas.DataFrame([["a", "b"]], columns=["text", "text"]), "text"),
        (lambda pandas: pandas.DataFrame({"text": ["a", "b"], "x": [{"a": 1}, [1]]}), "column x"),
        (lambda pandas: pandas.DataFrame({"text": ["a"], "x": [object()]}), "column x"),
    ],
)
def test_a_frame_that_arrow_cannot_read_is_bad_input(beside: Beside, frame: Any, said: str) -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InputError, match=f"this DataFrame cannot be read: .*{said}"):
        beside.run(frame(pandas))


def test_a_cut_character_in_an_answer_does_not_keep_a_part_from_its_end(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "have_arrow", lambda: False)
    through = answers_changed(lambda content: content.replace(b"HERE", b"\\ud800"))
    run = beside.run([{"text": "[[nono:say HERE]]", "more": {"n": 1}}], through=through)
    run.wait(timeout_s=PATIENT_S)
    assert answers(run) == ["\ufffd"]


def test_parts_of_both_kinds_are_one_table(beside: Beside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pyarrow was installed while the run was under way."""
    run = beside.run(texts(2), rows_per_part=1)
    kinds = iter((False, True))
    known: dict[str, bool] = {}
    folder_of = table.part_path

    def one_of_each(folder: Path, part_no: int) -> Path:
        with_arrow = known.setdefault(str(part_no), next(kinds, True))
        monkeypatch.setattr(table, "have_arrow", lambda: with_arrow)
        return folder_of(folder, part_no)

    for module in ("settle", "rounds", "run"):
        monkeypatch.setattr(f"nono.runs.{module}.part_path", one_of_each)
    run.wait(timeout_s=PATIENT_S)
    assert {part.suffix for part in run.results().parts} == {".jsonl", ".parquet"}
    run.export(tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3


def answers_changed(change: Callable[[bytes], bytes]) -> Callable[[Send], Send]:
    """A service whose answer files hold something else, and which does not say how large they are."""

    def through(send: Send) -> Send:
        def wrapped(call: Call) -> Reply:
            reply = send(call)
            if call.save_to is not None:
                call.save_to.write_bytes(change(call.save_to.read_bytes()))
                return Reply(200)
            if call.method == "GET" and call.path.startswith("/files/"):
                return Reply(200, {}, json.dumps(json.loads(reply.body) | {"bytes": None}).encode())
            return reply

        return wrapped

    return through


def test_counters_beyond_reason_do_not_keep_a_part_from_its_end(beside: Beside) -> None:
    def boast(content: bytes) -> bytes:
        lines = [json.loads(line) for line in content.splitlines()]
        for line in lines:
            line["response"]["body"]["usage"]["prompt_tokens"] = 1 << 62
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    run = beside.run(texts(3), through=answers_changed(boast))
    assert run.wait(timeout_s=PATIENT_S).succeeded == 3
    assert run.status.input_tokens == 1 << 53


# --- the same data ---


def test_the_same_frame_is_the_same_data_however_it_is_cut_and_whoever_made_it() -> None:
    whole = pa.table({"text": [f"row {number}" for number in range(9_000)]})
    pieces = pa.concat_tables([whole.slice(0, 10), whole.slice(10, 5_000), whole.slice(5_010)])
    signed = whole.replace_schema_metadata({"made by": "another version"})
    assert open_source(whole).fingerprint() == open_source(pieces).fingerprint() == open_source(signed).fingerprint()
    assert open_source(whole).fingerprint() != open_source(whole.slice(1)).fingerprint()
    assert [row["text"] for row in open_source(pieces).rows()] == whole["text"].to_pylist()


def test_the_same_work_has_the_same_fingerprint_in_every_version() -> None:
    """Another one would start, and pay, every run of theirs again: a new word must not count where nobody says it."""
    spec = RunSpec("openai", Task("chat", "gpt-4o-mini", system="Be brief."), prompt="{{ text }}", id_column="id")
    assert spec.fingerprint("data") == "1195d0fcbdc4da64e0e4e15f7035ae0c"


# --- what is paid for ---


def test_a_cancelled_run_lends_its_answers_to_the_next_one(beside: Beside) -> None:
    cancelled = beside.run(texts(3), rows_per_part=1, max_batches=1)
    leave = cancelled.subscribe(lambda _: cancelled.leave() if cancelled.status.succeeded else None)
    cancelled.wait(timeout_s=PATIENT_S)
    leave()
    done = cancelled.cancel().succeeded
    again = beside.run(texts(3), rows_per_part=1)
    assert again.id != cancelled.id
    assert again.wait(timeout_s=PATIENT_S).succeeded == 3
    assert 0 < again.status.reused == done


def test_a_cancelled_run_whose_folder_is_gone_does_not_stand_in_the_way(beside: Beside) -> None:
    cancelled = beside.run(texts(1))
    cancelled.cancel()
    cancelled.folder.remove()
    assert beside.run(texts(1)).wait(timeout_s=PATIENT_S).succeeded == 1


class Broke(SimulatedModel):
    """An account that is empty until somebody fills it."""

    rich = False

    def answer(self, endpoint: str, body: Any) -> tuple[int, dict[str, Any]]:
        if not self.rich and "late" in str(body["messages"][0]["content"]):
            error = {"message": "You exceeded your current quota", "type": "insufficient_quota", "param": None}
            return 429, {"error": error | {"code": "insufficient_quota"}}
        return super().answer(endpoint, body)


def test_who_fills_the_account_and_resumes_gets_the_rows_that_it_refused(tmp_path: Path) -> None:
    model = Broke()
    with LocalServer(model, data=tmp_path / "server") as server:
        run = Beside(tmp_path / "home", server).run([{"text": "early"}, {"text": "late"}], rows_per_part=1)
        status = run.wait(timeout_s=PATIENT_S)
        assert (status.state, status.succeeded) == (RunState.STOPPED, 1)
        model.rich = True
        status = run.resume(timeout_s=PATIENT_S)
        assert (status.state, status.succeeded) == (RunState.FINISHED, 2)


def test_what_came_short_is_kept_where_nothing_comes_afterwards(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harvest, "LATE_OUTPUT_S", 0.001)
    monkeypatch.setattr(harvest, "LATE_OUTPUT_TRIES", 1)
    monkeypatch.setattr(harvest, "backoff_s", lambda *_: 0.001)
    fetched = []

    def through(send: Send) -> Send:
        def wrapped(call: Call) -> Reply:
            if call.save_to is None:
                return send(call)
            fetched.append(call)
            if len(fetched) > 1:
                return Reply(404, {}, b'{"error": {"message": "No such File object", "type": "x", "code": null}}')
            reply = send(call)
            lines = call.save_to.read_bytes().splitlines(keepends=True)
            lines[2] = b" " * (len(lines[2]) - 1) + b"\n"
            call.save_to.write_bytes(b"".join(lines))
            return reply

        return wrapped

    run = beside.run(texts(5), through=through, max_attempts=1)
    run.wait(timeout_s=PATIENT_S)
    assert outcomes(run) == ["succeeded", "succeeded", "missing", "succeeded", "succeeded"]


def test_a_batch_that_was_refused_for_want_of_room_is_not_taken_for_the_one_that_came_after_it(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a service gives no metadata back, batches are known by their file; that outlives the refused one."""
    monkeypatch.setattr(harvest, "backoff_s", lambda *_: 0.001)
    refused: dict[str, Any] = {}
    posts: list[Call] = []

    def bare(reply: Reply) -> Reply:
        found = json.loads(reply.body) if reply.body else {}
        for batch in [found, *found.get("data", [])]:
            if batch.get("object") == "batch":
                batch["metadata"] = None
        return Reply(reply.status, reply.headers, json.dumps(found).encode()) if reply.body else reply

    def through(send: Send) -> Send:
        def wrapped(call: Call) -> Reply:
            if call.method == "POST" and call.path == "/batches":
                posts.append(call)
                if len(posts) == 1:
                    said = "Enqueued token limit reached for gpt-4o-mini. Limit: 2,000,000 enqueued tokens."
                    error = {"code": "token_limit_exceeded", "message": said, "param": None, "line": None}
                    refused.update(
                        id="batch_refused", object="batch", endpoint=call.json["endpoint"], status="failed",
                        errors={"object": "list", "data": [error]}, input_file_id=call.json["input_file_id"],
                        completion_window="24h", created_at=int(time.time()) - 100, metadata=None,
                    )  # fmt: skip
                    return Reply(200, {}, json.dumps(refused).encode())
                send(call)
                raise AnswerLost("reset")
            if call.path == "/batches/batch_refused":
                return Reply(200, {}, json.dumps(refused).encode())
            reply = bare(send(call))
            if call.method == "GET" and call.path == "/batches" and refused:
                page = json.loads(reply.body)
                page["data"].append(refused)
                return Reply(200, {}, json.dumps(page).encode())
            return reply

        return wrapped

    run = beside.run(texts(3), through=through)
    run.wait(timeout_s=PATIENT_S)
    assert (outcomes(run), len(posts)) == (["succeeded"] * 3, 2)
    assert [batch.counts.ok for batch in batches(beside.server)] == [3]


def test_folders_with_answers_are_not_thrown_away_because_the_ledger_does_not_know_them(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = beside.run(texts(1))
    run.wait(timeout_s=PATIENT_S)
    empty = beside.home / "runs" / "left"
    empty.mkdir()
    with run.ledger.transaction() as work:
        work.delete_run(run.id)
    monkeypatch.setattr("nono.runs.collecting.ABANDONED_AFTER_S", -1)
    collect(Workspace(beside.home))
    assert run.folder.results.is_dir() and any(run.folder.results.iterdir())
    assert not empty.exists()


# --- money ---


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        ({"parameters": {"max_tokens": 50}}, 50),
        ({"extra_body": {"max_completion_tokens": 50_000}}, 50_000),
        ({"parameters": {"max_tokens": 50}, "extra_body": {"n": 4}}, 200),
        ({"extra_body": {"generationConfig": {"maxOutputTokens": 70, "candidateCount": 2}}}, 140),
    ],
)
def test_the_guess_knows_a_limit_of_the_output_wherever_it_stands(asked: dict[str, Any], limit: int) -> None:
    price, _ = price_of(provider_named("openai"), "gpt-4o-mini")
    assert price is not None
    guess = cost_usd(1, 0, Task("chat", "gpt-4o-mini", **asked), price, 1)
    assert guess == pytest.approx(limit * price.output_usd / 1e6)


def test_rows_that_are_sent_again_are_guessed_by_their_own_number_and_length(beside: Beside) -> None:
    long = {"text": "word " * 5_000 + "[[nono:say fine]]"}
    rows = [long, {"text": "[[nono:error 429]]"}, {"text": "[[nono:error 429]] too"}]
    run = beside.run(rows, rows_per_part=1, max_attempts=2, settings=EAGER)
    run.wait(timeout_s=PATIENT_S)
    shards = run.ledger.shards(run.id)
    price, _ = price_of(provider_named("openai"), "gpt-4o-mini")
    assert price is not None
    assert [shard.round for shard in shards] == [1, 1, 1, 2]
    assert shards[-1].cost_usd == pytest.approx(cost_usd(2, shards[-1].tokens, run.spec.task, price, 1))
    assert nono.open_run(run.id, home=beside.home).status.failed == 2
