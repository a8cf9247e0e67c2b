"""The Responses API spelt as chats, there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nono.server.models import CHAT
from nono.server.models.refusals import Refused
from nono.server.models.simulated import SimulatedModel
from nono.server.translate.responses import from_chat, to_chat

# The fields of a response that api.openai.com gave in April 2026 (gpt-5.4), without `billing`, which it alone can say.
FIELDS = (
    "id object created_at status background completed_at error frequency_penalty incomplete_details instructions "
    "max_output_tokens max_tool_calls model output parallel_tool_calls presence_penalty previous_response_id "
    "prompt_cache_key prompt_cache_retention reasoning safety_identifier service_tier store temperature text "
    "tool_choice tools top_logprobs top_p truncation usage user metadata"
)
LOOKUP = {
    "type": "function",
    "name": "look_up",
    "description": "Looks up",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    "strict": True,
}


def messages(**body: Any) -> Any:
    return to_chat({"model": "m", **body})["messages"]


def answered(**body: Any) -> dict[str, Any]:
    """What the simulated model gives for a body, there and back."""
    body = {"model": "gpt-5-mini", "input": "hello", **body}
    status, response = from_chat(body, *SimulatedModel().answer(CHAT, to_chat(body)))
    assert status == 200, response
    return response


# --- there ---


def test_a_text_is_a_users_message() -> None:
    assert messages(input="hello") == [{"role": "user", "content": "hello"}]


def test_instructions_come_first() -> None:
    assert messages(input="hello", instructions="be short")[0] == {"role": "system", "content": "be short"}


def test_a_developer_is_the_system() -> None:
    assert messages(input=[{"role": "developer", "content": "be short"}])[0]["role"] == "system"


def test_texts_pictures_and_files_keep_their_places() -> None:
    content = [
        {"type": "input_text", "text": "what is it?"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
    ]
    assert messages(input=[{"type": "message", "role": "user", "content": content}])[0]["content"] == [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
    ]


def test_calls_of_one_turn_are_one_message_and_results_follow() -> None:
    items = [
        {"role": "user", "content": "look up a and b"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "look_up", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "A"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "B"}]},
    ]
    _, calls, one, two = messages(input=items)
    assert [call["id"] for call in calls["tool_calls"]] == ["c1", "c2"]
    assert one == {"role": "tool", "tool_call_id": "c1", "content": "A"}
    assert two == {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "B"}]}


def test_settings_keep_their_meaning() -> None:
    chat = to_chat(
        {
            "model": "m",
            "input": "x",
            "max_output_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_logprobs": 2,
            "reasoning": {"effort": "low"},
            "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": False}},
            "metadata": {"k": "v"},
        }
    )
    del chat["messages"]
    assert chat == {
        "model": "m",
        "max_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "logprobs": True,
        "top_logprobs": 2,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": False},
        },
    }


def test_tools_are_nested_and_searches_are_an_option() -> None:
    chat = to_chat(
        {"model": "m", "input": "x", "tools": [LOOKUP, {"type": "web_search"}],
         "tool_choice": {"type": "function", "name": "look_up"}}
    )  # fmt: skip
    assert chat["tools"] == [{"type": "function", "function": {k: v for k, v in LOOKUP.items() if k != "type"}}]
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "look_up"}}
    assert chat["web_search_options"] == {}


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        ({}, "Missing required parameter: 'input'.", "input", "missing_required_parameter"),
        (
            # As api.openai.com said it in April 2026.
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"},
                                                     {"type": "input_image", "image_url": {"url": "u"}}]}]},
            "Invalid type for 'input[0].content[1].image_url': expected an image URL, but got an object instead.",
            "input[0].content[1].image_url",
            "invalid_type",
        ),
        (
            {"input": "x", "max_output_tokens": 10},
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 10 instead.",
            "max_output_tokens",
            "integer_below_min_value",
        ),
        ({"input": "x", "max_tokens": 10}, "Unknown parameter: 'max_tokens'.", "max_tokens", "unknown_parameter"),
        (
            {"input": "x", "previous_response_id": "resp_1"},
            "Unsupported parameter: 'previous_response_id' is not imitated by this server.",
            "previous_response_id",
            "unsupported_parameter",
        ),
        (
            {"input": "x", "tools": [{"type": "file_search"}]},
            "Invalid value: 'file_search': this server has no such tool; it has functions and web searches.",
            "tools[0].type",
            "invalid_value",
        ),
        (
            {"input": [{"type": "item_reference", "id": "msg_1"}]},
            "Invalid value: 'item_reference' is not imitated by this server.",
            "input[0].type",
            "invalid_value",
        ),
    ],
)  # fmt: skip
def test_what_a_chat_cannot_say_is_refused(body: Any, message: str, param: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        to_chat({"model": "m", **body})
    assert refused.value.answer == (
        400,
        {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}},
    )


# --- back ---


def test_a_response_has_the_recorded_fields_in_their_order() -> None:
    assert " ".join(answered()) == FIELDS


def test_a_text_is_a_message_of_the_output() -> None:
    response = answered(input="[[nono:say hi]]")
    (message,) = response["output"]
    assert message["content"] == [{"type": "output_text", "annotations": [], "logprobs": [], "text": "hi"}]
    assert (message["role"], message["status"], response["status"]) == ("assistant", "completed", "completed")


def test_settings_are_repeated() -> None:
    response = answered(temperature=0, store=False, metadata={"k": "v"}, instructions="be short")
    assert (response["temperature"], response["store"]) == (0, False)
    assert (response["metadata"], response["instructions"]) == ({"k": "v"}, "be short")


def test_an_answer_that_was_cut_is_incomplete() -> None:
    response = answered(input="[[nono:words 200]]", max_output_tokens=16)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["usage"]["output_tokens"] == 16


def test_tool_calls_are_items_of_the_output() -> None:
    (call,) = answered(tools=[LOOKUP])["output"]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "look_up", "completed")
    assert json.loads(call["arguments"]).keys() == {"word"}


def test_sources_of_a_search_are_annotations() -> None:
    (message,) = answered(tools=[{"type": "web_search"}])["output"]
    assert message["content"][0]["annotations"][0]["url"].startswith("https://example.com/simulated/")


def test_a_refusal_is_its_own_part() -> None:
    (message,) = answered(input="[[nono:refuse]]")["output"]
    assert [part["type"] for part in message["content"]] == ["refusal"]


def test_an_error_speaks_of_what_the_caller_wrote() -> None:
    body = {"model": "m", "input": [{"role": "robot", "content": "x"}]}
    status, answer = from_chat(body, *SimulatedModel().answer(CHAT, to_chat(body)))
    assert (status, answer["error"]["param"]) == (400, "input[0].role")
    named = {"model": "m", "input": "x", "text": {"format": {"type": "json_schema", "schema": {}}}}
    status, answer = from_chat(named, *SimulatedModel().answer(CHAT, to_chat(named)))
    assert (status, answer["error"]["message"]) == (400, "Missing required parameter: 'text.format.name'.")
