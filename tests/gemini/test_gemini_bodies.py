"""The builders: each field where the service wants it."""

from __future__ import annotations

import pytest

from nono.connector.genai_batch_processing import AsyncGeminiBatchService, GeminiBatchService
from nono.errors import InputError
from nono.providers.gemini.fields import find_misplaced

build = GeminiBatchService.build_request


def test_a_request_with_every_setting() -> None:
    request = build(
        prompt="What is the speed of light?",
        system_instruction="You are a scientist.",
        temperature=0.5,
        max_tokens=100,
        top_p=0.9,
        top_k=40,
        stop_sequences=[".", "\n"],
        tools=[{"google_search": {}}],
        response_modalities=["TEXT"],
    )
    assert request == {
        "contents": [{"parts": [{"text": "What is the speed of light?"}], "role": "user"}],
        "system_instruction": {"parts": [{"text": "You are a scientist."}]},
        "tools": [{"google_search": {}}],
        "generation_config": {
            "temperature": 0.5,
            "max_output_tokens": 100,
            "top_p": 0.9,
            "top_k": 40,
            "stop_sequences": [".", "\n"],
            "response_modalities": ["TEXT"],
        },
    }


def test_what_is_not_given_is_not_sent() -> None:
    assert build("hi") == {"contents": [{"parts": [{"text": "hi"}], "role": "user"}]}


def test_zero_is_a_setting() -> None:
    assert build("hi", temperature=0.0, top_k=0)["generation_config"] == {"temperature": 0.0, "top_k": 0}


def test_prompts_share_instruction_and_settings() -> None:
    requests = GeminiBatchService.build_requests_from_prompts(["a", "b"], "s", temperature=0.8, max_tokens=150)
    assert [request["contents"][0]["parts"][0]["text"] for request in requests] == ["a", "b"]
    assert requests[1]["system_instruction"] == {"parts": [{"text": "s"}]}
    assert requests[1]["generation_config"] == {"temperature": 0.8, "max_output_tokens": 150}


def test_a_search_request_has_the_tool_beside_its_contents() -> None:
    request = GeminiBatchService.build_request_with_search("Who won?", temperature=0.3)
    assert request["tools"] == [{"google_search": {}}]
    assert request["generation_config"] == {"temperature": 0.3}


def test_an_image_request_wants_text_and_picture() -> None:
    request = GeminiBatchService.build_image_request("A cat", "Be artistic.", image_config={"aspect_ratio": "1:1"})
    assert request["generation_config"] == {
        "response_modalities": ["TEXT", "IMAGE"],
        "image_config": {"aspect_ratio": "1:1"},
    }


def test_an_embedding_request_names_its_settings_beside_its_content() -> None:
    assert GeminiBatchService.build_embedding_request("t", task_type="CLUSTERING", output_dimensionality=8) == {
        "content": {"parts": [{"text": "t"}]},
        "task_type": "CLUSTERING",
        "output_dimensionality": 8,
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prompt": ""}, "an empty prompt"),
        ({"prompt": "x", "temperature": 2.5}, "temperature 2.5 is not between 0 and 2"),
        ({"prompt": "x", "response_schema": "text"}, "a class or a dict, not str"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(**settings)  # type: ignore[arg-type]


def test_one_text_is_not_a_list_of_prompts() -> None:
    with pytest.raises(InputError, match="prompts is one text"):
        GeminiBatchService.build_requests_from_prompts("hello")


def test_the_async_class_builds_the_same() -> None:
    assert AsyncGeminiBatchService.build_request("hi", "s") == build("hi", "s")


@pytest.mark.parametrize(
    "request_",
    [
        build("x", "s", 0.1, 5, 0.2, 3, ["."], [{"google_search": {}}], "application/json", {"type": "string"}),
        GeminiBatchService.build_image_request("x", "s"),
        GeminiBatchService.build_structured_request("x", {"type": "array", "items": {"type": "string"}}),
    ],
)
def test_what_the_builders_make_is_legal(request_: dict[str, object]) -> None:
    assert find_misplaced(request_) is None
