"""OpenAI's chat bodies for the embedded model: what is passed on, what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from nono.server.models.chat_body import from_engine, refusal, to_engine
from nono.server.models.refusals import Refused

HELLO = [{"role": "user", "content": "Answer in JSON: hello"}]


def asked(**fields: Any) -> dict[str, Any]:
    (body,) = to_engine({"model": "gpt-4o-mini", "messages": HELLO, **fields})
    return body


def refused(body: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(Refused) as raised:
        to_engine(body)
    status, answer = raised.value.answer
    assert status == 400
    error: dict[str, Any] = answer["error"]
    return error


def test_texts_in_parts_and_the_developer_are_said_as_the_template_knows_them() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
    ]
    assert asked(messages=messages)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one\ntwo"},
    ]


def test_an_answer_has_a_longest_length_even_if_nobody_asks() -> None:
    assert asked()["max_tokens"] == 1024
    assert asked(max_tokens=7)["max_tokens"] == 7
    assert asked(max_completion_tokens=9)["max_tokens"] == 9


def test_several_choices_are_several_questions_with_seeds_of_their_own() -> None:
    bodies = to_engine({"messages": HELLO, "n": 3, "seed": 5})
    assert [body["seed"] for body in bodies] == [5, 6, 7]


def test_a_seed_never_means_random() -> None:
    assert asked(seed=2**32 - 1)["seed"] == 0
    assert asked(seed=-1)["seed"] == 2**32 - 2


def test_biases_keep_their_tokens() -> None:
    assert asked(logit_bias={"504": -100})["logit_bias"] == [[504, -100.0]]


def test_a_schema_becomes_a_grammar_that_leaves_no_choice_of_white_space() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}
    grammar = asked(response_format=form)["grammar"]
    assert grammar.startswith('%llguidance {}\nstart: %json {"type": "object", "properties": {}')
    assert '"whitespace_flexible": false' in grammar


def test_fields_that_say_who_asks_or_how_to_hurry_change_nothing() -> None:
    quiet = {"user": "u", "store": True, "metadata": {"a": "b"}, "service_tier": "flex", "reasoning_effort": "low"}
    assert asked(**quiet, tools=[], tool_choice="auto", stream=False, modalities=["text"]) == asked()


@pytest.mark.parametrize(
    ("fields", "param", "code", "message"),
    [
        ({"messages": None}, "messages", "missing_required_parameter", "Missing required parameter: 'messages'."),
        (
            {"messages": "hello"},
            "messages",
            "invalid_type",
            "Invalid type for 'messages': expected an array of objects, but got a string instead.",
        ),
        (
            {"messages": [{"role": "wizard", "content": "hm"}]},
            "messages[0].role",
            "invalid_value",
            "Invalid value: 'wizard'. Supported values are: 'system', 'developer', 'user', 'assistant'.",
        ),
        (
            {"messages": [{"role": "user"}]},
            "messages[0].content",
            "missing_required_parameter",
            "Missing required parameter: 'messages[0].content'.",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "messages[0].content[0].type",
            "invalid_value",
            "Invalid value: 'image_url'. The embedded model reads text alone.",
        ),
        (
            {"messages": [{"role": "tool", "tool_call_id": "1", "content": "4"}]},
            "messages[0]",
            "invalid_value",
            "Invalid value: the embedded model has no tools; 'messages[0]' is about one.",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            "tools",
            "unsupported_parameter",
            "Unsupported parameter: 'tools' is not supported with the embedded model.",
        ),
        (
            {"web_search_options": {}},
            "web_search_options",
            "unsupported_parameter",
            "Unsupported parameter: 'web_search_options' is not supported with the embedded model.",
        ),
        ({"grammar": "root ::= x"}, None, None, "Unrecognized request argument supplied: grammar"),
        (
            {"temperature": 2.5},
            "temperature",
            "decimal_above_max_value",
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
        ),
        (
            {"max_tokens": 0},
            "max_tokens",
            "integer_below_min_value",
            "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        ),
        (
            {"n": "two"},
            "n",
            "invalid_type",
            "Invalid type for 'n': expected an integer, but got a string instead.",
        ),
        ({"top_logprobs": 2}, "top_logprobs", None, "top_logprobs requires logprobs to be set to true"),
        (
            {"stop": list("abcdef")},
            "stop",
            "array_above_max_length",
            (
                "Invalid 'stop': array too long. Expected an array with maximum length 5, but got an array with "
                "length 6 instead."
            ),
        ),
        (
            {"logit_bias": {"yes": 1}},
            "logit_bias",
            "invalid_value",
            "Invalid key in 'logit_bias': yes. You should only be submitting non-negative integers.",
        ),
        (
            {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "hello"}]},
            "messages",
            None,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        ),
        (
            {"response_format": {"type": "xml"}},
            "response_format.type",
            "invalid_value",
            "Invalid value: 'xml'. Supported values are: 'json_object', 'json_schema', and 'text'.",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "tags", "schema": {"type": "array", "uniqueItems": True}},
                }
            },
            "response_format",
            "invalid_json_schema",
            "Invalid schema for response_format 'tags': Unimplemented keys: [\"uniqueItems\"]",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_openais_words(
    fields: dict[str, Any], param: str | None, code: str | None, message: str
) -> None:
    error = refused({"model": "gpt-4o-mini", "messages": HELLO, **fields})
    assert (error["param"], error["code"], error["message"]) == (param, code, message)
    assert error["type"] == "invalid_request_error"


def test_tools_that_must_not_be_called_are_no_tools() -> None:
    assert asked(tools=[{"type": "function", "function": {"name": "f"}}], tool_choice="none") == asked()


def test_a_prompt_that_is_too_long_is_told_with_both_numbers() -> None:
    status, answer = refusal({"type": "exceed_context_size_error", "n_ctx": 4096, "n_prompt_tokens": 9031}).answer
    assert status == 400
    assert answer["error"]["code"] == "context_length_exceeded"
    assert answer["error"]["message"] == (
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 9031 tokens. "
        "Please reduce the length of the messages."
    )


def test_an_answer_that_left_its_schema_is_no_answer() -> None:
    choice = {"finish_reason": "stop", "message": {"content": "The sentiment is"}}
    said = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    with pytest.raises(Refused) as raised:
        from_engine({"messages": HELLO, "response_format": {"type": "json_object"}}, [said], "weights")
    assert raised.value.answer[0] == 500
