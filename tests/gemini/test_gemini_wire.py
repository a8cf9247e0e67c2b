"""Operations of the service as values: nothing legal is lost or fatal."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from gemini_double import operation

from nono.errors import FileOutput, InputError, JobFailed, NoDestination, NotComplete, UnreadableAnswer
from nono.model import Phase
from nono.providers.gemini.answers import InlineResult
from nono.providers.gemini.harvest import answer_file, inline_answers
from nono.providers.gemini.wire import Job, parse_job, parse_job_page, remote_batch


@pytest.fixture
def jobs(samples: Path) -> dict[str, Job]:
    lines = [json.loads(line) for line in (samples / "operations.jsonl").read_text().splitlines()]
    return {line["case"]: parse_job(line["operation"]) for line in lines}


def test_every_sample_parses(jobs: dict[str, Job]) -> None:
    assert len(jobs) == 21
    assert {case: job.state for case, job in jobs.items() if job.phase is Phase.UNKNOWN} == {
        "newstate": "BATCH_STATE_HIBERNATING"
    }


def test_a_failed_job_keeps_its_error_and_its_counters(jobs: dict[str, Job]) -> None:
    job = jobs["fail"]
    assert (job.state, job.failed, job.complete) == ("JOB_STATE_FAILED", True, True)
    assert job.error is not None
    assert (job.error.code, job.error.message, job.error.details) == (3, "bad file", [])
    assert job.completion_stats is not None
    assert (job.completion_stats.total_count, job.completion_stats.pending_count) == (2, 2)


def test_a_real_pending_job_names_its_source_and_its_time(jobs: dict[str, Job]) -> None:
    job = jobs["live_pending_file"]
    assert job.src is not None
    assert job.src.file_name == "files/frh6ua11nk3o"
    assert job.create_time == datetime(2026, 1, 6, 11, 9, 11, 943530, tzinfo=UTC)
    assert (job.running, job.complete, job.progress) == (True, False, 0.0)
    assert job.id == "leg9wy9p5df66syjxke2eq4xfjqcwp47ejv3"


def test_a_real_finished_job_names_its_answer_file(jobs: dict[str, Job]) -> None:
    job = jobs["live_done_file"]
    assert answer_file(job) == "files/batch-3a96ht58d9rd3fci7tg3qlrhlfawe5ykp6ge"
    assert job.progress == 100.0


@pytest.mark.parametrize("case", ["okfile", "okfile_resp_only", "job_state_spelling", "snake_output"])
def test_the_answer_file_is_found_wherever_it_is_named(jobs: dict[str, Job], case: str) -> None:
    assert answer_file(jobs[case]).startswith("files/batch-")


def test_a_state_never_heard_of_is_kept_and_is_not_the_end(jobs: dict[str, Job]) -> None:
    job = jobs["newstate"]
    assert (job.state, job.complete, job.running) == ("BATCH_STATE_HIBERNATING", False, False)


def test_an_operation_that_says_done_without_a_state_has_ended(jobs: dict[str, Job]) -> None:
    assert jobs["done_without_state"].state == "JOB_STATE_FAILED"


def test_an_operation_that_says_done_in_an_unknown_state_has_ended() -> None:
    assert parse_job(operation("batches/b", "BATCH_STATE_NEWLY_ENDED")).phase is Phase.FAILED


def test_details_of_any_shape_do_not_cost_the_job(jobs: dict[str, Job]) -> None:
    (item,) = inline_answers(jobs["okinl_details"])
    assert item == ""
    assert item.error is not None
    assert item.error["details"] == [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R"}]


def test_metadata_that_is_no_text_does_not_cost_the_job(jobs: dict[str, Job]) -> None:
    (item,) = inline_answers(jobs["okinl_meta"])
    assert (item.key, item.metadata) == ("5", {"key": 5, "o": {"a": 1}})


def test_an_embedding_is_a_vector(jobs: dict[str, Job]) -> None:
    dest = jobs["okemb"].dest
    assert dest is not None
    assert dest.inlined_embed_content_responses is not None
    assert dest.inlined_embed_content_responses[0].vector == [0.1, 0.2]


def test_an_inline_answer_is_its_text(jobs: dict[str, Job]) -> None:
    good, bad = inline_answers(jobs["okinl"])
    assert (good, good.key, good.error) == ("hey", "a", None)
    assert (bad, bad.key, bad.error) == ("", "b", {"code": 3, "message": "bad request"})
    assert json.dumps([good, bad]) == '["hey", ""]'


def test_an_inline_answer_survives_pickle_with_all_it_carries(jobs: dict[str, Job]) -> None:
    again = pickle.loads(pickle.dumps(inline_answers(jobs["okinl"])[0]))
    assert (again, again.key, again.response["responseId"]) == ("hey", "a", "r")


def test_an_inline_answer_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        InlineResult("x").key = "y"  # type: ignore[misc]


def finished(*keys: str | None, total: int | None = None) -> Job:
    items = [
        {"response": {"candidates": [{"content": {"parts": [{"text": f"to {key}"}]}}]}}
        | ({"metadata": {"key": key}} if key else {})
        for key in keys
    ]
    output = {"inlinedResponses": {"inlinedResponses": items}}
    stats = {"requestCount": str(total or len(keys))}
    return parse_job(operation("batches/b", "BATCH_STATE_SUCCEEDED", output=output, batchStats=stats))


def test_shuffled_answers_come_in_the_order_of_their_requests() -> None:
    assert inline_answers(finished("request-3", "request-1", "request-2")) == [
        "to request-1",
        "to request-2",
        "to request-3",
    ]


def test_a_lost_answer_leaves_a_gap_and_moves_no_other() -> None:
    answers = inline_answers(finished("request-3", "request-1", total=3))
    assert answers == ["to request-1", "", "to request-3"]
    assert answers[1].error is not None
    assert (answers[1].key, answers[1].error["status"]) == ("request-2", "MISSING")


@pytest.mark.parametrize("keys", [("b", "a"), ("request-2", None), ("request-9", "request-8"), ("request-1",) * 2])
def test_answers_without_our_keys_stay_as_they_came(keys: tuple[str | None, ...]) -> None:
    assert [item.key for item in inline_answers(finished(*keys))] == list(keys)


def test_an_answer_without_text_is_no_gap() -> None:
    item = {"response": {"embedding": {"values": [0.5]}}, "metadata": {"key": "request-1"}}
    output = {"inlinedResponses": {"inlinedResponses": [item]}}
    (answer,) = inline_answers(parse_job(operation("batches/b", "BATCH_STATE_SUCCEEDED", output=output)))
    assert (answer.vector, answer.error) == ([0.5], None)


def test_answers_in_a_file_are_told_where() -> None:
    job = parse_job(operation("batches/b", "BATCH_STATE_SUCCEEDED", output={"responsesFile": "files/batch-b"}))
    with pytest.raises(FileOutput) as caught:
        inline_answers(job)
    assert caught.value.place == "files/batch-b"


def test_answers_inline_are_not_looked_for_in_a_file(jobs: dict[str, Job]) -> None:
    with pytest.raises(InputError, match="the answers are inline"):
        answer_file(jobs["okinl"])


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("BATCH_STATE_RUNNING", NotComplete, "has not ended yet: JOB_STATE_RUNNING"),
        ("BATCH_STATE_SUCCEEDED", NoDestination, "names no place"),
        ("BATCH_STATE_EXPIRED", JobFailed, "submit again, or split"),
        ("BATCH_STATE_HIBERNATING", NotComplete, "HIBERNATING"),
    ],
)
def test_no_answers_have_a_reason(state: str, kind: type[Exception], words: str) -> None:
    raw = operation("batches/b", state) | {"done": False}
    with pytest.raises(kind, match=words):
        inline_answers(parse_job(raw))


def test_a_cancelled_job_with_answers_gives_them() -> None:
    output = {"responsesFile": "files/batch-b"}
    assert answer_file(parse_job(operation("batches/b", "BATCH_STATE_CANCELLED", output=output))) == "files/batch-b"


def test_an_empty_token_ends_the_listing() -> None:
    page = parse_job_page({"operations": [operation("batches/b", "BATCH_STATE_RUNNING")], "nextPageToken": ""})
    assert ([job.name for job in page.jobs], page.next_page_token) == (["batches/b"], None)


@pytest.mark.parametrize("answer", [None, [], "x", {}, {"name": 3}])
def test_what_is_no_job_is_unreadable(answer: Any) -> None:
    with pytest.raises(UnreadableAnswer):
        parse_job(answer)


def test_progress_counts_successes_and_failures() -> None:
    stats = {"requestCount": "8", "successfulRequestCount": "5", "failedRequestCount": "1"}
    assert parse_job(operation("batches/b", "BATCH_STATE_RUNNING", batchStats=stats)).progress == 75.0


def test_progress_is_unknown_without_counters() -> None:
    assert parse_job(operation("batches/b", "BATCH_STATE_RUNNING")).progress is None


@pytest.mark.parametrize(
    ("name", "id"),
    [("batches/x", "x"), ("batchPredictionJobs/x", "x"), ("projects/p/locations/l/batchPredictionJobs/1", None)],
)
def test_the_id_is_what_follows_the_collection(name: str, id: str | None) -> None:
    assert Job(name, "JOB_STATE_PENDING").id == (id or name)


def test_the_engine_sees_the_native_word_and_the_tag(jobs: dict[str, Job]) -> None:
    batch = remote_batch(jobs["live_done_file"])
    assert (batch.native_state, batch.phase, batch.tag) == ("BATCH_STATE_SUCCEEDED", Phase.SUCCEEDED, "captions")
    assert batch.answer_files == ("files/batch-3a96ht58d9rd3fci7tg3qlrhlfawe5ykp6ge",)
    assert batch.input_file_id == "files/voe5u4gdj968"
    assert batch.counts is not None
    assert batch.counts.succeeded == 9
    assert batch.expires_at == datetime(2026, 8, 22, 20, 8, 31, 15405, tzinfo=UTC)


def test_a_failed_batch_tells_the_engine_why(jobs: dict[str, Job]) -> None:
    (error,) = remote_batch(jobs["fail"]).errors
    assert (error.code, error.message, error.retryable) == ("INVALID_ARGUMENT", "bad file", False)
