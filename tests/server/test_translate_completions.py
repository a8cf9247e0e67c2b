"""Legacy completions spelt as chats, there and back."""

from __future__ import annotations

from typing import Any

import pytest

from nono.server.models import CHAT
from nono.server.models.refusals import Refused
from nono.server.models.simulated import SimulatedModel
from nono.server.translate.completions import from_chat, to_chat


def answered(**body: Any) -> dict[str, Any]:
    body = {"model": "davinci-002", **body}
    status, completion = from_chat(body, *SimulatedModel().answer(CHAT, to_chat(body)))
    assert status == 200, completion
    return completion


@pytest.mark.parametrize("prompt", ["hello", ["hello"]])
def test_a_prompt_is_a_users_only_message(prompt: Any) -> None:
    assert to_chat({"model": "m", "prompt": prompt, "stop": "x"}) == {
        "model": "m",
        "stop": "x",
        "max_tokens": 16,
        "messages": [{"role": "user", "content": "hello"}],
    }


def test_a_completion_has_the_old_fields() -> None:
    completion = answered(prompt="[[nono:say hi]]", n=2)
    assert list(completion) == ["id", "object", "created", "model", "choices", "usage", "system_fingerprint"]
    assert completion["id"].startswith("cmpl-")
    assert completion["choices"] == [
        {"text": "hi", "index": 0, "logprobs": None, "finish_reason": "stop"},
        {"text": "hi", "index": 1, "logprobs": None, "finish_reason": "stop"},
    ]
    assert completion["usage"].keys() == {"prompt_tokens", "completion_tokens", "total_tokens"}


def test_sixteen_tokens_are_the_default() -> None:
    completion = answered(prompt="[[nono:words 200]]")
    assert completion["usage"]["completion_tokens"] == 16
    assert completion["choices"][0]["finish_reason"] == "length"


def test_logprobs_are_columns() -> None:
    said = answered(prompt="[[nono:say abcdef]]", logprobs=2)["choices"][0]["logprobs"]
    assert said["tokens"] == ["abcd", "ef"]
    assert said["text_offset"] == [0, 4]
    assert [len(tokens) for tokens in said["top_logprobs"]] == [2, 2]
    assert all(number < 0 for number in said["token_logprobs"])


def test_an_error_comes_through() -> None:
    body = {"model": "m", "prompt": "[[nono:error 429]]"}
    assert from_chat(body, *SimulatedModel().answer(CHAT, to_chat(body)))[0] == 429


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({}, "Missing required parameter: 'prompt'.", "prompt"),
        ({"prompt": ["a", "b"]}, "Invalid 'prompt': this server takes one prompt in a request.", "prompt"),
        ({"prompt": [1, 2]}, "Invalid 'prompt': this server takes a text; its tokens are not OpenAI's.", "prompt"),
        (
            {"prompt": "x", "echo": True},
            "Unsupported parameter: 'echo' is not imitated by this server.",
            "echo",
        ),
        ({"prompt": "x", "messages": []}, "Unrecognized request argument supplied: messages", None),
        (
            {"prompt": "x", "logprobs": 6},
            "Invalid 'logprobs': integer above maximum value. Expected a value <= 5, but got 6 instead.",
            "logprobs",
        ),
    ],
)
def test_what_a_chat_cannot_say_is_refused(body: Any, message: str, param: str | None) -> None:
    with pytest.raises(Refused) as refused:
        to_chat({"model": "m", **body})
    error = refused.value.answer[1]["error"]
    assert (error["message"], error["param"]) == (message, param)
