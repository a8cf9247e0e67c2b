"""Our requests are those of the official SDK, unmodified: method, path and JSON body, call by call.

What differs on purpose is a row of DIFFERENCES, with its reason; nothing else may.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gemini_double import GeminiDouble, operation
from google import genai
from google.genai import types
from pydantic import BaseModel

from nono.connector.genai_batch_processing import GeminiBatchService
from nono.providers.gemini.requests import camel

DIFFERENCES = {
    "version": "we call v1beta unless told otherwise: documentation, recorded answers and preview models are v1beta "
    "(the SDK calls v1 since 3.0.0); these tests tell both to use the same",
    "keys": "an inline request without a key gets one (metadata.key), so that shuffled answers find their order again",
    "roles": "the SDK adds role=user to a system instruction and a text to embed, where the service ignores it",
    "case": "the SDK leaves some names in snake_case (property_ordering, file_name, mime_type …); to the service both "
    "spellings are one field, so names are compared in camelCase",
    "titles": "the SDK names a list of models 'Placeholder'",
}


class Recipe(BaseModel):
    name: str
    ingredients: list[str]


Call = tuple[str, str, dict[str, str], Any]


def spelled_alike(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            camel(name): spelled_alike(item) for name, item in value.items() if (name, item) != ("title", "Placeholder")
        }
    return [spelled_alike(item) for item in value] if isinstance(value, list) else value


def without_differences(body: Any) -> Any:
    body = spelled_alike(body)
    for item in ((body or {}).get("batch", {}).get("inputConfig", {}).get("requests") or {}).get("requests", []):
        if re.fullmatch(r"request-\d+", item.get("metadata", {}).get("key", "")):
            del item["metadata"]
        request = item["request"]
        for content in (request.get("systemInstruction"), request.get("content")):
            if content:
                content.pop("role", None)
        if request.get("generationConfig") == {}:
            del request["generationConfig"]
    return body


def recorded(gemini: GeminiDouble) -> list[Call]:
    calls = []
    for seen in gemini.seen:
        query = {name: "*" if name == "upload_id" else value for name, value in seen.query.items()}
        upload = "upload_id" in seen.query
        calls.append((seen.method, seen.path, query, seen.command if upload else without_differences(seen.json)))
    gemini.seen.clear()
    return calls


CONFIG = {
    "system_instruction": "be short",
    "temperature": 0.5,
    "max_output_tokens": 10,
    "stop_sequences": ["."],
    "response_mime_type": "application/json",
    "response_schema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
    "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "thinking_config": {"thinking_budget": 0},
}
INLINE: dict[str, Any] = {
    "rest-shaped": [{"contents": [{"parts": [{"text": "hi"}], "role": "user"}], "metadata": {"key": "r1"}}],
    "with a config": [{"contents": "plain text", "config": CONFIG}],
    "cached": [{"contents": "x", "config": {"cached_content": "cachedContents/abc"}}],
    "several texts": [{"contents": ["a", "b"], "metadata": {"key": "k"}}],
    "search": [{"contents": "x", "config": {"tools": [{"google_search": {}}]}}],
    "a picture wanted": [
        {"contents": "x", "config": {"response_modalities": ["TEXT", "IMAGE"], "image_config": {"aspect_ratio": "1:1"}}}
    ],
    "bytes": [{"contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": b"\xfb\xff\x00\x01"}}]}]}],
    "a file": [{"contents": [{"parts": [{"file_data": {"file_uri": "https://x/f/1", "mime_type": "image/png"}}]}]}],
    "a model": [{"contents": "x", "config": {"response_mime_type": "application/json", "response_schema": Recipe}}],
    "a list of models": [
        {"contents": "x", "config": {"response_mime_type": "application/json", "response_schema": list[Recipe]}}
    ],
    "json schema": [
        {
            "contents": "x",
            "config": {"response_mime_type": "application/json", "response_json_schema": {"type": "object"}},
        }
    ],
    "sdk objects": [
        types.InlinedRequest(
            model="gemini-y",
            contents=["a", types.Part.from_text(text="b")],
            metadata={"key": "k"},
            config=types.GenerateContentConfig(
                tool_config={"function_calling_config": {"mode": "ANY"}},
                tools=[types.Tool(function_declarations=[{"name": "f", "description": "d"}])],
            ),
        )
    ],
}


@pytest.fixture
def client(gemini: GeminiDouble) -> genai.Client:
    return genai.Client(api_key="k", http_options={"base_url": gemini.base_url, "api_version": "v1beta"})


@pytest.mark.parametrize("case", INLINE)
def test_inline_jobs_are_created_as_the_sdk_creates_them(
    gemini: GeminiDouble, client: genai.Client, service: GeminiBatchService, case: str
) -> None:
    client.batches.create(model="gemini-x", src=INLINE[case], config={"display_name": "job-1"})
    theirs = recorded(gemini)
    service.create_inline_batch(INLINE[case], model_name="gemini-x", display_name="job-1")
    assert recorded(gemini) == theirs


Do = Callable[[genai.Client], object]
Ours = Callable[[GeminiBatchService], object]
CALLS: dict[str, tuple[Do, Ours]] = {
    "create from a file": (
        lambda sdk: sdk.batches.create(
            model="models/gemini-x", src="files/abc123xyz", config={"display_name": "job-f"}
        ),
        lambda we: we.create_file_batch(
            uploaded_file_name="files/abc123xyz", model_name="models/gemini-x", display_name="job-f"
        ),
    ),
    "create with a webhook": (
        lambda sdk: sdk.batches.create(
            model="gemini-x",
            src="files/abc123xyz",
            config={"webhook_config": {"uris": ["https://h/x"], "user_metadata": {"a": "b"}}},
        ),
        lambda we: we.create_batch(
            "gemini-x",
            file_name="files/abc123xyz",
            webhook_config={"uris": ["https://h/x"], "user_metadata": {"a": "b"}},
        ),
    ),
    "create with a priority": (
        lambda sdk: sdk.batches.create(
            model="gemini-x",
            src="files/abc123xyz",
            config={"http_options": {"extra_body": {"batch": {"priority": "5"}}}},
        ),
        lambda we: we.create_batch("gemini-x", file_name="files/abc123xyz", priority=5),
    ),
    "list files": (lambda sdk: list(sdk.files.list(config={"page_size": 100})), lambda we: we.list_files()),
    "embeddings inline": (
        lambda sdk: sdk.batches.create_embeddings(
            model="gemini-embedding-2",
            src={"inlined_requests": {"contents": ["t1", "t2"], "config": {"output_dimensionality": 8, "title": "T"}}},
            config={"display_name": "emb"},
        ),
        lambda we: we.create_embeddings_batch(
            [we.build_embedding_request(text, title="T", output_dimensionality=8) for text in ("t1", "t2")],
            model_name="gemini-embedding-2",
            display_name="emb",
        ),
    ),
    "embeddings from a file": (
        lambda sdk: sdk.batches.create_embeddings(model="e", src={"file_name": "files/abc123xyz"}),
        lambda we: we.create_embeddings_batch(uploaded_file_name="files/abc123xyz", model_name="e"),
    ),
    "get": (lambda sdk: sdk.batches.get(name="batches/b"), lambda we: we.get_job("batches/b")),
    "list": (
        lambda sdk: list(sdk.batches.list(config={"page_size": 1})),
        lambda we: list(we.list_jobs(page_size=1)),
    ),
    "cancel": (
        lambda sdk: (sdk.batches.cancel(name="batches/b"), sdk.batches.get(name="batches/b")),
        lambda we: we.cancel_job("batches/b"),
    ),
    "get a file": (lambda sdk: sdk.files.get(name="files/f"), lambda we: we.get_file("files/f")),
}


@pytest.fixture
def stocked(gemini: GeminiDouble) -> GeminiDouble:
    """Two jobs and a file."""
    for name in ("batches/b", "batches/c"):
        gemini.jobs[name] = operation(name, "BATCH_STATE_SUCCEEDED", output={"responsesFile": "files/batch-b"})
    gemini.outputs["files/batch-b"] = b'{"key":"a"}\n'
    gemini.files["files/f"] = {"name": "files/f", "mimeType": "jsonl"}
    return gemini


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*experimental.*")
@pytest.mark.parametrize("case", CALLS)
def test_every_call_is_the_sdks(
    stocked: GeminiDouble, client: genai.Client, service: GeminiBatchService, case: str
) -> None:
    sdk, ours = CALLS[case]
    sdk(client)
    theirs = recorded(stocked)
    ours(service)
    assert recorded(stocked) == theirs


def test_deleting_is_the_sdks(stocked: GeminiDouble, client: genai.Client, service: GeminiBatchService) -> None:
    client.batches.delete(name="batches/b")
    client.files.delete(name="files/f")
    theirs = recorded(stocked)
    stocked.jobs["batches/b"], stocked.files["files/f"] = {"x": 1}, {"x": 1}
    service.delete_job("batches/b")
    service.delete_file("files/f")
    assert recorded(stocked) == theirs


def test_downloading_is_the_sdks(
    stocked: GeminiDouble, client: genai.Client, service: GeminiBatchService, tmp_path: Path
) -> None:
    client.files.download(file="files/batch-b")
    theirs = recorded(stocked)
    service.download_file("files/batch-b", tmp_path / "out.jsonl")
    assert recorded(stocked) == theirs


@pytest.mark.parametrize("size", [62, (16 << 20) + 5])
def test_uploading_is_the_sdks(
    gemini: GeminiDouble, client: genai.Client, service: GeminiBatchService, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"x" * size)
    client.files.upload(file=str(path), config={"mime_type": "jsonl", "display_name": "in", "name": "my-file-1"})
    headers = [seen.headers.get("x-goog-upload-file-name") for seen in gemini.seen]
    theirs = recorded(gemini)
    service.upload_file(path, name="my-file-1", display_name="in")
    assert gemini.seen[0].headers["x-goog-upload-file-name"] == headers[0] == "in.jsonl"
    assert recorded(gemini) == theirs


def test_without_a_wish_only_the_version_differs(gemini: GeminiDouble) -> None:
    plain = genai.Client(api_key="k", http_options={"base_url": gemini.base_url})
    next(iter(plain.batches.list()), None)
    with GeminiBatchService(api_key="k", base_url=gemini.base_url) as service:
        next(iter(service.list_jobs()), None)
    assert [seen.path for seen in gemini.seen] == ["/v1/batches", "/v1beta/batches"]
