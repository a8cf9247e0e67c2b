"""What people give as a request, made into what the service takes: a REST request, its key and its metadata.

Four shapes are understood: a text (the prompt), the REST `GenerateContentRequest` (snake_case or camelCase), a JSONL
line (`{"key", "request"}`) or wire item (`{"request", "metadata"}`), and the official SDK's `InlinedRequest`
(`{"contents", "config", "metadata"}`). SDK objects and pydantic values may stand anywhere; the SDK itself is never
imported.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from nono.errors import InputError
from nono.providers.gemini.fields import MESSAGES
from nono.providers.gemini.schemas import json_schema_of, placed_schema

# Fields of the SDK's `config` that stand beside `contents` on the wire; all others belong into generationConfig.
# https://ai.google.dev/api/generate-content#request-body
_BESIDE_CONTENTS = frozenset(MESSAGES["GenerateContentRequest"]) - {"contents", "generationConfig"}
# They steer the SDK's own client and mean nothing in a batch; the SDK drops them, too.
_CLIENT_ONLY = frozenset({"httpOptions", "automaticFunctionCalling", "shouldReturnHttpResponse"})
_CONTENTS = ("contents", "content")


@dataclass(frozen=True, slots=True)
class Item:
    """One request in the service's shape; `key` is None where none was given."""

    request: dict[str, Any]
    key: str | None = None
    metadata: Mapping[str, Any] | None = None


def item_of(given: Any) -> Item:
    """One request as the service takes it, out of any shape that is understood. The given object stays as it is.

    Raises InputError for what is not a request, naming the place inside it.
    """
    value = plain(given)
    if isinstance(value, str):
        return Item({"contents": contents_of(value)})
    if not isinstance(value, dict):
        raise InputError(
            f"a request is a dict, not {type(given).__name__}",
            hint='at least {"contents": [{"parts": [{"text": "…"}]}]}; build_request() makes one',
        )
    key, metadata = value.pop("key", None), value.pop("metadata", None) or {}
    if not isinstance(metadata, dict):
        raise InputError(f"metadata is a dict, not {type(metadata).__name__}")
    if key is None:
        key = metadata.get("key")
    elif metadata.get("key", key) != key:
        raise InputError(f"two keys for one request: {key!r} and, in its metadata, {metadata['key']!r}")
    if key is not None:
        check_key(key)
    if "request" in value:
        request = value.pop("request")
        if value:
            names = ", ".join(sorted(value))
            raise InputError(f"beside `request` only `key` and `metadata` may stand, not {names}")
        if not isinstance(request, dict):
            raise InputError(f"`request` is a dict, not {type(request).__name__}")
        value = dict(request)
    if "config" in value:
        value = _unfold_config(value)
    if "contents" in value:
        value["contents"] = contents_of(value["contents"])
    if isinstance(value.get("content"), str):
        value["content"] = {"parts": [{"text": value["content"]}]}
    for name in ("systemInstruction", "system_instruction"):
        if name in value:
            value[name] = instruction_of(value[name])
    for name in ("generationConfig", "generation_config"):
        if isinstance(value.get(name), dict):
            value[name] = _with_legal_schema(value[name])
    if isinstance(value.get("model"), str) and "/" not in value["model"]:
        value["model"] = f"models/{value['model']}"
    if not any(name in value for name in _CONTENTS):
        raise InputError(
            "a request without `contents`" + (f" (it has: {', '.join(sorted(value))})" if value else ""),
            hint='at least {"contents": [{"parts": [{"text": "…"}]}]}; build_request() makes one',
        )
    return Item(value, key, {name: text for name, text in metadata.items() if name != "key"})


def check_key(key: Any) -> str:
    """A key is a text, and not an empty one: the answer is found again by it."""
    if not isinstance(key, str) or not key:
        raise InputError(f"a key is a text that is not empty, not {key!r}", hint='for example "review-17"')
    return key


def contents_of(contents: Any) -> list[Any]:
    """`contents` in every spelling of the SDK: a text, parts, a content, or a list of these.

    Texts and parts in a row become one content of the user.
    """
    result: list[Any] = []
    for item in contents if isinstance(contents, list) else [contents]:
        if isinstance(item, dict) and ("parts" in item or "role" in item):
            result.append(item)
            continue
        parts = [_part_of(part) for part in (item if isinstance(item, list) else [item])]
        if result and not isinstance(item, list) and isinstance(result[-1], _Run):
            result[-1].extend(parts)
        else:
            result.append(_Run(parts))
    return [{"parts": list(item), "role": "user"} if isinstance(item, _Run) else item for item in result]


class _Run(list[Any]):
    """Parts in a row that nobody has made into a content yet."""


def instruction_of(instruction: Any) -> Any:
    """A system instruction as a content: a text becomes one part, a list its parts."""
    if isinstance(instruction, str):
        return {"parts": [{"text": instruction}]}
    if isinstance(instruction, list):
        return {"parts": [_part_of(part) for part in instruction]}
    return instruction


def _part_of(part: Any) -> Any:
    if isinstance(part, str):
        return {"text": part}
    if not isinstance(part, dict):
        raise InputError(f"a part of `contents` is a text or a dict, not {type(part).__name__}")
    if "uri" in part and "name" in part:  # a File of the SDK
        mime_type = part.get("mimeType") or part.get("mime_type")
        return {"fileData": {"fileUri": part["uri"]} | ({"mimeType": mime_type} if mime_type else {})}
    return part


def _unfold_config(value: dict[str, Any]) -> dict[str, Any]:
    """The SDK's flat `config`, put where the wire wants each of its fields."""
    config = value.pop("config")
    if config is None:
        return value
    if not isinstance(config, dict):
        raise InputError(f"`config` is a dict, not {type(config).__name__}")
    if "generationConfig" in value or "generation_config" in value:
        raise InputError(
            "a request has `config` (the SDK's shape) and `generation_config` (the REST shape)", hint="use one of them"
        )
    generation: dict[str, Any] = {}
    for name, field in config.items():
        place = camel(name)
        if place in _CLIENT_ONLY:
            continue
        if place in _BESIDE_CONTENTS:
            if place in value or snake(place) in value:
                raise InputError(f"`{name}` stands in `config` and in the request itself", hint="use one of them")
            value[place] = field
        elif place == "responseSchema" and isinstance(field, dict):
            generation |= {camel(spelling): schema for spelling, schema in placed_schema(field).items()}
        else:
            generation[place] = field
    return value | {"generationConfig": generation} if generation else value


def _with_legal_schema(generation: dict[str, Any]) -> dict[str, Any]:
    """`responseSchema` takes a subset of OpenAPI; a schema with more words in it belongs into the field beside it."""
    for name, other in (("responseSchema", "responseJsonSchema"), ("response_schema", "response_json_schema")):
        schema = generation.get(name)
        if isinstance(schema, dict) and other not in generation and "response_json_schema" in placed_schema(schema):
            generation = {other if field == name else field: value for field, value in generation.items()}
    return generation


def plain(value: Any) -> Any:
    """A deep copy in JSON's own types: SDK and pydantic values, schema classes, enums and bytes are translated.

    Bytes become URL-safe base64, as the SDK sends them. Raises InputError for functions, which no batch can call.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.urlsafe_b64encode(value).decode()
    if (schema := json_schema_of(value)) is not None:
        return schema
    fields = getattr(type(value), "model_fields", None)
    if fields is not None:  # a pydantic value, those of the SDK included: by alias, without what was not set
        found = ((field.serialization_alias or field.alias or name, name) for name, field in fields.items())
        return {alias: plain(item) for alias, name in found if (item := getattr(value, name)) is not None}
    if callable(value):
        raise InputError(
            f"a Python function ({getattr(value, '__name__', value)}) cannot be called by a batch",
            hint='declare it: tools=[{"function_declarations": [{"name": …, "parameters": {…}}]}]',
        )
    raise InputError(f"{type(value).__name__} has no place in a request")


def camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match.group(1).upper(), name)


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match.group(1).lower(), name)
