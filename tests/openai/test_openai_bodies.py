"""Each endpoint gets the body that it wants, whichever way it is asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from nono.connector.genai_batch_processing import OpenAIBatchService
from nono.errors import InputError
from nono.providers import Task
from nono.providers.openai import PROVIDER

build = OpenAIBatchService.build_request


def test_a_chat_request_is_the_documented_line() -> None:
    assert build(
        prompt="What is AI?",
        model="gpt-4o-mini",
        custom_id="ai-1",
        system_prompt="You are a tech expert.",
        temperature=0.5,
        max_tokens=150,
    ) == {
        "custom_id": "ai-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": "You are a tech expert."},
                {"role": "user", "content": "What is AI?"},
            ],
            "temperature": 0.5,
            "max_tokens": 150,
        },
    }


def test_zero_is_a_temperature_and_none_is_left_out() -> None:
    assert build("x", temperature=0)["body"] == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "x"}],
        "temperature": 0,
    }


def test_a_responses_request_has_input_instructions_and_its_own_names() -> None:
    body = build(
        "Why?",
        model="gpt-5-mini",
        system_prompt="Be brief.",
        endpoint=OpenAIBatchService.ENDPOINT_RESPONSES,
        max_tokens=99,
        response_format={"type": "json_object"},
        reasoning_effort="low",
    )["body"]
    assert body == {
        "model": "gpt-5-mini",
        "input": "Why?",
        "instructions": "Be brief.",
        "max_output_tokens": 99,
        "text": {"format": {"type": "json_object"}},
        "reasoning": {"effort": "low"},
    }


def test_a_legacy_completion_has_a_prompt() -> None:
    body = build(
        "Once", model="gpt-3.5-turbo-instruct", system_prompt="Tell.", endpoint="/v1/completions", max_tokens=5
    )
    assert body["url"] == "/v1/completions"
    assert body["body"] == {"model": "gpt-3.5-turbo-instruct", "prompt": "Tell.\n\nOnce", "max_tokens": 5}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-mini", "max_tokens"),
        ("gpt-4.1", "max_tokens"),
        ("gpt-3.5-turbo", "max_tokens"),
        ("llama-3.1-8b", "max_tokens"),
        ("o1", "max_completion_tokens"),
        ("o3-mini-2025-01-31", "max_completion_tokens"),
        ("o4-mini", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.4-pro", "max_completion_tokens"),
        ("ft:gpt-5-mini:org::id", "max_completion_tokens"),
        ("openai/o3", "max_completion_tokens"),
        ("olmo-2", "max_tokens"),
    ],
)
def test_a_reasoning_model_gets_the_limit_under_the_name_that_it_takes(model: str, name: str) -> None:
    body = build("x", model=model, max_tokens=7)["body"]
    assert body == {"model": model, "messages": [{"role": "user", "content": "x"}], name: 7}


def test_messages_can_be_given_whole() -> None:
    turns = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    assert build(turns, system_prompt="S")["body"]["messages"] == [{"role": "system", "content": "S"}, *turns]


@pytest.mark.parametrize("prompt", [7, None, [], ["text"], [{"text": "x"}], b"bytes"])
def test_what_is_no_prompt_is_refused(prompt: Any) -> None:
    with pytest.raises(InputError, match="a prompt is a text or a list of messages"):
        build(prompt)


@pytest.mark.parametrize(
    ("endpoint", "parameters", "message"),
    [
        ("/v1/responses", {"frequency_penalty": 1.0}, "/v1/responses has no frequency_penalty"),
        ("/v1/responses", {"seed": 1, "stop": ["x"]}, "/v1/responses has no seed, stop"),
        ("/v1/completions", {"response_format": {"type": "json_object"}}, "/v1/completions has no response_format"),
        ("/v1/embeddings", {}, "/v1/embeddings takes no prompt"),
        ("/v1/moderations", {}, "/v1/moderations takes no prompt"),
        ("/v1/nothing", {}, "no way is known to build a request for /v1/nothing"),
    ],
)
def test_what_an_endpoint_does_not_take_is_refused(endpoint: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("x", endpoint=endpoint, **parameters)


def test_further_parameters_and_an_extra_body_go_into_the_body() -> None:
    body = build("x", seed=7, stop=["."], extra_body={"service_tier": "flex"})["body"]
    assert (body["seed"], body["stop"], body["service_tier"]) == (7, ["."], "flex")


def test_another_services_spelling_of_an_endpoint_is_understood() -> None:
    line = build("x", endpoint="/v4/chat/completions")
    assert (line["url"], list(line["body"])) == ("/v4/chat/completions", ["model", "messages"])


def test_prompts_become_requests_in_order_with_ids_of_the_prefix() -> None:
    made = OpenAIBatchService.build_requests_from_prompts(["a", "b"], custom_id_prefix="sentiment-analysis")
    assert [line["custom_id"] for line in made] == ["sentiment-analysis-1", "sentiment-analysis-2"]
    assert [line["body"]["messages"][-1]["content"] for line in made] == ["a", "b"]


def test_one_text_is_not_taken_for_a_list_of_prompts() -> None:
    with pytest.raises(InputError, match="prompts is one text"):
        OpenAIBatchService.build_requests_from_prompts("abc")


def test_ids_made_at_the_same_moment_differ() -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda n: build(str(n))["custom_id"], range(2000)))
    assert len(set(ids)) == 2000


@pytest.mark.parametrize("custom_id", ["", 7])
def test_an_id_is_a_text(custom_id: Any) -> None:
    with pytest.raises(InputError, match="custom_id is"):
        build("x", custom_id=custom_id)


def test_an_embedding_request() -> None:
    made = OpenAIBatchService.build_embedding_request(
        input_text=["a", "b"], custom_id="e-1", encoding_format="float", dimensions=256
    )
    assert made == {
        "custom_id": "e-1",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {
            "model": "text-embedding-3-small",
            "input": ["a", "b"],
            "encoding_format": "float",
            "dimensions": 256,
        },
    }


def test_a_moderation_request_takes_text_and_images() -> None:
    parts = [{"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "https://example.com/i.jpg"}}]
    made = OpenAIBatchService.build_moderation_request(input_content=parts, custom_id="m-1")
    assert (made["url"], made["body"]) == ("/v1/moderations", {"model": "omni-moderation-latest", "input": parts})


def test_builders_work_on_an_instance_too() -> None:
    assert OpenAIBatchService("k").build_request("x", custom_id="i") == build("x", custom_id="i")


class Address(BaseModel):
    street: str


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int | None = None
    mood: Literal["good", "bad"] = "good"
    home: Address = Field(description="where they live")


def test_a_pydantic_model_becomes_a_strict_schema() -> None:
    made = build("x", response_format=Person)["body"]["response_format"]
    schema = made["json_schema"]["schema"]
    assert (made["type"], made["json_schema"]["name"], made["json_schema"]["strict"]) == ("json_schema", "Person", True)
    assert schema["required"] == ["name", "age", "mood", "home"]
    assert schema["additionalProperties"] is False
    assert "default" not in schema["properties"]["age"]
    assert schema["properties"]["home"]["additionalProperties"] is False


def test_the_schema_of_a_simple_model_is_the_official_sdks() -> None:
    from openai.lib._pydantic import to_strict_json_schema

    class Recipe(BaseModel):
        recipe_name: str
        ingredients: list[str]
        author: Address
        rating: float | None

    made = build("x", response_format=Recipe)["body"]["response_format"]["json_schema"]["schema"]
    assert made == to_strict_json_schema(Recipe)


def test_responses_carry_the_same_schema_one_level_higher() -> None:
    made = build("x", endpoint="/v1/responses", response_format=Address)["body"]["text"]["format"]
    assert (made["type"], made["name"], made["strict"], made["schema"]["required"]) == (
        "json_schema",
        "Address",
        True,
        ["street"],
    )


def test_a_plain_schema_is_closed_and_completed() -> None:
    made = build("x", response_format={"type": "object", "properties": {"a": {"type": "string"}}})
    assert made["body"]["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "additionalProperties": False,
                "required": ["a"],
            },
        },
    }


def test_a_schema_that_strict_mode_refuses_is_refused_here_with_its_place() -> None:
    with pytest.raises(InputError, match=r"\$: the root must be an object, not 'array'"):
        build("x", response_format=list[Address])


class Tree(BaseModel):
    label: str
    children: list[Tree]


class Endless(BaseModel):
    inner: Endless = Field(description="itself")


def test_a_model_may_contain_itself_but_not_without_an_end() -> None:
    made = build("x", response_format=Tree)["body"]["response_format"]["json_schema"]["schema"]
    assert made["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    with pytest.raises(InputError, match="contains itself without an end"):
        build("x", response_format=Endless)


def test_a_response_format_object_goes_out_as_it_is() -> None:
    given = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}, "strict": False}}
    assert build("x", response_format=given)["body"]["response_format"] == given


def test_what_is_no_schema_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be described as a JSON Schema"):
        build("x", response_format=object())


def test_a_task_of_a_run_becomes_the_same_bodies() -> None:
    chat = Task(
        "chat", "gpt-5-mini", system="S", parameters={"max_tokens": 5, "temperature": None}, extra_body={"user": "u"}
    )
    assert PROVIDER.request_body(chat, "hello") == {
        "model": "gpt-5-mini",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "hello"}],
        "max_completion_tokens": 5,
        "user": "u",
    }
    schema = {"type": "object", "properties": {"label": {"type": "string"}}}
    strict = PROVIDER.request_body(Task("chat", "gpt-4o-mini", schema=schema, schema_name="label"), "x")
    assert strict["response_format"]["json_schema"]["name"] == "label"
    assert strict["response_format"]["json_schema"]["schema"]["required"] == ["label"]
    assert PROVIDER.request_body(Task("embedding", "text-embedding-3-small"), "x") == {
        "model": "text-embedding-3-small",
        "input": "x",
    }
    assert PROVIDER.request_body(Task("moderation", "omni-moderation-latest"), "x")["input"] == "x"
    raw = Task("raw", "dall-e-3", endpoint="/v1/images/generations", parameters={"n": 1})
    assert PROVIDER.request_body(raw, {"prompt": "a cat", "n": 2}) == {"model": "dall-e-3", "prompt": "a cat", "n": 2}


@pytest.mark.parametrize(
    ("task", "endpoint"),
    [
        (Task("chat", "m"), "/v1/chat/completions"),
        (Task("chat", "m", endpoint="/v1/responses"), "/v1/responses"),
        (Task("embedding", "m"), "/v1/embeddings"),
        (Task("moderation", "m"), "/v1/moderations"),
        (Task("raw", "m", endpoint="/v1/images/edits"), "/v1/images/edits"),
    ],
)
def test_a_task_knows_its_endpoint(task: Task, endpoint: str) -> None:
    assert PROVIDER.endpoint_for(task) == endpoint
    assert PROVIDER.request_line("q", task, {"a": 1}) == {
        "custom_id": "q",
        "method": "POST",
        "url": endpoint,
        "body": {"a": 1},
    }


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task("raw", "m"), "names no endpoint"),
        (Task("chat", "m", endpoint="/v1/audio/speech"), "is no endpoint of the Batch API"),
        (Task("chat", "m", endpoint="/v1/embeddings"), "is not for tasks of kind 'chat'"),
    ],
)
def test_a_wrong_endpoint_is_refused_before_anything_is_sent(task: Task, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PROVIDER.endpoint_for(task)
