"""Chats of the simulated model: what is asked for is what comes, and bad bodies get the service's own words."""

from __future__ import annotations

import base64
import io
import json
import struct
import wave
import zlib
from typing import Any

import fastjsonschema
import pytest

from nono.server.models import CHAT
from nono.server.models.simulated import SimulatedModel

MODEL = SimulatedModel()


def chat(prompt: Any = "hello", **fields: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **fields}
    status, answer = MODEL.answer(CHAT, body)
    assert status == 200, answer
    return answer


def said(prompt: Any = "hello", **fields: Any) -> str:
    text = chat(prompt, **fields)["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def refused(**fields: Any) -> tuple[Any, ...]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], **fields}
    status, answer = MODEL.answer(CHAT, {name: value for name, value in body.items() if value is not ...})
    error = answer["error"]
    return status, error["message"], error["type"], error["param"], error["code"]


# --- texts ---


def test_a_text_says_that_it_is_simulated() -> None:
    answer = chat()
    assert answer["choices"][0]["message"]["content"].startswith("[simulated] ")
    assert answer["system_fingerprint"] == "nono-simulated"


def test_the_model_asked_for_is_named_in_the_answer() -> None:
    assert chat()["model"] == "gpt-4o-mini"


def test_the_same_request_gives_the_same_answer() -> None:
    assert chat("a")["choices"] == chat("a")["choices"]
    assert chat("a")["id"] == chat("a")["id"]


def test_another_seed_gives_another_answer() -> None:
    assert len({said("a", seed=seed) for seed in range(20)}) > 10


def test_choices_of_one_request_differ() -> None:
    choices = chat(n=3)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in choices}) == 3


def test_a_limit_of_tokens_cuts_the_text_and_says_so() -> None:
    answer = chat("[[nono:words 200]]", max_tokens=5)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["content"] == "[simulated] the same"
    assert answer["usage"]["completion_tokens"] == 5


def test_the_newer_name_of_the_limit_wins() -> None:
    assert chat("[[nono:words 200]]", max_tokens=50, max_completion_tokens=5)["usage"]["completion_tokens"] == 5


def test_a_text_ends_before_a_stop_sequence() -> None:
    answer = chat("[[nono:say one two three]]", stop=["three", "two"])
    assert answer["choices"][0]["message"]["content"] == "one "
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("prompt", ["Summarise in 12 words: …", "[[nono:words 12]]", "a 12-word summary, please"])
def test_an_answer_has_the_asked_number_of_words(prompt: str) -> None:
    assert len(said(prompt).split()) == 12


def test_usage_counts_four_characters_a_token() -> None:
    usage = chat("x" * 400)["usage"]
    assert usage["prompt_tokens"] == 104
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_pictures_in_a_prompt_are_taken_and_counted() -> None:
    parts = [{"type": "text", "text": "abcd"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    assert chat(parts)["usage"]["prompt_tokens"] == 1 + 4 + 85


def test_logprobs_cover_the_text_token_by_token() -> None:
    answer = chat(logprobs=True, top_logprobs=3)
    content = answer["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in content) == answer["choices"][0]["message"]["content"]
    assert all(len(token["top_logprobs"]) == 3 for token in content)
    assert all(token["logprob"] < 0 and token["top_logprobs"][0]["token"] == token["token"] for token in content)


# --- structured answers ---

REVIEW = {
    "type": "object",
    "properties": {"sentiment": {"type": "string", "enum": ["good", "bad"]}, "score": {"type": "integer"}},
    "required": ["sentiment", "score"],
    "additionalProperties": False,
}


def bound(schema: Any, **form: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "review", "schema": schema, **form}}


def test_an_answer_fits_its_schema() -> None:
    check = fastjsonschema.compile(REVIEW)
    answers = [json.loads(said(f"row {row}", response_format=bound(REVIEW, strict=True))) for row in range(50)]
    assert [check(answer) for answer in answers] == answers
    assert {answer["sentiment"] for answer in answers} == {"good", "bad"}


def test_a_json_object_is_an_object() -> None:
    assert isinstance(json.loads(said(response_format={"type": "json_object"})), dict)


def test_a_strict_schema_is_held_to_the_strict_rules() -> None:
    open_schema = {name: value for name, value in REVIEW.items() if name != "additionalProperties"}
    status, message, _, param, _ = refused(response_format=bound(open_schema, strict=True))
    assert (status, param) == (400, "response_format")
    assert message == "Invalid schema for response_format 'review': $: 'additionalProperties' must be false."
    assert json.loads(said(response_format=bound(open_schema)))


def test_a_schema_that_nothing_fits_is_refused() -> None:
    status, message, *_ = refused(response_format=bound({"type": "integer", "minimum": 3, "maximum": 2}))
    assert (status, message) == (
        400,
        "Invalid schema for response_format 'review': no number lies between 3 and 2.",
    )


# --- tools ---

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def test_a_tool_is_called_with_arguments_that_fit() -> None:
    choice = chat(tools=[WEATHER])["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]).keys() == {"city"}


def test_a_named_tool_is_the_one_called() -> None:
    named = {"type": "function", "function": {"name": "clock"}}
    choice = chat(tools=[WEATHER, CLOCK], tool_choice=named)["choices"][0]
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "clock", "arguments": "{}"}
    assert choice["finish_reason"] == "stop"


def test_the_result_of_a_tool_is_answered_with_a_text() -> None:
    called = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
    ]
    assert "tool_calls" not in chat(messages=messages, tools=[CLOCK])["choices"][0]["message"]


def test_no_tool_is_called_where_none_is_wanted() -> None:
    assert said(tools=[CLOCK], tool_choice="none").startswith("[simulated]")


# --- pictures and sources ---


def picture_in(answer: dict[str, Any]) -> bytes:
    url = answer["choices"][0]["message"]["images"][0]["image_url"]["url"]
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    return base64.b64decode(data)


def test_a_picture_is_a_png_whose_colour_is_the_requests() -> None:
    one, other = (picture_in(chat(prompt, modalities=["text", "image"])) for prompt in ("a cat", "a dog"))
    assert one.startswith(b"\x89PNG\r\n\x1a\n")
    assert one == picture_in(chat("a cat", modalities=["text", "image"]))
    assert one != other


def test_a_picture_has_the_asked_shape() -> None:
    drawn = picture_in(chat("a cat", modalities=["text", "image"], image_config={"aspect_ratio": "16:9"}))
    assert struct.unpack(">II", drawn[16:24]) == (64, 36)


def test_speech_is_a_sound_with_the_text_that_it_stands_for() -> None:
    message = chat("[[nono:say hello]]", modalities=["audio"], audio={"voice": "alloy", "format": "wav"})["choices"][0][
        "message"
    ]
    with wave.open(io.BytesIO(base64.b64decode(message["audio"]["data"]))) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getnframes()) == (24_000, 1, 1_200)
    assert (message["content"], message["audio"]["transcript"]) == (None, "hello")


def test_every_chunk_of_a_picture_has_its_checksum_and_all_pixels_are_there() -> None:
    drawn = picture_in(chat("a cat", modalities=["text", "image"]))
    at, chunks = 8, {}
    while at < len(drawn):
        (length,) = struct.unpack(">I", drawn[at : at + 4])
        kind, data = drawn[at + 4 : at + 8], drawn[at + 8 : at + 8 + length]
        assert struct.unpack(">I", drawn[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + data),)
        chunks[kind] = data
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert len(zlib.decompress(chunks[b"IDAT"])) == 64 * (1 + 64 // 8)


def test_a_web_search_brings_a_source_for_the_whole_text() -> None:
    message = chat(web_search_options={})["choices"][0]["message"]
    (source,) = message["annotations"]
    assert source["type"] == "url_citation"
    assert source["url_citation"]["end_index"] == len(message["content"])
    assert source["url_citation"]["url"].startswith("https://example.com/simulated/")


# --- directives ---


def test_a_prompt_can_say_the_answer() -> None:
    assert said('[[nono:say {"a": [1, 2]}\u2028]]') == '{"a": [1, 2]}\u2028'


def test_a_prompt_can_ask_for_failure() -> None:
    assert refused(messages=[{"role": "user", "content": "x [[nono:error 429 insufficient_quota]]"}]) == (
        429,
        "[simulated] asked to fail with 429 insufficient_quota",
        "rate_limit_error",
        None,
        "insufficient_quota",
    )


def test_a_prompt_can_ask_to_be_declined() -> None:
    message = chat("[[nono:refuse]]")["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "[simulated] I'm sorry, but I can't help with that.")


def test_a_prompt_can_ask_for_time() -> None:
    from nono.server.models.directives import obey

    slept: list[float] = []
    obey("[[nono:sleep 0.2]] and [[nono:sleep 1]]", sleep=slept.append)
    assert slept == [0.2, 1.0]


@pytest.mark.parametrize(
    ("directive", "why"),
    [
        ("[[nono:error]]", "The directive '[[nono:error …]]' wants a number from 400 to 599, not ''."),
        ("[[nono:error 200]]", "The directive '[[nono:error …]]' wants a number from 400 to 599, not '200'."),
        ("[[nono:sleep nan]]", "The directive '[[nono:sleep …]]' wants a number from 0 to 3600, not 'nan'."),
        ("[[nono:dance]]", "There is no directive '[[nono:dance]]'; there are error, say, words, refuse and sleep."),
    ],
)
def test_a_directive_that_makes_no_sense_is_refused(directive: str, why: str) -> None:
    assert refused(messages=[{"role": "user", "content": directive}])[:2] == (400, why)


# --- bad bodies ---

INVALID = "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "message", "param", "code"),
    [
        ({"messages": ...}, "Missing required parameter: 'messages'.", "messages", "missing_required_parameter"),
        (
            {"messages": "hello"},
            "Invalid type for 'messages': expected an array of objects, but got a string instead.",
            "messages",
            "invalid_type",
        ),
        (
            {"messages": []},
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "messages",
            "empty_array",
        ),
        (
            {"messages": [{"content": "x"}]},
            "Missing required parameter: 'messages[0].role'.",
            "messages[0].role",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            (
                "Invalid value: 'robot'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', "
                "and 'developer'."
            ),
            "messages[0].role",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "Missing required parameter: 'messages[0].content[0].text'.",
            "messages[0].content[0].text",
            "missing_required_parameter",
        ),
        (
            {"temperature": 3},
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
            "temperature",
            "decimal_above_max_value",
        ),
        (
            {"max_tokens": 0},
            "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "max_tokens",
            "integer_below_min_value",
        ),
        ({"flavour": "mint"}, "Unrecognized request argument supplied: flavour", None, None),
        ({"top_logprobs": 2}, "top_logprobs requires logprobs to be set to true", "top_logprobs", None),
        (
            {"tool_choice": "required"},
            "'tool_choice' is only allowed when 'tools' are specified.",
            "tool_choice",
            None,
        ),
        (
            {"response_format": {"type": "yaml"}},
            "Invalid value: 'yaml'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            "response_format.type",
            "invalid_value",
        ),
        (
            {"stream": True},
            "Unsupported parameter: 'stream' is not imitated by the simulated model.",
            "stream",
            "unsupported_parameter",
        ),
        (
            {"modalities": ["video"]},
            "Invalid value: 'video'. Supported values with the simulated model: 'text', 'image', and 'audio'.",
            "modalities",
            "invalid_value",
        ),
        ({"modalities": ["audio"]}, "Missing required parameter: 'audio'.", "audio", "missing_required_parameter"),
        (
            {"modalities": ["audio"], "audio": {"voice": "alloy", "format": "mp3"}},
            "Invalid value: 'mp3'. Supported values with the simulated model: 'wav' and 'pcm16'.",
            "audio.format",
            "invalid_value",
        ),
    ],
)
def test_a_bad_body_gets_the_services_400(fields: Any, message: str, param: str | None, code: str | None) -> None:
    assert refused(**fields) == (400, message, INVALID, param, code)


@pytest.mark.parametrize("odd", [None, 1, [1], {"a": 1}, "\ud800", [[]], True])
@pytest.mark.parametrize(
    "field", ["messages", "tools", "tool_choice", "response_format", "stop", "n", "image_config", "audio"]
)
def test_no_body_makes_the_model_raise(field: str, odd: Any) -> None:
    body = {
        "messages": [{"role": "user", "content": "x"}],
        "tools": [CLOCK],
        "modalities": ["image", "audio"],
        "audio": {"voice": "alloy", "format": "wav"},
        field: odd,
    }
    assert MODEL.answer(CHAT, body)[0] in (200, 400)
