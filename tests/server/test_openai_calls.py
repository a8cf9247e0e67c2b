"""OpenAI's synchronous calls on the local server, through the unmodified SDK."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from server_tools import Held, Told, chat_lines, submit

import openai
from nono.server.app import LocalServer
from openai import OpenAI

Serving = Callable[..., tuple[LocalServer, OpenAI]]
ASK: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}


def test_a_chat_is_answered_by_the_servers_model(serving: Serving) -> None:
    _, sdk = serving(Told())
    said = sdk.chat.completions.create(**ASK)
    assert (said.choices[0].message.content, said.model) == ("hello", "gpt-4o-mini")


def test_a_models_refusal_comes_through_as_it_is(serving: Serving) -> None:
    _, sdk = serving(Told())
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "fail"}])
    assert (refused.value.code, refused.value.param) == ("bad", "messages")


def test_a_model_that_raises_is_a_500(serving: Serving) -> None:
    _, sdk = serving(Told())
    with pytest.raises(openai.InternalServerError):
        sdk.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "raise"}])


def test_streaming_is_refused_in_so_many_words(serving: Serving) -> None:
    _, sdk = serving(Told())
    with pytest.raises(openai.BadRequestError, match="This local server does not stream"):
        sdk.chat.completions.create(**ASK, stream=True)


def test_an_unknown_model_is_not_found(serving: Serving) -> None:
    _, sdk = serving(Told())
    with pytest.raises(openai.NotFoundError) as refused:
        sdk.chat.completions.create(**ASK | {"model": "nonexistent-model-xyz"})
    assert refused.value.body == {
        "message": "The model `nonexistent-model-xyz` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }


def test_a_chat_without_a_model_is_refused(serving: Serving) -> None:
    server, _ = serving(Told())
    reply = httpx2.post(f"{server.openai_base_url}/chat/completions", json={"messages": []})
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "you must provide a model parameter")


def test_models_are_listed_and_looked_up(serving: Serving) -> None:
    _, sdk = serving(Told())
    names = [model.id for model in sdk.models.list()]
    assert names[0] == "told"
    assert "gpt-4o-mini" in names
    assert sdk.models.retrieve("gpt-5.4-pro-2026-03-05").object == "model"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("nonexistent-model-xyz")


def test_a_call_is_answered_while_a_batch_waits_for_the_model(serving: Serving) -> None:
    model = Held()
    _, sdk = serving(model)
    submit(sdk, chat_lines(["slow"]))
    model.wait_for(1)
    threading.Timer(0.02, model.allow, (2,)).start()
    assert sdk.chat.completions.create(**ASK).choices[0].message.content == "hello"


# with the simulated model, through every endpoint that has a spelling of its own


def test_responses_are_answered(openai_sdk: OpenAI) -> None:
    said = openai_sdk.responses.create(model="gpt-5-mini", input="hello", instructions="be short")
    assert said.status == "completed"
    assert said.output_text
    assert said.usage is not None
    assert said.usage.input_tokens > 0


def test_legacy_completions_are_answered(openai_sdk: OpenAI) -> None:
    said = openai_sdk.completions.create(model="davinci-002", prompt="hello")
    assert (said.object, bool(said.choices[0].text)) == ("text_completion", True)


def test_embeddings_have_the_asked_dimension(openai_sdk: OpenAI) -> None:
    made = openai_sdk.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8)
    assert [len(entry.embedding) for entry in made.data] == [8, 8]


def test_moderations_need_no_model(openai_sdk: OpenAI) -> None:
    assert len(openai_sdk.moderations.create(input="hello").results) == 1


def test_an_image_is_generated(openai_sdk: OpenAI) -> None:
    made = openai_sdk.images.generate(prompt="a red square", model="gpt-image-1")
    assert made.data
    assert made.data[0].b64_json


def test_what_cannot_be_translated_is_a_400(openai_sdk: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        openai_sdk.responses.create(model="gpt-5-mini", input="hello", previous_response_id="resp_1")
