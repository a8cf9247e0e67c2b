"""What people give as a request, and what goes onto the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from google.genai import types
from pydantic import BaseModel

from nono.connector.genai_batch_processing import GeminiBatchService as Service
from nono.errors import InputError
from nono.providers.gemini.check import check_inline
from nono.providers.gemini.requests import item_of

HI = [{"parts": [{"text": "hi"}], "role": "user"}]


def wire(given: Any) -> dict[str, Any]:
    return check_inline([given])[0]


class Recipe(BaseModel):
    name: str
    ingredients: list[str]


RECIPE = {
    "type": "OBJECT",
    "title": "Recipe",
    "required": ["name", "ingredients"],
    "propertyOrdering": ["name", "ingredients"],
    "properties": {
        "name": {"type": "STRING", "title": "Name"},
        "ingredients": {"type": "ARRAY", "title": "Ingredients", "items": {"type": "STRING"}},
    },
}


def test_a_text_is_a_prompt() -> None:
    assert wire("hi") == {"request": {"contents": HI}, "metadata": {"key": "request-1"}}


def test_a_rest_request_goes_as_it_stands_in_either_case() -> None:
    snake = {"contents": HI, "generation_config": {"top_k": 3}, "system_instruction": {"parts": [{"text": "s"}]}}
    camel = {"contents": HI, "generationConfig": {"topK": 3}, "systemInstruction": {"parts": [{"text": "s"}]}}
    assert (wire(snake)["request"], wire(camel)["request"]) == (snake, camel)


def test_a_jsonl_line_keeps_its_key() -> None:
    assert wire({"key": "a", "request": {"contents": HI}}) == {"request": {"contents": HI}, "metadata": {"key": "a"}}


def test_a_wire_item_keeps_its_metadata() -> None:
    given = {"request": {"contents": HI}, "metadata": {"key": "a", "page": "7"}}
    assert wire(given) == given


def test_the_fields_of_an_sdk_config_go_where_the_wire_wants_them() -> None:
    config = {"system_instruction": "s", "temperature": 0.5, "maxOutputTokens": 3, "tools": [{"google_search": {}}]}
    assert wire({"contents": "hi", "config": config})["request"] == {
        "contents": HI,
        "systemInstruction": {"parts": [{"text": "s"}]},
        "tools": [{"google_search": {}}],
        "generationConfig": {"temperature": 0.5, "maxOutputTokens": 3},
    }


def test_sdk_objects_are_requests() -> None:
    given = types.InlinedRequest(
        contents=[types.Content(parts=[types.Part.from_text(text="hi")], role="user")],
        config=types.GenerateContentConfig(
            response_mime_type="application/json",
            response_schema=Recipe,
            safety_settings=[types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")],
            http_options=types.HttpOptions(timeout=5),
        ),
        metadata={"key": "a"},
    )
    assert wire(given) == {
        "request": {
            "contents": HI,
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "generationConfig": {"responseMimeType": "application/json", "responseSchema": RECIPE},
        },
        "metadata": {"key": "a"},
    }


def test_texts_and_parts_in_a_row_are_one_turn_of_the_user() -> None:
    contents = item_of({"contents": ["a", {"text": "b"}]}).request["contents"]
    assert contents == [{"parts": [{"text": "a"}, {"text": "b"}], "role": "user"}]


def test_bytes_travel_as_url_safe_base64() -> None:
    part = {"inline_data": {"mime_type": "image/png", "data": b"\xfb\xff\x00\x01"}}
    sent = wire({"contents": [{"parts": [part]}]})["request"]["contents"][0]["parts"][0]
    assert sent["inline_data"]["data"] == "-_8AAQ=="


def test_a_system_instruction_may_be_a_text() -> None:
    assert wire({"contents": "hi", "system_instruction": "s"})["request"]["system_instruction"] == {
        "parts": [{"text": "s"}]
    }


def test_a_schema_with_more_words_than_openapi_moves_to_the_field_for_json_schema() -> None:
    schema = {"type": "object", "additionalProperties": False}
    request = {"contents": "hi", "generation_config": {"response_schema": schema}}
    assert wire(request)["request"]["generation_config"] == {"response_json_schema": schema}


def test_what_was_given_is_not_changed() -> None:
    given = {"key": "a", "request": {"contents": "hi"}}
    wire(given)
    assert given == {"key": "a", "request": {"contents": "hi"}}


def test_requests_without_keys_are_numbered() -> None:
    keys = [item["metadata"]["key"] for item in check_inline(["a", {"key": "own", "request": {"contents": "b"}}, "c"])]
    assert keys == ["request-1", "own", "request-3"]


def greet() -> str:
    """A function that a batch cannot call."""
    return "hi"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"contents": "x", "temperature": 1}, "request 1: no such field: 'temperature' .* belongs into generation_con"),
        ({"contents": "x", "generation_config": {"tools": []}}, "'tools' in generation_config; it belongs into the re"),
        ({"contents": "x", "generationConfig": {"thinking_budget": 0}}, "into generation_config.thinking_config"),
        ({"contents": "x", "thinking_config": {}}, "no such field: 'thinking_config' in the request; .* generation_c"),
        ({"contents": [{"parts": {"text": "x"}}]}, r"contents\[0\].parts is a list, not dict"),
        ({"contents": [{"parts": [{"txt": "x"}]}]}, r"no such field: 'txt' in contents\[0\].parts\[0\]"),
        ({"contents": "x", "systemInstruction": 5}, "systemInstruction is an object, not int"),
        ({"contents": "x", "cachedContent": "c", "systemInstruction": "s"}, "cannot stand beside cached_content"),
        ({"contents": "x", "config": {"foo": 1}}, "no such field: 'foo' in generationConfig"),
        ({"contents": "x", "config": {}, "generation_config": {}}, "use one of them"),
        ({"contents": "x", "config": {"tools": []}, "tools": []}, "in `config` and in the request itself"),
        ({"request": {"contents": "x"}, "id": 3}, "beside `request` only `key` and `metadata`"),
        ({"key": 5, "request": {"contents": "x"}}, "a key is a text that is not empty, not 5"),
        ({"key": "", "contents": "x"}, "a key is a text that is not empty"),
        ({"key": "a", "request": {"contents": "x"}, "metadata": {"key": "b"}}, "two keys for one request"),
        ({"messages": []}, "a request without `contents`"),
        ({"content": {"parts": [{"text": "x"}]}}, "another endpoint's"),
        ({"contents": []}, "no `contents`"),
        (5, "a request is a dict, not int"),
        ({"contents": "x", "tools": [greet]}, r"a Python function \(greet\) cannot be called by a batch"),
        ({"contents": "x", "metadata": {"key": "a", "n": float("nan")}}, "not representable as JSON"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_a_request_that_would_be_refused_is_refused_here(bad: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_inline([bad])


class Mood(StrEnum):
    good = "good"
    bad = "bad"


class Tree(BaseModel):
    label: str
    children: list[Tree] = []


class Review(BaseModel):
    recipe: Recipe
    note: str | None = None


def schema_of(given: Any) -> dict[str, Any]:
    config: dict[str, Any] = Service.build_structured_request("x", given)["generation_config"]
    assert config.pop("response_mime_type") == "application/json"
    return config


def test_a_model_becomes_a_schema_with_its_fields_in_order() -> None:
    assert schema_of(Recipe) == {"response_schema": RECIPE}


def test_a_list_of_models_becomes_a_schema_in_one_piece() -> None:
    assert schema_of(list[Recipe]) == {"response_schema": {"type": "ARRAY", "items": RECIPE}}


def test_an_enum_becomes_a_choice() -> None:
    assert schema_of(Mood)["response_schema"]["enum"] == ["good", "bad"]


def test_a_dict_schema_gets_the_services_own_type_names() -> None:
    schema = {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}
    assert schema_of(schema) == {
        "response_schema": {"type": "ARRAY", "items": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}
    }
    assert schema["type"] == "array"


def test_an_optional_field_needs_json_schema() -> None:
    schema = schema_of(Review)["response_json_schema"]
    assert schema["properties"]["note"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert "$defs" not in schema


def test_a_model_that_contains_itself_keeps_its_references() -> None:
    schema = schema_of(Tree)["response_json_schema"]
    assert schema["$ref"] == "#/$defs/Tree"
    assert schema["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_a_property_named_like_a_keyword_is_a_property() -> None:
    schema = {"type": "object", "properties": {"type": {"type": "string"}, "$ref": {"type": "string"}}}
    assert schema_of(schema)["response_schema"]["properties"]["type"] == {"type": "STRING"}
