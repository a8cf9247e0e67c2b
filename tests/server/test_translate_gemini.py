"""Gemini's requests as chats and embeddings, and the answers back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nono.errors import InputError
from nono.providers.gemini.fields import find_misplaced, in_camel_case
from nono.server.translate.gemini import from_chat, from_embeddings, to_chat, to_embeddings
from nono.server.translate.openapi import to_json_schema

USER = [{"parts": [{"text": "hi"}]}]


def chat(contents: Any = None, **request: Any) -> dict[str, Any]:
    given = {"contents": contents or USER, **request}
    assert find_misplaced(given) is None
    return to_chat(in_camel_case(given))


def messages(*contents: Any, **request: Any) -> Any:
    return chat(list(contents), **request)["messages"]


def asked(**config: Any) -> dict[str, Any]:
    """What a generationConfig becomes."""
    return {name: value for name, value in chat(generationConfig=config).items() if name != "messages"}


def answered(message: dict[str, Any], finish: str = "stop", request: Any = None, **choice: Any) -> Any:
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": finish, **choice}]}
    return from_chat(request or {}, "m", answer)["candidates"][0]


# contents


def test_a_text_is_a_users_message() -> None:
    assert chat() == {"messages": [{"role": "user", "content": "hi"}]}


def test_a_system_instruction_comes_first_in_either_spelling() -> None:
    for name in ("systemInstruction", "system_instruction"):
        given: dict[str, Any] = {name: {"parts": [{"text": "be"}, {"text": "short"}]}}
        assert messages(*USER, **given)[0] == {"role": "system", "content": "be\nshort"}


def test_turns_keep_their_roles_and_thoughts_are_left_out() -> None:
    model = {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": "a"}, {"text": "b"}]}
    assert messages({"role": "user", "parts": [{"text": "q"}]}, model) == [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "ab"},
    ]


@pytest.mark.parametrize("data", ["-_8AAQ==", "+/8AAQ==", "-_8AAQ"])
def test_a_picture_is_a_data_url_whatever_its_alphabet(data: str) -> None:
    parts = [{"text": "see"}, {"inline_data": {"mime_type": "image/png", "data": data}}]
    assert messages({"parts": parts})[0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,+/8AAQ=="}},
    ]


def test_sound_documents_and_texts_have_their_parts() -> None:
    blobs = [("audio/wav", "AAAA"), ("application/pdf", "AAAA"), ("text/csv", "YSxi")]
    parts = [{"inlineData": {"mimeType": mime, "data": data}} for mime, data in blobs]
    assert messages({"parts": parts})[0]["content"] == [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "text", "text": "a,b"},
    ]


def test_a_picture_on_the_net_is_pointed_to_with_its_resolution() -> None:
    part = {"fileData": {"fileUri": "https://h/p.png", "mimeType": "image/png"}}
    given = chat([{"parts": [part]}], generationConfig={"mediaResolution": "MEDIA_RESOLUTION_LOW"})
    assert given["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "https://h/p.png", "detail": "low"}}
    ]


def test_a_function_call_without_an_id_finds_its_answer_by_name() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    response = {"functionResponse": {"name": "f", "response": {"r": 2}}}
    assert messages(*USER, {"role": "model", "parts": [call]}, {"role": "user", "parts": [response]})[1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"r": 2}'},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"parts": []}, "contents[0].parts must not be empty."),
        ({"role": "system", "parts": [{"text": "x"}]}, "please use a valid role: user, model."),
        ({"parts": [{}]}, "contents[0].parts[0] must have one initialized field"),
        ({"parts": [{"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}}]}, "Unsupported MIME type"),
        ({"parts": [{"inlineData": {"mimeType": "image/png", "data": "?"}}]}, "Base64 decoding failed"),
        ({"parts": [{"fileData": {"fileUri": "gs://b/o"}}]}, "its own files, and URLs of pictures"),
        ({"parts": [{"executableCode": {"language": "PYTHON", "code": "1"}}]}, "executableCode is not imitated"),
        ({"parts": [{"text": "x", "videoMetadata": {"fps": 1}}]}, "text, videoMetadata is not imitated"),
        ({"parts": [{"functionResponse": {"name": "f", "response": {}}}]}, "'f', which has not been called"),
    ],
)
def test_a_part_that_a_chat_has_no_word_for_is_refused_with_its_place(content: Any, message: str) -> None:
    with pytest.raises(InputError) as refused:
        messages(content)
    assert message in refused.value.message


@pytest.mark.parametrize(
    "request_",
    [
        {"cachedContent": "cachedContents/1"},
        {"tools": [{"codeExecution": {}}]},
        {"tools": [{"urlContext": {}}]},
        {"toolConfig": {"retrievalConfig": {"languageCode": "de"}}},
        {"generationConfig": {"responseModalities": ["VIDEO"]}},
        {"generationConfig": {"speechConfig": {"voiceConfig": {}}}},
        {"generationConfig": {"responseMimeType": "application/xml"}},
        {"generationConfig": {"responseSchema": {"type": "STRING"}}},
        {"generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "DATE"}}},
        {"tools": [{"functionDeclarations": [{"name": "f"}]}], "toolConfig": {"functionCallingConfig": {"mode": "X"}}},
    ],
)
def test_what_cannot_be_imitated_is_refused_and_not_left_out(request_: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        to_chat(in_camel_case({"contents": USER, **request_}))


# settings


def test_settings_have_their_names_of_a_chat() -> None:
    assert asked(
        temperature=0.5,
        top_p=0.9,
        topK=40,
        candidateCount=2,
        max_output_tokens=10,
        stopSequences=["."],
        seed=7,
        presencePenalty=0.1,
        frequencyPenalty=0.2,
        responseLogprobs=True,
        logprobs=3,
        responseMimeType="text/plain",
    ) == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "n": 2,
        "max_tokens": 10,
        "stop": ["."],
        "seed": 7,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logprobs": True,
        "top_logprobs": 3,
    }


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"thinkingBudget": 0}, {"reasoning_effort": "none"}),
        ({"thinking_budget": 1024}, {"reasoning_effort": "low"}),
        ({"thinkingBudget": 5000}, {"reasoning_effort": "medium"}),
        ({"thinkingBudget": 24576}, {"reasoning_effort": "high"}),
        ({"thinkingBudget": -1}, {}),
        ({"thinkingLevel": "LOW"}, {"reasoning_effort": "low"}),
        ({"includeThoughts": True}, {}),
    ],
)
def test_thinking_is_an_effort(thinking: dict[str, Any], effort: dict[str, Any]) -> None:
    assert asked(thinkingConfig=thinking) == effort


def test_json_without_a_schema_is_an_object_whatever_the_prompt_says() -> None:
    assert asked(responseMimeType="application/json") == {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "response", "schema": {"type": "object"}},
        }
    }


def test_a_json_schema_is_passed_as_it_is() -> None:
    schema = {"$defs": {"a": {}}, "oneOf": [{"$ref": "#/$defs/a"}]}
    form = asked(responseMimeType="application/json", response_json_schema=schema)["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}


def test_an_openapi_schema_becomes_a_json_schema() -> None:
    schema = in_camel_case(
        {
            "generationConfig": {
                "responseSchema": {
                    "type": "OBJECT",
                    "description": "d",
                    "properties": {
                        "my_list": {"type": "array", "items": {"type": "INTEGER", "format": "int32"}, "min_items": "1"},
                        "when": {"type": "STRING", "format": "date-time", "nullable": True},
                        "kind": {"type": "STRING", "format": "enum", "enum": ["A", "B"], "nullable": True},
                        "any": {"anyOf": [{"type": "NUMBER", "maximum": 3}, {"type": "BOOLEAN"}]},
                    },
                    "required": ["kind"],
                    "property_ordering": ["kind", "any"],
                }
            }
        }
    )["generationConfig"]["responseSchema"]
    made = to_json_schema(schema)
    assert list(made["properties"]) == ["kind", "any", "my_list", "when"]
    assert made == {
        "type": "object",
        "description": "d",
        "properties": {
            "my_list": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            "when": {"type": ["string", "null"], "format": "date-time"},
            "kind": {"anyOf": [{"type": "string", "enum": ["A", "B"]}, {"type": "null"}]},
            "any": {"anyOf": [{"type": "number", "maximum": 3}, {"type": "boolean"}]},
        },
        "required": ["kind"],
    }


@pytest.mark.parametrize(
    ("speech", "voice"),
    [
        ({"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Puck"}}}, "Puck"),
        (
            {
                "multiSpeakerVoiceConfig": {
                    "speakerVoiceConfigs": [{"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Zephyr"}}}]
                }
            },
            "Zephyr",
        ),
        ({}, "Kore"),
    ],
)
def test_speech_is_a_modality_with_a_voice(speech: dict[str, Any], voice: str) -> None:
    assert asked(responseModalities=["AUDIO"], speechConfig=speech) == {
        "modalities": ["text", "audio"],
        "audio": {"voice": voice, "format": "pcm16"},
    }


@pytest.mark.parametrize("modalities", [["TEXT", "IMAGE"], ["image"]])
def test_pictures_are_a_modality(modalities: list[str]) -> None:
    assert asked(responseModalities=modalities, imageConfig={"aspectRatio": "16:9", "image_size": "2K"}) == {
        "modalities": ["text", "image"],
        "image_config": {"aspect_ratio": "16:9", "image_size": "2K"},
    }


# tools


def test_a_search_is_a_web_search() -> None:
    for name in ("googleSearch", "google_search", "googleSearchRetrieval"):
        assert chat(tools=[{name: {}}])["web_search_options"] == {}


def test_declared_functions_are_tools_in_both_dialects_of_schemas() -> None:
    old = {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}
    new = {"name": "g", "parameters_json_schema": {"type": "object"}}
    assert chat(tools=[{"function_declarations": [old, new]}])["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
            },
        },
        {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}},
    ]


@pytest.mark.parametrize(
    ("calling", "choice", "names"),
    [
        ({}, "auto", ["f", "g"]),
        ({"mode": "NONE"}, "none", ["f", "g"]),
        ({"mode": "ANY"}, "required", ["f", "g"]),
        ({"mode": "ANY", "allowed_function_names": ["g"]}, {"type": "function", "function": {"name": "g"}}, ["g"]),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, "required", ["f", "g"]),
    ],
)
def test_how_functions_are_called_is_the_tool_choice(calling: Any, choice: Any, names: list[str]) -> None:
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]
    given = chat(tools=tools, tool_config={"function_calling_config": calling})
    assert given["tool_choice"] == choice
    assert [tool["function"]["name"] for tool in given["tools"]] == names


# answers


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "STOP"),
        ("length", "MAX_TOKENS"),
        ("tool_calls", "STOP"),
        ("content_filter", "SAFETY"),
        ("surprise", "OTHER"),
    ],
)
def test_the_reason_of_the_end_has_the_services_word(finish: str, reason: str) -> None:
    assert answered({"content": "x"}, finish)["finishReason"] == reason


def test_an_answer_without_a_text_has_no_parts() -> None:
    assert answered({"content": None})["content"] == {"role": "model"}


def test_a_refusal_is_a_safety_stop_that_says_why() -> None:
    candidate = answered({"content": None, "refusal": "I will not"})
    assert (candidate["finishReason"], candidate["finishMessage"]) == ("SAFETY", "I will not")


def test_function_calls_carry_their_arguments_as_an_object() -> None:
    calls = [{"id": "c", "function": {"name": "f", "arguments": text}} for text in ('{"a": 1}', "", "broken")]
    parts = answered({"content": None, "tool_calls": calls}, "tool_calls")["content"]["parts"]
    assert [part["functionCall"]["args"] for part in parts] == [{"a": 1}, {}, {"arguments": "broken"}]


def test_sources_are_grounding_and_their_places_are_counted_in_bytes() -> None:
    page = {"url": "https://h/1", "title": "T"}
    notes = [
        {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 2, **page}},
        {"type": "url_citation", "url_citation": {"start_index": 3, "end_index": 5, **page}},
    ]
    assert answered({"content": "äö ü!", "annotations": notes})["groundingMetadata"] == {
        "groundingChunks": [{"web": {"uri": "https://h/1", "title": "T"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 0, "endIndex": 4, "text": "äö"}, "groundingChunkIndices": [0]},
            {"segment": {"startIndex": 5, "endIndex": 8, "text": "ü!"}, "groundingChunkIndices": [0]},
        ],
    }


def test_pictures_come_inline_and_without_their_text_where_only_pictures_were_asked_for() -> None:
    message = {"content": "here", "images": [{"image_url": {"url": "data:image/png;base64,AAAA"}}]}
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    both = {"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}
    assert answered(message, request=both)["content"]["parts"] == [{"text": "here"}, picture]
    only = {"generationConfig": {"responseModalities": ["IMAGE"]}}
    assert answered(message, request=only)["content"]["parts"] == [picture]


def test_thoughts_are_shown_to_those_who_asked() -> None:
    message = {"content": "x", "reasoning_content": "hm"}
    assert answered(message)["content"]["parts"] == [{"text": "x"}]
    wanted = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    assert answered(message, request=wanted)["content"]["parts"] == [{"text": "hm", "thought": True}, {"text": "x"}]


def test_one_of_an_enum_comes_without_quotes() -> None:
    request = {"generationConfig": {"responseMimeType": "text/x.enum"}}
    assert answered({"content": json.dumps("POSITIVE")}, request=request)["content"]["parts"] == [{"text": "POSITIVE"}]


def test_log_probabilities_come_with_their_rivals() -> None:
    token = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -0.5}]}
    candidate = answered(
        {"content": "a"}, request={"generationConfig": {"responseLogprobs": True}}, logprobs={"content": [token]}
    )
    shown = {"token": "a", "logProbability": -0.5}
    assert candidate["avgLogprobs"] == -0.5
    assert candidate["logprobsResult"] == {"topCandidates": [{"candidates": [shown]}], "chosenCandidates": [shown]}


def test_an_answer_without_usage_has_none() -> None:
    answer = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}
    assert "usageMetadata" not in from_chat({}, "m", answer)


# embeddings


@pytest.mark.parametrize(
    "settings",
    [
        {"outputDimensionality": 8},
        {"output_dimensionality": 8, "task_type": "RETRIEVAL_DOCUMENT", "title": "T"},
        {"embedContentConfig": {"outputDimensionality": 8, "autoTruncate": True}},
    ],
)
def test_a_content_is_an_input_and_its_dimension(settings: dict[str, Any]) -> None:
    request = in_camel_case({"content": {"parts": [{"text": "a"}, {"text": "b"}]}, **settings}, "embedContent")
    assert to_embeddings(request) == {"input": "a\nb", "dimensions": 8}


def test_only_texts_are_embedded() -> None:
    for parts in ([], [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]):
        with pytest.raises(InputError):
            to_embeddings({"content": {"parts": parts}})


def test_a_vector_comes_with_its_tokens_as_a_text() -> None:
    answer = {"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 3}}
    assert from_embeddings(answer) == {"tokenCount": "3", "embedding": {"values": [0.5]}}
