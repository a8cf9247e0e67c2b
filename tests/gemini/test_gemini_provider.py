"""Gemini as the engine sees it: bodies out of tasks, schemas looked through, the life of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gemini_double import GeminiDouble, Script, operation, reply

from nono.errors import AnswerLost, Forbidden, InputError, NoDestination, RateLimited
from nono.exchange import Flow, drive
from nono.model import Phase, RemoteBatch
from nono.providers import Task, provider_named
from nono.providers.gemini import PROVIDER
from nono.transport import Sender

CHAT = Task("chat", "gemini-x")


def body(content: Any, **task: Any) -> dict[str, Any]:
    return PROVIDER.request_body(Task(**{"kind": "chat", "model": "gemini-x", **task}), content)


def test_gemini_is_a_provider() -> None:
    assert provider_named("gemini") is PROVIDER


def test_a_text_becomes_a_turn_of_the_user() -> None:
    assert body("hi", system="be short") == {
        "contents": [{"parts": [{"text": "hi"}], "role": "user"}],
        "systemInstruction": {"parts": [{"text": "be short"}]},
    }


def test_openai_messages_become_contents() -> None:
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
    ]
    assert body(messages) == {
        "contents": [
            {"parts": [{"text": "a"}], "role": "user"},
            {"parts": [{"text": "b"}], "role": "model"},
            {"parts": [{"text": "c"}, {"text": "d"}], "role": "user"},
        ],
        "systemInstruction": {"parts": [{"text": "s"}]},
    }


def test_pictures_travel_inside_or_by_address() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.webp?size=2"}},
        {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "mp3"}},
    ]
    assert body([{"role": "user", "content": parts}])["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://example.com/cat.webp?size=2", "mimeType": "image/webp"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "BBBB"}},
    ]


def test_a_call_of_a_function_and_its_answer_are_told_in_geminis_words() -> None:
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"city": "Rome"}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    assert body(messages)["contents"][1:] == [
        {"parts": [{"functionCall": {"name": "f", "args": {"city": "Rome"}}}], "role": "model"},
        {"parts": [{"functionResponse": {"name": "f", "response": {"result": "sunny"}}}], "role": "user"},
    ]


def test_parameters_are_translated() -> None:
    parameters = {
        "temperature": 0.2,
        "top_p": 0.9,
        "max_tokens": 50,
        "stop": "END",
        "seed": 7,
        "n": 2,
        "reasoning_effort": "low",
        "logprobs": True,
        "top_logprobs": 3,
        "presence_penalty": None,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "required",
    }
    built = body("x", parameters=parameters)
    assert built["generationConfig"] == {
        "temperature": 0.2,
        "topP": 0.9,
        "maxOutputTokens": 50,
        "stopSequences": ["END"],
        "seed": 7,
        "candidateCount": 2,
        "thinkingConfig": {"thinkingLevel": "low"},
        "responseLogprobs": True,
        "logprobs": 3,
    }
    assert built["tools"] == [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}]
    assert built["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


def test_a_schema_makes_the_answer_json() -> None:
    assert body("x", schema={"type": "object"})["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
    }


def test_an_extra_body_is_merged_over_whatever_its_spelling() -> None:
    extra = {"generation_config": {"top_k": 3, "temperature": 0.9}, "safetySettings": []}
    assert body("x", parameters={"temperature": 0.1}, extra_body=extra) == {
        "contents": [{"parts": [{"text": "x"}], "role": "user"}],
        "generationConfig": {"temperature": 0.9, "topK": 3},
        "safetySettings": [],
    }


def test_a_raw_body_goes_as_it_stands() -> None:
    assert body({"contents": []}, kind="raw") == {"contents": []}


def test_an_embedding_has_its_own_parameters() -> None:
    built = body("t", kind="embedding", parameters={"dimensions": 8, "task_type": "CLUSTERING"})
    assert built == {"content": {"parts": [{"text": "t"}]}, "outputDimensionality": 8, "taskType": "CLUSTERING"}


@pytest.mark.parametrize(
    ("task", "content", "words"),
    [
        ({"parameters": {"logit_bias": {}}}, "x", "no parameter 'logit_bias'"),
        ({}, [{"role": "poet", "content": "x"}], "unknown role 'poet'"),
        ({}, [{"role": "system", "content": "x"}], "without a message of the user"),
        ({}, [{"role": "user", "content": [{"type": "hologram"}]}], "unknown type 'hologram'"),
        ({}, [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x,y"}}]}], "not base64"),
        ({}, 5, "a text or a list of messages"),
        ({"kind": "embedding"}, ["x"], "made of a text"),
        ({"kind": "raw"}, "x", "a raw body is an object"),
        ({"parameters": {"tool_choice": "maybe"}}, "x", "tool_choice 'maybe'"),
    ],
)
def test_what_gemini_cannot_be_told_is_refused(task: dict[str, Any], content: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        body(content, **task)


def test_endpoints_follow_the_kind() -> None:
    assert PROVIDER.endpoint_for(CHAT) == "generateContent"
    assert PROVIDER.endpoint_for(Task("embedding", "e")) == "embedContent"
    assert PROVIDER.endpoint_for(Task("raw", "e", endpoint="embedContent")) == "embedContent"


@pytest.mark.parametrize("task", [Task("moderation", "m"), Task("chat", "m", endpoint="/v1/responses")])
def test_what_geminis_batch_does_not_take_is_refused(task: Task) -> None:
    with pytest.raises(InputError, match="it takes:"):
        PROVIDER.endpoint_for(task)


def test_a_line_carries_its_id_once() -> None:
    line = PROVIDER.request_line("row-7", CHAT, body("hi"))
    assert line == {"key": "row-7", "request": body("hi")}


def test_a_line_that_would_fail_the_whole_file_is_refused() -> None:
    with pytest.raises(InputError, match="belongs into generation_config"):
        PROVIDER.request_line("row-7", CHAT, body("hi", extra_body={"temperature": 1}))


# ── Schemas ─────────────────────────────────────────────────────────────────────────────────────────────────────────

TYPES = "array, boolean, integer, null, number, object, string"
REVIEW = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "why": {"type": ["string", "null"]}},
    "required": ["label"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "schema",
    [
        REVIEW,
        {"type": "string", "pattern": "^a", "default": "a", "maxLength": 3},  # ignored by the service, not refused
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {
            "$defs": {
                "t": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}
            },
            "$ref": "#/$defs/t",
        },
    ],
)
def test_a_legal_schema_has_no_findings(schema: dict[str, Any]) -> None:
    assert PROVIDER.lint_schema(schema) == []


@pytest.mark.parametrize(
    ("schema", "finding"),
    [
        ({"type": "STRING"}, "$.type: 'STRING' is not a type of JSON Schema; it should be 'string'"),
        (
            {"type": "object", "properties": {"a": {"type": "text"}}},
            "$.properties.a.type: 'text' is not a type of JSON Schema; it should be one of " + TYPES,
        ),
        ({"type": "array"}, "$: an array does not say what its items are"),
        ({"enum": []}, "$.enum: a list with at least one value in it"),
        ({"enum": [{}]}, "$.enum: only texts and numbers can be chosen from"),
        (
            {"type": "object", "properties": {}, "required": ["a"]},
            "$.required: 'a' is not among the properties",
        ),
        ({"anyOf": []}, "$.anyOf: a list with at least one schema in it"),
        ({"$ref": "#/$defs/x"}, "$.$ref: '#/$defs/x' points nowhere inside the schema"),
        (
            {"$ref": "#/$defs/a", "description": "d", "$defs": {"a": {"type": "string"}}},
            "$: beside $ref only words that start with $ may stand, not description",
        ),
        (
            {
                "$ref": "#/$defs/t",
                "$defs": {"t": {"type": "object", "properties": {"t": {"$ref": "#/$defs/t"}}, "required": ["t"]}},
            },
            "$: #/$defs/t contains itself through required properties; make one of them optional",
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 1},
            "$: minItems 3 is above maxItems 1",
        ),
        ({"items": 5}, "$.items: a schema is an object, not int"),
    ],
)
def test_a_schema_that_would_be_refused_is_told_with_its_place(schema: dict[str, Any], finding: str) -> None:
    assert PROVIDER.lint_schema(schema) == [finding]


# ── The life of a batch ─────────────────────────────────────────────────────────────────────────────────────────────


def perform(gemini: GeminiDouble, flow: Flow[Any]) -> Any:
    send = Sender(PROVIDER.account(api_key="k", base_url=gemini.base_url))
    try:
        return drive(flow, send)
    finally:
        send.close()


def test_a_batch_lives_from_upload_to_clean_up(gemini: GeminiDouble, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"key":"a","request":{"contents":[{"parts":[{"text":"x"}]}]}}\n')
    file = perform(gemini, PROVIDER.upload(path, name="Run 7, shard 3"))
    assert file.id == "files/run-7-shard-3-acc421292f36"
    assert perform(gemini, PROVIDER.find_file("Run 7, shard 3")) == file
    batch = perform(gemini, PROVIDER.create(file_id=file.id, task=CHAT, tag="tag-1"))
    assert (batch.phase, batch.tag) == (Phase.PENDING, "tag-1")
    batch = perform(gemini, PROVIDER.get(batch.id))
    assert batch.phase is Phase.SUCCEEDED
    page, cursor = perform(gemini, PROVIDER.list_page())
    assert ([found.tag for found in page], cursor) == (["tag-1"], None)
    (answers,) = perform(gemini, PROVIDER.fetch(batch, tmp_path))
    assert PROVIDER.decode(answers.read_bytes()).text == "echo: x"
    perform(gemini, PROVIDER.delete_file(file.id))
    perform(gemini, PROVIDER.delete_file(file.id))  # gone already: no error
    perform(gemini, PROVIDER.delete_batch(batch))
    perform(gemini, PROVIDER.delete_batch(batch))
    assert (gemini.files, gemini.jobs) == ({}, {})
    assert perform(gemini, PROVIDER.find_file("Run 7, shard 3")) is None


def test_the_same_upload_twice_is_one_file(gemini: GeminiDouble, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("x\n")
    first = perform(gemini, PROVIDER.upload(path, name="shard"))
    assert perform(gemini, PROVIDER.upload(path, name="shard")) == first
    assert len(gemini.files) == 1


def test_an_embedding_task_goes_to_its_own_method(gemini: GeminiDouble) -> None:
    script = Script(operation("batches/b", "BATCH_STATE_PENDING"))
    script.run(PROVIDER.create(file_id="files/x", task=Task("embedding", "gemini-embedding-001"), tag="t"))
    assert script.calls[0].path == "/{version}/models/gemini-embedding-001:asyncBatchEmbedContent"
    assert script.calls[0].once


def test_a_full_queue_is_raised_as_such() -> None:
    script = Script(reply(429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "enqueued tokens"}}))
    with pytest.raises(RateLimited):
        script.run(PROVIDER.create(file_id="files/x", task=CHAT, tag="t"))


def test_a_lost_create_is_told_apart() -> None:
    with pytest.raises(AnswerLost):
        Script(AnswerLost("cut")).run(PROVIDER.create(file_id="files/x", task=CHAT, tag="t"))


def test_answers_named_late_are_fetched_nevertheless(gemini: GeminiDouble, tmp_path: Path) -> None:
    late = RemoteBatch("batches/b", "BATCH_STATE_SUCCEEDED", Phase.SUCCEEDED)
    gemini.jobs["batches/b"] = operation(
        "batches/b", "BATCH_STATE_SUCCEEDED", output={"responsesFile": "files/batch-b"}
    )
    gemini.outputs["files/batch-b"] = b'{"key":"a","response":{}}\n'
    assert [path.name for path in perform(gemini, PROVIDER.fetch(late, tmp_path))] == ["batch-b.jsonl"]


def test_answers_never_named_are_told(tmp_path: Path) -> None:
    late = RemoteBatch("batches/b", "BATCH_STATE_SUCCEEDED", Phase.SUCCEEDED)
    script = Script(*[operation("batches/b", "BATCH_STATE_SUCCEEDED")] * 6)
    with pytest.raises(NoDestination):
        script.run(PROVIDER.fetch(late, tmp_path))


@pytest.mark.parametrize("phase", [Phase.EXPIRED, Phase.FAILED, Phase.CANCELLED])
def test_a_batch_that_ended_badly_may_have_nothing_to_fetch(phase: Phase, tmp_path: Path) -> None:
    assert Script().run(PROVIDER.fetch(RemoteBatch("batches/b", "X", phase), tmp_path)) == []


def test_answers_fetched_before_are_not_fetched_again(gemini: GeminiDouble, tmp_path: Path) -> None:
    (tmp_path / "batch-b.jsonl").write_text("kept")
    batch = RemoteBatch("batches/b", "X", Phase.SUCCEEDED, answer_files=("files/batch-b",))
    assert perform(gemini, PROVIDER.fetch(batch, tmp_path)) == [tmp_path / "batch-b.jsonl"]
    assert gemini.seen == []


def test_an_answer_file_is_not_deleted_by_itself() -> None:
    Script().run(PROVIDER.delete_file("files/batch-" + "x" * 36))


def test_a_fence_that_may_not_be_set_is_told() -> None:
    """Deleting must be certain: only "may not exist" says that a file is gone."""
    with pytest.raises(Forbidden):
        Script(reply(403, {"error": {"message": "the project is suspended"}})).run(PROVIDER.delete_file("files/x"))
