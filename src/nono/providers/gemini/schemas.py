"""Answer schemas: classes made into JSON Schema, and the choice of the field that a schema goes into.

The service takes two dialects: `responseSchema`, a small subset of OpenAPI whose unknown words are refused, and
`responseJsonSchema`, JSON Schema. https://ai.google.dev/gemini-api/docs/structured-output
"""

from __future__ import annotations

import types
import typing
from typing import Any

from nono.errors import InputError, MissingExtra

# https://ai.google.dev/api/caching#Schema, in both spellings
_OPENAPI_WORDS = frozenset(
    {
        *("type", "format", "title", "description", "nullable", "enum", "properties", "required", "items", "pattern"),
        *("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength", "anyOf"),
        *("min_items", "max_items", "min_properties", "max_properties", "min_length", "max_length", "any_of"),
        *("propertyOrdering", "property_ordering", "example", "default", "minimum", "maximum"),
    }
)
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object"})


def json_schema_of(given: Any) -> dict[str, Any] | None:
    """The JSON Schema of a class or a type (`Model`, `list[Model]`, a TypedDict, an Enum, …); None for anything else.

    Raises MissingExtra without pydantic.
    """
    if not isinstance(given, (type, types.GenericAlias, types.UnionType)) and typing.get_origin(given) is None:
        return None
    try:
        from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
    except ImportError as error:
        raise MissingExtra("a schema given as a class", "pydantic") from error
    try:
        schema: dict[str, Any] = in_one_piece(TypeAdapter(given).json_schema())
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise InputError(f"no JSON Schema can be made of {given!r}: {str(error).splitlines()[0]}") from error
    return schema


def placed_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The one field of generation_config for a schema: `response_schema` if its words suffice, else JSON Schema's.

    In the first, types are written in capitals, as the service's own documentation and SDK do.
    """
    if _is_openapi(schema):
        return {"response_schema": _capitals(schema)}
    return {"response_json_schema": schema}


def _is_openapi(schema: Any) -> bool:
    if not isinstance(schema, dict) or not set(schema) <= _OPENAPI_WORDS:
        return False
    kind, enum = schema.get("type"), schema.get("enum", [])
    if "type" in schema and not (isinstance(kind, str) and kind.lower() in _TYPES):
        return False
    if not isinstance(enum, list) or not all(isinstance(choice, str) for choice in enum):
        return False
    properties, choices = schema.get("properties", {}), schema.get("anyOf", schema.get("any_of", []))
    if not isinstance(properties, dict) or not isinstance(choices, list):
        return False
    inner = [*properties.values(), *choices, *([schema["items"]] if "items" in schema else [])]
    return all(map(_is_openapi, inner))


def _capitals(schema: dict[str, Any]) -> dict[str, Any]:
    result = dict(schema)
    if isinstance(schema.get("type"), str):
        result["type"] = schema["type"].upper()
    if "properties" in schema:
        result["properties"] = {name: _capitals(inner) for name, inner in schema["properties"].items()}
    if "items" in schema:
        result["items"] = _capitals(schema["items"])
    for word in ("anyOf", "any_of"):
        if word in schema:
            result[word] = [_capitals(choice) for choice in schema[word]]
    return result


def in_one_piece(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema as the service wants it: without references where it does not contain itself, its fields in order.

    Fields are answered in the order of `propertyOrdering`. Beside a `$ref` that has to stay nothing else may stand,
    though pydantic writes it: a choice of one says the same.
    """
    definitions = schema.get("$defs", {})
    endless = False

    def settle(node: Any, chain: tuple[str, ...]) -> Any:
        nonlocal endless
        if isinstance(node, list):
            return [settle(item, chain) for item in node]
        if not isinstance(node, dict):
            return node
        node = dict(node)
        name = node.get("$ref", "").removeprefix("#/$defs/")
        if name in chain:
            endless = True
        elif name in definitions and not endless:
            return settle(definitions[name] | {word: node[word] for word in node if word != "$ref"}, (*chain, name))
        if "$ref" in node and any(not word.startswith("$") for word in node):
            node = {"anyOf": [{"$ref": node.pop("$ref")}]} | node
        for word in ("items", "anyOf", "oneOf", "allOf", "prefixItems", "additionalProperties"):
            if word in node:
                node[word] = settle(node[word], chain)
        for word in ("properties", "$defs"):
            if isinstance(node.get(word), dict):
                node[word] = {key: settle(inner, chain) for key, inner in node[word].items()}
        if len(node.get("properties", {})) > 1:
            node.setdefault("propertyOrdering", list(node["properties"]))
        return node

    whole: dict[str, Any] = settle({word: value for word, value in schema.items() if word != "$defs"}, ())
    if endless:  # written out it would never end: the references stay, and what they refer to
        whole = settle(schema, ())
    return whole
