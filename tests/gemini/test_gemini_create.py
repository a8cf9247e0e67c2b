"""`create_batch`: one source, settings that hold for all requests, and what is refused before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gemini_double import GeminiDouble

from nono.connector.genai_batch_processing import AsyncGeminiBatchService, GeminiBatchService
from nono.errors import InputError
from nono.providers.gemini.defaults import write_complete

BARE = {"contents": [{"parts": [{"text": "Summarize: one"}]}]}


def jsonl(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" if line is not None else "\n" for line in lines))
    return path


def uploaded(gemini: GeminiDouble) -> list[Any]:
    (seen,) = [seen for seen in gemini.seen if "upload_id" in seen.query and seen.body]
    return [json.loads(line) if line else None for line in seen.body.decode().split("\n")[:-1]]


def created(gemini: GeminiDouble) -> dict[str, Any]:
    (seen,) = gemini.calls("POST", ":batchGenerateContent")
    batch: dict[str, Any] = seen.json["batch"]
    return batch


def test_settings_of_a_job_stand_in_every_request_of_its_file(
    gemini: GeminiDouble, service: GeminiBatchService, tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "in.jsonl", {"key": "a", "request": BARE}, {"key": "b", "request": BARE})
    service.create_batch(
        "gemini-2.0-flash",
        file_path=path,
        display_name="Content Generation Batch",
        generation_config={"temperature": 0.7, "maxOutputTokens": 1000},
        system_instruction="Be concise.",
    )
    whole = {
        "systemInstruction": {"parts": [{"text": "Be concise."}]},
        "generationConfig": {"temperature": 0.7, "maxOutputTokens": 1000},
        **BARE,
    }
    assert uploaded(gemini) == [{"key": "a", "request": whole}, {"key": "b", "request": whole}]
    assert created(gemini)["displayName"] == "Content Generation Batch"


def test_a_requests_own_values_win_however_they_are_spelled(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    own = {**BARE, "system_instruction": "mine", "generation_config": {"max_output_tokens": 5, "seed": 1}}
    service.create_batch(
        requests=[own], system_instruction="ours", generation_config={"temperature": 0.7, "maxOutputTokens": 1000}
    )
    request = created(gemini)["inputConfig"]["requests"]["requests"][0]["request"]
    assert request["system_instruction"] == {"parts": [{"text": "mine"}]}
    assert request["generation_config"] == {"temperature": 0.7, "max_output_tokens": 5, "seed": 1}
    assert "systemInstruction" not in request
    assert "generationConfig" not in request


def test_a_request_with_a_schema_of_its_own_gets_no_second_one(
    gemini: GeminiDouble, service: GeminiBatchService
) -> None:
    own = {**BARE, "generationConfig": {"responseJsonSchema": {"type": "object"}}}
    ours = {"responseMimeType": "application/json", "responseSchema": {"type": "STRING"}}
    service.create_batch(requests=[own], generation_config=ours)
    request = created(gemini)["inputConfig"]["requests"]["requests"][0]["request"]
    assert request["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
    }


def test_bare_requests_of_a_file_get_keys_by_their_line(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "in.jsonl", BARE, None, BARE)
    assert write_complete(path, tmp_path / "out.jsonl", {}) == 2
    first, blank, third = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(first) == {"key": "request-1", "request": BARE}
    assert blank == ""
    assert json.loads(third) == {"key": "request-3", "request": BARE}


def test_a_file_that_is_complete_goes_as_it_is(
    gemini: GeminiDouble, service: GeminiBatchService, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"key":  "a",  "request": {"contents": [{"parts": [{"text": "hi"}]}]}}')
    service.create_batch(file_path=path)
    (seen,) = [seen for seen in gemini.seen if "upload_id" in seen.query and seen.body]
    assert seen.body == path.read_bytes()


def test_the_input_file_is_never_changed(service: GeminiBatchService, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "in.jsonl", BARE)
    before = path.read_bytes()
    service.create_batch(file_path=path, generation_config={"temperature": 0})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_bad_line_is_named_by_the_users_file(
    gemini: GeminiDouble, service: GeminiBatchService, tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "in.jsonl", BARE, {"prompt": "x"})
    with pytest.raises(InputError, match=r"in\.jsonl: line 2: a request without `contents`"):
        service.create_batch(file_path=path, generation_config={"temperature": 0})
    path = jsonl(tmp_path / "in.jsonl", {"key": "request-2", "request": BARE}, BARE)
    with pytest.raises(InputError, match=rf"{path}: lines 1 and 2 share key 'request-2'"):
        service.create_batch(file_path=path)
    assert gemini.seen == []


@pytest.mark.parametrize("sources", [{}, {"requests": ["a"], "file_name": "files/a"}])
def test_a_job_has_one_source(gemini: GeminiDouble, service: GeminiBatchService, sources: Any) -> None:
    with pytest.raises(InputError, match="a job has one source"):
        service.create_batch(**sources)
    assert gemini.seen == []


@pytest.mark.parametrize("source", [{"gcs_uri": "gs://b/in.jsonl"}, {"bigquery_uri": "bq://p.d.t"}])
def test_sources_of_vertex_are_refused_with_the_way_to_them(service: GeminiBatchService, source: Any) -> None:
    with pytest.raises(InputError, match="vertexai=True"):
        service.create_batch(**source)


def test_a_destination_is_refused_where_there_is_none_to_choose(service: GeminiBatchService) -> None:
    with pytest.raises(InputError, match="dest is Vertex AI's"):
        service.create_batch(requests=["a"], dest="gs://b/out")


def test_settings_cannot_be_merged_into_an_upload(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    with pytest.raises(InputError, match="file_path="):
        service.create_batch(file_name="files/input123", system_instruction="Be brief.")
    assert gemini.seen == []


def test_an_uploaded_file_is_a_source(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    gemini.contents["files/input123"] = b""
    gemini.files["files/input123"] = {"name": "files/input123"}
    service.create_batch("gemini-2.0-flash", file_name="files/input123", display_name="My Batch Job")
    assert created(gemini) == {"inputConfig": {"fileName": "files/input123"}, "displayName": "My Batch Job"}


def test_priority_and_webhook_travel_with_the_job(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    gemini.contents["files/a"] = b""
    gemini.files["files/a"] = {"name": "files/a"}
    service.create_batch(
        file_name="files/a", priority=5, webhook_config={"uris": ["https://h/x"], "user_metadata": {"a": "b"}}
    )
    assert created(gemini) == {
        "inputConfig": {"fileName": "files/a"},
        "priority": "5",
        "webhookConfig": {"uris": ["https://h/x"], "user_metadata": {"a": "b"}},
    }


@pytest.mark.parametrize("webhook", ["not an address", [], {"uri": "https://h/x"}, 7])
def test_a_webhook_without_an_address_is_refused(
    gemini: GeminiDouble, service: GeminiBatchService, webhook: Any
) -> None:
    with pytest.raises(InputError, match="webhook_config is one address"):
        service.create_batch(file_name="files/a", webhook_config=webhook)
    assert gemini.seen == []


def test_a_priority_is_a_whole_number(service: GeminiBatchService) -> None:
    with pytest.raises(InputError, match="priority is a whole number"):
        service.create_batch(file_name="files/a", priority="high")  # type: ignore[arg-type]


def test_a_config_that_is_no_config_is_refused(service: GeminiBatchService) -> None:
    with pytest.raises(InputError, match="generation_config is a dict"):
        service.create_batch(requests=["a"], generation_config="hot")


async def create(gemini: GeminiDouble, path: Path) -> None:
    async with AsyncGeminiBatchService(api_key="k", base_url=gemini.base_url) as service:
        await service.create_batch(file_path=path, generation_config={"temperature": 0})


def test_the_async_class_creates_alike(gemini: GeminiDouble, tmp_path: Path) -> None:
    import asyncio

    asyncio.run(create(gemini, jsonl(tmp_path / "in.jsonl", BARE)))
    assert uploaded(gemini) == [{"key": "request-1", "request": {"generationConfig": {"temperature": 0}, **BARE}}]
