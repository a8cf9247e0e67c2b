"""Values for schemas: every keyword alone and together, checked by another validator; contradictions are told."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import fastjsonschema
import pytest

from nono.server.models.specimen import Unsatisfiable, specimen

NODE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "required": ["name", "children"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, Any] = {
    "true": True,
    "nothing asked": {},
    "enum": {"enum": ["a", 1, None]},
    "enum of a type": {"type": "string", "enum": ["a", 1, None]},
    "const": {"const": {"a": 1}},
    "string": {"type": "string", "minLength": 40, "maxLength": 41},
    "short string": {"type": "string", "maxLength": 3},
    "pattern": {"type": "string", "pattern": r"^[A-Z]{2}-\d{4}(x|y)?$"},
    "pattern and length": {"type": "string", "pattern": r"^\w+$", "minLength": 5, "maxLength": 8},
    "date-time": {"type": "string", "format": "date-time"},
    "email": {"type": "string", "format": "email"},
    "ipv4": {"type": "string", "format": "ipv4"},
    "uri": {"type": "string", "format": "uri"},
    "integer": {"type": "integer", "minimum": -3, "maximum": -3},
    "exclusive": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    "number": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
    "large": {"type": "number", "minimum": 1e12},
    "multiple": {"type": "integer", "minimum": 10, "multipleOf": 7},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "nullable": {"type": ["string", "null"]},
    "array": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
    "unique": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
    "tuple": {"type": "array", "items": [{"type": "integer"}, {"type": "string"}], "minItems": 2},
    "contains": {"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 90}, "minItems": 2},
    "no items": {"type": "array", "maxItems": 0},
    "object": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    "required without schema": {"type": "object", "required": ["a", "b"]},
    "mapping": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3},
    "pattern properties": {
        "type": "object",
        "patternProperties": {"^x-": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 2,
    },
    "max properties": {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"], "maxProperties": 1},
    "any of": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "one of": {"oneOf": [{"type": "integer"}, {"type": "string"}], "description": "either"},
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 50}, "b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    "all of references": {"allOf": [{"$ref": "#/definitions/a"}], "definitions": {"a": {"type": "boolean"}}},
    "reference": {"$ref": "#/$defs/a%", "$defs": {"a%": {"type": "integer"}}},
    "recursive": {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    "linked list": {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_value_fits_its_schema(name: str) -> None:
    schema = SCHEMAS[name]
    check = fastjsonschema.compile(schema, use_default=False)
    for seed in range(40):
        check(specimen(schema, Random(seed)))


def test_a_tuple_of_the_newest_draft_has_its_items_in_place() -> None:
    schema = {"type": "array", "prefixItems": [{"const": 1}, {"const": "two"}], "items": False, "minItems": 2}
    assert specimen(schema, Random(1)) == [1, "two"]


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("date", r"20\d\d-\d\d-\d\d"),
        ("time", r"\d\d:\d\d:\d\dZ"),
        ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}"),
        ("hostname", r"[a-z]+\.example\.com"),
        ("duration", r"PT\d+M"),
    ],
)
def test_a_format_is_kept(form: str, pattern: str) -> None:
    assert re.fullmatch(pattern, specimen({"type": "string", "format": form}, Random(7)))


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{2,3}-\d{4}(\.\w+)?$",
        r"^(?=.*\d)(?=.*[a-z]).{8,}$",
        r"^[^\s@]+@[^\s@]+\.[a-z]{2,}$",
        r"^(foo|bar)-\1$",
        r"^(a)?(?(1)b|c)$",
        r"(?i)^yes$",
        r"^[0-9a-f]{128}$",
        r"^\D\S\W$",
        r"^[\u4e00-\u9fff]{2}$",
        r"^(?>a+)b++$",
        "",
    ],
)
def test_a_text_matches_its_pattern(pattern: str) -> None:
    for seed in range(20):
        assert re.search(pattern, specimen({"type": "string", "pattern": pattern}, Random(seed)))


def test_a_pattern_and_a_length_go_together() -> None:
    text = specimen({"type": "string", "pattern": "^[a-z]+$", "minLength": 100, "maxLength": 110}, Random(1))
    assert 100 <= len(text) <= 110


@pytest.mark.parametrize("pattern", ["^a{4000000000}$", "^((((((a*)*)*)*)*)*)*b{20000}$", "^[^\\s\\S]$"])
def test_a_pattern_without_a_reasonable_text_is_refused_at_once(pattern: str) -> None:
    with pytest.raises(Unsatisfiable):
        specimen({"type": "string", "pattern": pattern}, Random(1))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 10**9},
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
        {"type": "array", "minItems": 1_000, "items": {"type": "array", "minItems": 1_000, "items": {"type": "null"}}},
    ],
)
def test_a_value_of_absurd_size_is_refused_at_once(schema: Any) -> None:
    with pytest.raises(Unsatisfiable, match="larger value than is made here"):
        specimen(schema, Random(1))


def test_an_object_of_any_kind_is_not_empty() -> None:
    assert len(specimen({"type": "object"}, Random(1))) == 1
    assert len(specimen({"type": "object", "additionalProperties": {"type": "integer"}}, Random(1))) == 1
    assert specimen({"type": "object", "properties": {}}, Random(1)) == {}


def test_the_same_seed_gives_the_same_value() -> None:
    assert specimen(SCHEMAS["recursive"], Random(3)) == specimen(SCHEMAS["recursive"], Random(3))


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (False, "a schema `false` accepts nothing"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no number lies between 5 and 4"),
        ({"type": "integer", "minimum": 0.2, "maximum": 0.8}, "no whole number lies between 0.2 and 0.8"),
        ({"type": "string", "minLength": 5, "maxLength": 4}, "'minLength' 5 is above 'maxLength' 4"),
        ({"type": "array", "minItems": 2, "maxItems": 1}, "'minItems' 2 is above 'maxItems' 1"),
        ({"type": "animal"}, "'animal' is not a JSON Schema type"),
        ({"$ref": "#/$defs/a"}, "'$ref' to '#/$defs/a': there is nothing at '$defs'"),
        ({"$ref": "https://example.com/a"}, "'$ref' to 'https://example.com/a': only references inside the schema"),
        ({"$ref": "#"}, "the schema requires itself without end"),
        ({"type": "string", "pattern": "("}, "pattern '(' cannot be followed"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "the schema asks for two types at once"),
        (
            {"type": "array", "items": {"enum": [1]}, "uniqueItems": True, "minItems": 2},
            "'uniqueItems' asks for more different values than there are",
        ),
    ],
)
def test_a_contradiction_is_named(schema: Any, why: str) -> None:
    with pytest.raises(Unsatisfiable) as error:
        specimen(schema, Random(1))
    assert str(error.value).startswith(why)
