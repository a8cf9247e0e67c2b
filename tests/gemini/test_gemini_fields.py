"""The table of fields is not behind the official SDK's types."""

from __future__ import annotations

import pytest
from google.genai import types

from nono.providers.gemini.fields import MESSAGES, find_misplaced, in_camel_case
from nono.providers.gemini.requests import camel

# Fields that the SDK itself refuses to send to the Developer API, or keeps for its own client.
NOT_HERE = {
    "Tool": {"enterpriseWebSearch", "exaAiSearch", "parallelAiSearch", "retrieval"},
    "GenerationConfig": {"audioTimestamp", "enableAffectiveDialog", "modelSelectionConfig", "routingConfig"},
    "ImageConfig": {
        "personGeneration",
        "prominentPeople",
        "outputMimeType",
        "outputCompressionQuality",
        "imageOutputOptions",
    },
    "SafetySetting": {"method"},
    "EmbedContentConfig": {"httpOptions", "mimeType"},
}
TYPES = {
    "Content": types.Content,
    "Part": types.Part,
    "Blob": types.Blob,
    "FileData": types.FileData,
    "Tool": types.Tool,
    "ToolConfig": types.ToolConfig,
    "SafetySetting": types.SafetySetting,
    "GenerationConfig": types.GenerationConfig,
    "ThinkingConfig": types.ThinkingConfig,
    "ImageConfig": types.ImageConfig,
    "EmbedContentConfig": types.EmbedContentConfig,
    "FunctionCall": types.FunctionCall,
    "FunctionResponse": types.FunctionResponse,
    "FunctionDeclaration": types.FunctionDeclaration,
    "FunctionCallingConfig": types.FunctionCallingConfig,
    "RetrievalConfig": types.RetrievalConfig,
    "ExecutableCode": types.ExecutableCode,
    "CodeExecutionResult": types.CodeExecutionResult,
    "VideoMetadata": types.VideoMetadata,
    "Schema": types.Schema,
}


@pytest.mark.parametrize("message", TYPES)
def test_the_table_knows_every_field_that_the_sdk_sends(message: str) -> None:
    theirs = {camel(name) for name in TYPES[message].model_fields}
    assert theirs - MESSAGES[message].keys() == NOT_HERE.get(message, set())


def test_the_table_knows_every_setting_of_the_sdks_config() -> None:
    theirs = {camel(name) for name in types.GenerateContentConfig.model_fields}
    ours = MESSAGES["GenerateContentRequest"].keys() | MESSAGES["GenerationConfig"].keys()
    assert theirs - ours == {
        "audioTimestamp",
        "automaticContinuation",
        "automaticFunctionCalling",
        "generationOutputConfig",
        "httpOptions",
        "modelArmorConfig",
        "modelSelectionConfig",
        "routingConfig",
        "shouldReturnHttpResponse",
    }


def test_both_spellings_of_a_field_are_one_field() -> None:
    assert find_misplaced({"contents": [{"parts": [{"inline_data": {"mime_type": "image/png"}}]}]}) is None
    assert find_misplaced({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]}) is None


def test_null_is_as_good_as_nothing() -> None:
    assert find_misplaced({"contents": [], "systemInstruction": None, "tools": None}) is None


def test_a_field_inside_a_schema_is_looked_at_and_a_property_may_have_any_name() -> None:
    def asking(schema: object) -> dict[str, object]:
        return {"contents": [], "generation_config": {"response_schema": schema}}

    assert find_misplaced(asking({"type": "OBJECT", "properties": {"my_name": {"type": "STRING"}}})) is None
    assert "'oneOf' in generation_config.response_schema.properties.x" in str(
        find_misplaced(asking({"properties": {"x": {"oneOf": []}}}))
    )


def test_names_are_written_in_camel_case_where_they_are_the_services() -> None:
    request = {
        "contents": [{"parts": [{"function_call": {"name": "f", "args": {"my_arg": None}}}], "role": None}],
        "generation_config": {
            "max_output_tokens": 3,
            "response_schema": {"properties": {"my_name": {"any_of": [{"min_items": "1"}]}}},
        },
    }
    assert in_camel_case(request) == {
        "contents": [{"parts": [{"functionCall": {"name": "f", "args": {"my_arg": None}}}]}],
        "generationConfig": {
            "maxOutputTokens": 3,
            "responseSchema": {"properties": {"my_name": {"anyOf": [{"minItems": "1"}]}}},
        },
    }
