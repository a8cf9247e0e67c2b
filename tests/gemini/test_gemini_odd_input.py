"""What people get wrong, or do a little differently, at the service class: it works, or they are told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gemini_double import GeminiDouble, operation
from google.genai import types

from nono.connector.genai_batch_processing import GeminiBatchService
from nono.errors import InputError, MissingFile, NotComplete, NotFound, SettingsError
from nono.jsonl import BadLine

Build = GeminiBatchService


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "http://", "ftp://host", "http://host?key=1"])
def test_an_address_that_is_none_is_told_when_the_service_is_made(url: str) -> None:
    with pytest.raises(SettingsError, match="not a base URL"):
        GeminiBatchService("k", base_url=url)


@pytest.mark.parametrize("key", [123, b"k"])
def test_a_key_is_a_text(key: Any) -> None:
    with pytest.raises(SettingsError, match="an API key is a text"):
        GeminiBatchService(key)


@pytest.mark.parametrize("given", [{"google_search": {}}, [{"google_search": {}}], ({"google_search": {}},)])
def test_one_tool_is_a_list_of_one(given: Any) -> None:
    assert Build.build_request("x", tools=given)["tools"] == [{"google_search": {}}]


def test_one_tool_joins_the_search() -> None:
    request = Build.build_request_with_search("x", tools={"url_context": {}})
    assert request["tools"] == [{"google_search": {}}, {"url_context": {}}]


def test_a_modality_of_the_sdk_is_its_name() -> None:
    request = Build.build_request("x", response_modalities=[types.Modality.IMAGE])
    assert [type(name) for name in request["generation_config"]["response_modalities"]] == [str]


def test_one_modality_is_not_a_list_of_letters() -> None:
    request = Build.build_request("x", response_modalities="TEXT")  # type: ignore[arg-type]
    assert request["generation_config"] == {"response_modalities": ["TEXT"]}


def test_a_temperature_is_a_number() -> None:
    with pytest.raises(InputError, match="temperature 'hot' is not between 0 and 2"):
        Build.build_request("x", temperature="hot")  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", ["", None, float("nan")])
def test_the_prompt_that_is_none_is_named_by_its_number(prompt: Any) -> None:
    with pytest.raises(InputError, match=r"^prompt 2: "):
        Build.build_requests_from_prompts(["a", prompt])


def test_a_key_that_is_none_is_named_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="request 2: a key is a text that is not empty, not None"):
        Build.create_jsonl_file(["a", "b"], tmp_path / "in.jsonl", keys=["x", None])  # type: ignore[list-item]


def test_a_missing_file_is_told_in_both_languages(service: GeminiBatchService, tmp_path: Path) -> None:
    for ask in (service.upload_file, service.create_file_batch):
        with pytest.raises(MissingFile, match="no such file") as caught:
            ask(tmp_path / "no.jsonl")
        assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(InputError, match="is a folder"):
        service.create_file_batch(tmp_path)


@pytest.mark.parametrize("size", [0, -1, "5", 2.5])
def test_a_page_is_a_whole_number_of_jobs(service: GeminiBatchService, size: Any) -> None:
    with pytest.raises(InputError, match="page_size is a whole number from 1"):
        service.list_jobs(page_size=size)


def test_jobs_go_into_sets(service: GeminiBatchService, gemini: GeminiDouble) -> None:
    gemini.jobs["batches/a"] = operation("batches/a", "BATCH_STATE_FAILED") | {
        "error": {"code": 3, "message": "no", "details": [{"a": 1}]}
    }
    assert len({service.get_job("batches/a"), service.get_job("a")}) == 1


def test_answers_that_are_named_in_a_state_never_heard_of_are_given(
    service: GeminiBatchService, gemini: GeminiDouble
) -> None:
    items = {"inlinedResponses": {"inlinedResponses": [{"response": {"candidates": []}, "metadata": {"key": "q"}}]}}
    gemini.jobs["batches/a"] = operation("batches/a", "BATCH_STATE_ARCHIVING", output=items)
    gemini.jobs["batches/b"] = operation("batches/b", "BATCH_STATE_ARCHIVING")
    assert [answer.key for answer in service.get_inline_results("batches/a")] == ["q"]
    with pytest.raises(NotComplete):
        service.get_inline_results("batches/b")


def test_a_line_that_is_no_answer_is_told_by_its_job(service: GeminiBatchService, gemini: GeminiDouble) -> None:
    gemini.jobs["batches/a"] = operation("batches/a", "BATCH_STATE_SUCCEEDED", output={"responsesFile": "files/out"})
    gemini.outputs["files/out"] = b'{"key": "a", "response": {}}\nnot JSON\n'
    with pytest.raises(BadLine, match=r"^answers of batches/a:2: not one JSON value") as caught:
        service.get_file_results("batches/a")
    assert "output_path=" in str(caught.value)


def test_a_wrong_address_is_suggested_where_a_name_is_not_known(service: GeminiBatchService) -> None:
    with pytest.raises(NotFound, match="check the name and the base URL"):
        service.get_job("batches/nobody")
