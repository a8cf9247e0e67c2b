"""The calls themselves: what is asked, how often, and what the answers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gemini_double import Drop, GeminiDouble, Says, Script, operation, refusal, reply

from nono.connector.genai_batch_processing import GeminiBatchService
from nono.errors import (
    AnswerLost,
    IncompleteDownload,
    InputError,
    InvalidRequest,
    NoDestination,
    NotFound,
    ProviderUnavailable,
    RateLimited,
)
from nono.exchange import Call
from nono.providers.gemini import flows
from nono.retry import retrying

JOB = operation("batches/b", "BATCH_STATE_PENDING")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Drop(), AnswerLost),
        (refusal(500, "INTERNAL", "oops"), ProviderUnavailable),
        (refusal(503, "UNAVAILABLE", "busy"), ProviderUnavailable),
        (refusal(429, "RESOURCE_EXHAUSTED", "full"), RateLimited),
    ],
)
def test_a_job_is_created_by_exactly_one_request_whatever_happens(
    gemini: GeminiDouble, service: GeminiBatchService, answer: Any, kind: type[Exception]
) -> None:
    gemini.once("POST", ":batchGenerateContent", answer)
    with pytest.raises(kind):
        service.create_inline_batch(["hi"])
    assert len(gemini.calls("POST")) == 1


def test_a_lost_creation_says_where_to_look(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    gemini.once("POST", ":batchGenerateContent", Drop())
    with pytest.raises(AnswerLost) as caught:
        service.create_inline_batch(["hi"], display_name="nightly")
    assert "look for a job named 'nightly' in list_jobs()" in (caught.value.hint or "")


def test_a_refused_creation_keeps_the_upload(gemini: GeminiDouble, service: GeminiBatchService, tmp_path: Path) -> None:
    path = service.create_jsonl_file(["hi"], tmp_path / "in.jsonl")
    gemini.once("POST", ":batchGenerateContent", refusal(429, "RESOURCE_EXHAUSTED", "full"))
    with pytest.raises(RateLimited) as caught:
        service.create_file_batch(path)
    assert "create_file_batch(uploaded_file_name='files/f0')" in (caught.value.hint or "")


def test_asking_is_repeated_when_the_service_is_in_trouble() -> None:
    script = Script(reply(503), AnswerLost("cut"), JOB)
    assert script.run(retrying(flows.get("b"))).name == "batches/b"
    assert len(script.calls) == 3


@pytest.mark.parametrize("name", ["batches/b", "b"])
def test_a_bare_id_is_a_name(name: str) -> None:
    script = Script(JOB)
    script.run(flows.get(name))
    assert script.calls == [Call("GET", "/{version}/batches/b")]


@pytest.mark.parametrize("name", ["", "batches/", "a/b", "../files/x", "projects/p/batchPredictionJobs/1", "a?b", None])
def test_what_is_no_name_is_refused_before_anything_is_sent(name: Any) -> None:
    with pytest.raises(InputError, match="not the name of a job"):
        Script().run(flows.get(name))


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-x", "models/gemini-x"),
        ("models/gemini-x", "models/gemini-x"),
        ("tunedModels/y", "tunedModels/y"),
    ],
)
def test_a_model_stands_in_the_path(model: str, path: str) -> None:
    assert flows.model_path(model) == path


@pytest.mark.parametrize("model", ["", "gemini/x", "a b", "models/", "x:y", None])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(InputError, match="not the name of a model"):
        flows.model_path(model)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("files/a-b", "files/a-b"),
        ("a-b", "files/a-b"),
        ("https://generativelanguage.googleapis.com/v1beta/files/batch-a-b:download?alt=media", "files/batch-a-b"),
    ],
)
def test_a_file_is_named_by_name_id_or_uri(given: str, name: str) -> None:
    assert flows.file_name(given) == name


def succeeded(output: Any) -> dict[str, Any]:
    return operation("batches/b", "BATCH_STATE_SUCCEEDED", output=output)


def test_answers_that_are_named_a_little_later_are_waited_for() -> None:
    output = {"inlinedResponses": {"inlinedResponses": []}}
    script = Script(succeeded(None), succeeded(None), succeeded(output))
    assert script.run(flows.inline_results("b")) == []
    assert script.pauses == [1.0, 2.0]


def test_answers_that_are_never_named_are_told_after_half_a_minute() -> None:
    script = Script(*[succeeded(None)] * 6)
    with pytest.raises(NoDestination):
        script.run(flows.inline_results("b"))
    assert sum(script.pauses) == 30.0


def test_a_cancelled_job_is_returned_as_it_is_afterwards() -> None:
    script = Script({}, operation("batches/b", "BATCH_STATE_CANCELLED"))
    assert script.run(flows.cancel("b")).cancelled
    assert [(call.method, call.path, call.content) for call in script.calls] == [
        ("POST", "/{version}/batches/b:cancel", ()),
        ("GET", "/{version}/batches/b", None),
    ]


def test_cancelling_what_has_ended_is_no_error() -> None:
    script = Script(reply(400, {"error": {"status": "FAILED_PRECONDITION"}}), succeeded({"responsesFile": "files/x"}))
    assert script.run(flows.cancel("b")).succeeded


def test_cancelling_what_still_runs_and_is_refused_is_an_error() -> None:
    script = Script(reply(400, {"error": {"message": "no"}}), operation("batches/b", "BATCH_STATE_RUNNING"))
    with pytest.raises(InvalidRequest):
        script.run(flows.cancel("b"))


def test_all_pages_are_listed(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    for _ in range(5):
        service.create_inline_batch(["hi"])
    jobs = service.list_jobs(page_size=2)
    assert [job.id for job in jobs] == ["b1", "b2", "b3", "b4", "b5"]
    assert [seen.query for seen in gemini.calls("GET", "/batches$")] == [
        {"pageSize": "2"},
        {"pageSize": "2", "pageToken": "2"},
        {"pageSize": "2", "pageToken": "4"},
    ]


def test_later_pages_are_fetched_when_they_are_wanted(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    for _ in range(3):
        service.create_inline_batch(["hi"])
    jobs = service.list_jobs(page_size=1)
    assert next(iter(jobs)).id == "b1"
    assert len(gemini.calls("GET", "/batches$")) == 1
    assert (len(jobs.page), jobs.has_more_pages, jobs.next_page_token) == (1, True, "1")
    assert [job.id for job in service.list_jobs(page_size=1, page_token="2")] == ["b3"]


def test_an_empty_page_in_the_middle_is_passed_over() -> None:
    script = Script({"operations": [], "nextPageToken": "t"}, {})
    assert script.run(flows.list_page()).next_page_token == "t"


def test_an_account_without_jobs_lists_none(service: GeminiBatchService) -> None:
    assert list(service.list_jobs()) == []
    assert service.list_all_jobs() == []


@pytest.fixture
def finished(gemini: GeminiDouble) -> str:
    """A job whose answer file has a hundred lines."""
    lines = b"".join(b'{"key":"k%d","response":{"candidates":[]}}\n' % number for number in range(100))
    gemini.outputs["files/batch-b"] = lines
    gemini.jobs["batches/b"] = succeeded({"responsesFile": "files/batch-b"})
    return "batches/b"


def test_a_download_lands_whole_at_its_path(service: GeminiBatchService, finished: str, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    assert service.get_file_results(finished, path) == path
    assert path.read_bytes().count(b"\n") == 100
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_broken_download_goes_on_where_it_broke(
    gemini: GeminiDouble, service: GeminiBatchService, finished: str
) -> None:
    gemini.once("GET", ":download", Says(200, gemini.outputs["files/batch-b"], cut=1000))
    assert len(service.get_file_results(finished)) == 100
    assert [seen.headers.get("range") for seen in gemini.calls("GET", ":download")] == [None, "bytes=1000-"]


def test_a_download_of_another_job_does_not_go_on_with_these_bytes(
    gemini: GeminiDouble, service: GeminiBatchService, finished: str, tmp_path: Path
) -> None:
    (tmp_path / "out.jsonl.batch-a.part").write_bytes(b"other bytes")
    service.get_file_results(finished, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == gemini.outputs["files/batch-b"]


def test_a_download_without_a_length_that_ends_inside_a_line_is_not_whole(
    gemini: GeminiDouble, service: GeminiBatchService, finished: str, tmp_path: Path
) -> None:
    gemini.once("GET", ":download", Says(200, b'{"key":"a"}\n{"key', headers={"transfer-encoding": "none"}))
    with pytest.raises(IncompleteDownload, match="ends inside a line"):
        service.get_file_results(finished, tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_answer_file_leaves_nothing_behind(
    gemini: GeminiDouble, service: GeminiBatchService, finished: str, tmp_path: Path
) -> None:
    gemini.outputs.clear()
    with pytest.raises(NotFound):
        service.get_file_results(finished, tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told_before_anything_is_sent(
    gemini: GeminiDouble, service: GeminiBatchService, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="does not exist"):
        service.get_file_results("b", tmp_path / "nowhere" / "out.jsonl")
    assert gemini.seen == []


def test_odd_line_separators_inside_answers_split_no_line(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    line = '{"key":"a","response":{"text":"one\u2028two\u0085three"}}\n'
    gemini.outputs["files/batch-b"] = line.encode()
    gemini.jobs["batches/b"] = succeeded({"responsesFile": "files/batch-b"})
    assert service.get_file_results("b") == [{"key": "a", "response": {"text": "one\u2028two\u0085three"}}]
