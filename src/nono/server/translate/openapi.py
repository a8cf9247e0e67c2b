"""Gemini's `responseSchema`, a small dialect of OpenAPI, as JSON Schema. https://ai.google.dev/api/caching#Schema"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nono.errors import InputError

_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_SAME = ("title", "description", "enum", "required", "default", "minimum", "maximum", "pattern", "additionalProperties")
# int64 travels as a text in JSON.
_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength")
# `int32`, `double`, `enum` … say nothing that JSON Schema could hold anybody to.
_FORMATS = frozenset({"date", "time", "date-time", "duration"})


def to_json_schema(schema: Mapping[str, Any], place: str = "responseSchema") -> dict[str, Any]:
    """The schema that says the same, its fields in the order asked for. Field names of `schema` are in camelCase.

    Raises InputError for a type that there is not.
    """
    result: dict[str, Any] = {name: schema[name] for name in _SAME if name in schema}
    kind = str(schema.get("type", "")).lower()
    if kind and kind != "type_unspecified":
        if kind not in _TYPES:
            raise InputError(f"Invalid value at '{place}.type': {schema['type']!r}")
        result["type"] = kind
    for name in _COUNTS:
        if name in schema:
            result[name] = _whole(schema[name], f"{place}.{name}")
    if schema.get("format") in _FORMATS:
        result["format"] = schema["format"]
    if "items" in schema:
        result["items"] = to_json_schema(schema["items"], f"{place}.items")
    if "anyOf" in schema:
        result["anyOf"] = [
            to_json_schema(choice, f"{place}.anyOf[{number}]") for number, choice in enumerate(schema["anyOf"])
        ]
    if "properties" in schema:
        properties = schema["properties"]
        order = [name for name in schema.get("propertyOrdering") or () if name in properties]
        result["properties"] = {
            name: to_json_schema(properties[name], f"{place}.properties.{name}")
            for name in dict.fromkeys([*order, *properties])
        }
    if "defs" in schema:
        result["$defs"] = {
            name: to_json_schema(inner, f"{place}.defs.{name}") for name, inner in schema["defs"].items()
        }
    if "ref" in schema:
        result["$ref"] = schema["ref"]
    return _nullable(result) if schema.get("nullable") else result


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema or "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema | {"type": [schema["type"], "null"]}


def _whole(value: Any, place: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InputError(f"Invalid value at '{place}': {value!r} is no whole number") from None
