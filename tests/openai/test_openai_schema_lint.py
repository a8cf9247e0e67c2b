"""A schema that strict structured outputs refuse is known before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from nono.providers.openai import PROVIDER
from nono.providers.openai.lint import complete, lint


def closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    } | more


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        inner = closed({"a": inner})
    return inner


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    "schema",
    [
        closed({}),
        closed({"a": TEXT, "b": {"type": ["integer", "null"], "minimum": 0}}),
        closed({"a": {"type": "array", "items": closed({"x": TEXT}), "minItems": 1}}),
        closed({"a": {"anyOf": [TEXT, {"type": "null"}]}}),
        closed({"a": {"$ref": "#/$defs/X"}}, **{"$defs": {"X": closed({"next": {"$ref": "#/$defs/X"}})}}),
        closed({"a": {"enum": ["x", "y"]}, "b": {"const": 1}, "c": {"type": "string", "format": "date"}}),
        nested(10),
    ],
)
def test_a_good_schema_has_nothing_said_of_it(schema: dict[str, Any]) -> None:
    assert lint(schema) == []


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ("text", "$: a schema is an object, not str"),
        ({"type": "array", "items": TEXT}, "$: the root must be an object, not 'array'"),
        ({"anyOf": [closed({})]}, "$: the root must not be anyOf"),
        (closed({"a": TEXT}, additionalProperties=True), "$: 'additionalProperties' must be false"),
        (closed({"a": TEXT}, required=[]), "$: every property must be in 'required', and a is not"),
        (closed({"a": TEXT}, required=["a", "b"]), "$: 'required' names b, which 'properties' does not have"),
        (closed({"a": {"type": "string", "default": ""}}), "$.a: 'default' is not permitted"),
        (closed({"a": {"oneOf": [TEXT]}}), "$.a: 'oneOf' is not permitted; use anyOf"),
        (closed({"a": {"type": "text"}}), "$.a: there is no type 'text'"),
        (closed({"a": {"description": "x"}}), "$.a: a 'type' is missing"),
        (closed({"a": {"type": "array"}}), "$.a: an array needs 'items'"),
        (closed({"a": {"type": "array", "items": {"type": "object"}}}), "$.a.items: 'additionalProperties' must be"),
        (closed({"a": {"type": "string", "format": "uri"}}), "$.a: there is no format 'uri'"),
        (closed({"a": True}), "$.a: a schema is an object, not True"),
        (closed({}, **{"$defs": {"X": {"type": "object"}}}), "$.$defs.X: 'additionalProperties' must be false"),
        (closed({"a": {"anyOf": [TEXT, {"not": {}}]}}), "$.a.anyOf[1]: 'not' is not permitted"),
        (nested(11), "$.a.a.a.a.a.a.a.a.a.a: objects nest deeper than 10 levels"),
        (closed({f"p{n}": TEXT for n in range(5001)}), "$: 5,001 object properties, and at most 5,000 are taken"),
        (closed({"a": {"enum": list(range(1001))}}), "$: 1,001 enum values, and at most 1,000 are taken"),
        (closed({"a" * 120_001: TEXT}), "$: 120,001 characters in names and values, and at most 120,000 are taken"),
    ],
)
def test_what_is_refused_is_named_with_its_place(schema: Any, sentence: str) -> None:
    assert [said for said in lint(schema) if said.startswith(sentence)], lint(schema)


def test_completion_says_what_people_leave_out_and_keeps_what_they_said() -> None:
    given = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"}}, "b": TEXT}}
    assert lint(complete(given)) == []
    assert "required" not in given
    explicit = {"type": "object", "properties": {"a": TEXT}, "required": []}
    assert complete(explicit)["required"] == []


def test_a_run_is_told_what_completion_cannot_mend() -> None:
    assert PROVIDER.lint_schema({"type": "object", "properties": {"a": TEXT}}) == []
    assert PROVIDER.lint_schema({"type": "object", "properties": {"a": TEXT}, "required": []}) == [
        "$: every property must be in 'required', and a is not; make the type nullable instead"
    ]
