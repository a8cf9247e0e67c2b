"""The shape of answers: parsed and checked against the task's schema, and cut into columns.

One column for each property at the top of the schema. Texts, whole numbers, numbers and truth values become such
columns; everything else (lists, objects, alternatives) stays JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from nono.errors import InputError
from nono.runs.plan import Column

# https://json-schema.org/understanding-json-schema/reference/type
_KINDS = {"string": "text", "integer": "int", "number": "float", "boolean": "bool"}


class Mismatch(InputError):
    """An answer that is not JSON, or not of the schema."""


class Shape:
    """The parsed columns of a schema, and the check of an answer against it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.columns = tuple(Column(name, _kind(schema, part)) for name, part in _properties(schema).items())
        self._validate = _compile(schema)

    def parse(self, text: str | None) -> tuple[Any, ...]:
        """The values of an answer's columns, None where it has none. Raises Mismatch."""
        if not text or not text.strip():
            raise Mismatch("the answer is empty")
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Mismatch(f"the answer is not JSON: {error}") from error
        self._validate(value)
        if not isinstance(value, dict):
            return (None,) * len(self.columns)
        return tuple(
            int(found) if isinstance(found := value.get(column.name), float) and column.kind == "int" else found
            for column in self.columns
        )


def _compile(schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    import fastjsonschema

    try:
        # Formats are notes, not rules, as providers read them; what a schema refers to has to be inside it.
        check = fastjsonschema.compile(
            dict(schema),
            use_default=False,
            use_formats=False,
            handlers=dict.fromkeys(("http", "https", "file"), _refuse),
        )
    except (fastjsonschema.JsonSchemaDefinitionException, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"the schema is not a JSON Schema: {error}") from error

    def validate(value: Any) -> None:
        try:
            check(value)
        except fastjsonschema.JsonSchemaValueException as error:
            raise Mismatch(f"the answer is not of the schema: {error.message}") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise Mismatch(f"the answer could not be checked: {error}") from error

    return validate


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is outside the schema")


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = _resolved(schema, schema).get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _resolved(schema: Mapping[str, Any], part: Any) -> Mapping[str, Any]:
    """A part of a schema, after its `$ref` into the schema itself."""
    for _ in range(8):
        if not isinstance(part, Mapping):
            return {}
        reference = part.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return part
        part = schema
        for key in reference[2:].split("/"):
            part = part.get(key.replace("~1", "/").replace("~0", "~"), {}) if isinstance(part, Mapping) else {}
    return {}


def _kind(schema: Mapping[str, Any], part: Any) -> str:
    part = _resolved(schema, part)
    alternatives = part.get("anyOf")
    if isinstance(alternatives, list):
        some = [one for one in alternatives if _resolved(schema, one).get("type") != "null"]
        return _kind(schema, some[0]) if len(some) == 1 else "json"
    named = part.get("type")
    if isinstance(named, list):
        some = [one for one in named if one != "null"]
        named = some[0] if len(some) == 1 else None
    if named is None and (options := part.get("enum")) and all(isinstance(one, str) for one in options):
        return "text"
    return _KINDS.get(named, "json") if isinstance(named, str) else "json"
