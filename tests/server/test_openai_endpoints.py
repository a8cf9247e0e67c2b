"""A batch of every endpoint that the server answers, through the simulated model."""

from __future__ import annotations

from typing import Any

import pytest
from server_tools import answers, counts, done

from openai import OpenAI

BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "/v1/chat/completions": (
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]},
        "chat.completion",
    ),
    "/v1/responses": ({"model": "gpt-5-mini", "input": "hello"}, "response"),
    "/v1/embeddings": ({"model": "text-embedding-3-small", "input": "hello"}, "list"),
    "/v1/completions": ({"model": "davinci-002", "prompt": "hello"}, "text_completion"),
}


@pytest.mark.parametrize("endpoint", BODIES)
def test_a_batch_of_this_endpoint_is_answered_with_its_object(openai_sdk: OpenAI, endpoint: str) -> None:
    body, kind = BODIES[endpoint]
    batch = done(openai_sdk, [{"custom_id": "a", "method": "POST", "url": endpoint, "body": body}], endpoint)
    assert (batch.status, counts(batch)) == ("completed", (1, 1, 0))
    (line,) = answers(openai_sdk, batch.output_file_id)
    assert line["response"]["body"]["object"] == kind
    assert batch.usage is not None
    assert batch.usage.input_tokens > 0


def test_a_batch_of_moderations_is_answered(openai_sdk: OpenAI) -> None:
    body = {"input": [{"type": "text", "text": "hello"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/moderations", "body": body}
    batch = done(openai_sdk, [line], "/v1/moderations")
    (answer,) = answers(openai_sdk, batch.output_file_id)
    assert len(answer["response"]["body"]["results"]) == 1


def test_a_batch_of_images_is_answered(openai_sdk: OpenAI) -> None:
    body = {"model": "gpt-image-1", "prompt": "a red square"}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": body}
    batch = done(openai_sdk, [line], "/v1/images/generations")
    (answer,) = answers(openai_sdk, batch.output_file_id)
    assert answer["response"]["body"]["data"][0]["b64_json"]
