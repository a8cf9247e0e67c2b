"""Two JSON Schemas as one that asks for what both ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nono.server.models.specimen_texts import Unsatisfiable

Schema = Mapping[str, Any] | bool


def as_list(kinds: Any) -> list[Any]:
    return kinds if isinstance(kinds, list) else [kinds]


_TIGHTER: dict[str, Callable[[Any, Any], Any]] = {
    "minimum": max,
    "exclusiveMinimum": max,
    "minLength": max,
    "minItems": max,
    "minProperties": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "maxLength": min,
    "maxItems": min,
    "maxProperties": min,
    "required": lambda one, other: list(dict.fromkeys([*one, *other])),
    "properties": lambda one, other: {
        key: merge(one[key], other[key]) if key in one and key in other else {**one, **other}[key]
        for key in {**one, **other}
    },
    "enum": lambda one, other: [value for value in one if value in other],
    "type": lambda one, other: [kind for kind in as_list(one) if kind in as_list(other)] or [_contradiction()],
    "allOf": lambda one, other: [*one, *other],
}


def _contradiction() -> str:
    raise Unsatisfiable("the schema asks for two types at once")


def merge(one: Schema, other: Schema) -> Schema:
    """A schema that asks for what both ask for."""
    if isinstance(one, bool):
        return other if one else False
    if isinstance(other, bool):
        return one if other else False
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _TIGHTER.get(key, lambda _, new: new)(merged[key], value) if key in merged else value
    return merged
