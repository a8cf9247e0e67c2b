"""What OpenAI's strict structured outputs refuse in a JSON Schema, known before 50,000 requests carry it.

`complete` adds what a strict schema must say and people leave out; `lint` names what is still wrong. The rules:
https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nono.facts import read_facts

FACTS = read_facts("openai")

_REFUSED = frozenset({
    "allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies",
    "patternProperties", "propertyNames", "unevaluatedProperties", "unevaluatedItems", "minProperties",
    "maxProperties", "contains", "minContains", "maxContains", "uniqueItems", "prefixItems", "default",
})  # fmt: skip
_INSTEAD = {
    "oneOf": "use anyOf",
    "default": "leave it out, or describe it in `description`",
    "allOf": "write the merged object out",
    "uniqueItems": "say it in `description`, and check it yourself",
}
_TYPES = frozenset({"string", "number", "boolean", "integer", "object", "array", "null"})
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})


def complete(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which every object is closed, and an object that names no `required` requires all its properties.

    An explicit `required` or `additionalProperties` stays as it is: it is somebody's intention; `lint` speaks of it.
    """
    return {**_completed(schema)} if isinstance(schema, Mapping) else schema


def _completed(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return [_completed(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    done = {
        key: {name: _completed(each) for name, each in value.items()}
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping)
        else _completed(value)
        if key in ("items", "anyOf", "allOf", "oneOf")
        else value
        for key, value in node.items()
    }
    if _is_object(node):
        done.setdefault("additionalProperties", False)
        done.setdefault("properties", {})
        done.setdefault("required", list(done["properties"]))
    return done


def lint(schema: Any) -> list[str]:
    """What the service would refuse, one sentence with its place each; empty if nothing."""
    if not isinstance(schema, Mapping):
        return [f"$: a schema is an object, not {type(schema).__name__}"]
    return [*_root(schema), *_walk(schema, "$", 1), *_sizes(schema)]


def _root(schema: Mapping[str, Any]) -> Iterator[str]:
    if "anyOf" in schema:
        yield "$: the root must not be anyOf; wrap it in an object with one property"
    elif not _is_object(schema) and "$ref" not in schema:
        yield f"$: the root must be an object, not {schema.get('type')!r}; wrap it in an object with one property"


def _walk(node: Any, place: str, depth: int) -> Iterator[str]:
    if not isinstance(node, Mapping):
        yield f"{place}: a schema is an object, not {node!r}"
        return
    for key in node:
        if key in _REFUSED:
            yield f"{place}: {key!r} is not permitted; {_INSTEAD.get(key, 'leave it out')}"
    types = node.get("type")
    for name in types if isinstance(types, list) else [types]:
        if name is not None and name not in _TYPES:
            yield f"{place}: there is no type {name!r}"
    if types is None and not node.keys() & {"$ref", "anyOf", "enum", "const", "oneOf", "allOf"}:
        yield f"{place}: a 'type' is missing"
    if (name := node.get("format")) is not None and name not in _FORMATS:
        yield f"{place}: there is no format {name!r}; those known are {', '.join(sorted(_FORMATS))}"
    if _is_object(node):
        yield from _object(node, place, depth)
    if "array" in (types if isinstance(types, list) else [types]) and "items" not in node:
        yield f"{place}: an array needs 'items'"
    if "items" in node:
        yield from _walk(node["items"], f"{place}.items", depth)
    for number, each in enumerate(_listed(node.get("anyOf"))):
        yield from _walk(each, f"{place}.anyOf[{number}]", depth)
    for table in ("$defs", "definitions"):
        for name, each in _named(node.get(table)):
            yield from _walk(each, f"{place}.{table}.{name}", 1)


def _object(node: Mapping[str, Any], place: str, depth: int) -> Iterator[str]:
    most = FACTS.number("schema.nesting_levels")
    if depth == most + 1:
        yield f"{place}: objects nest deeper than {most} levels"
    if node.get("additionalProperties") is not False:
        yield f"{place}: 'additionalProperties' must be false"
    properties = dict(_named(node.get("properties")))
    required = _listed(node.get("required"))
    if optional := [name for name in properties if name not in required]:
        yield (
            f"{place}: every property must be in 'required', and {', '.join(optional)} "
            f"{'is' if len(optional) == 1 else 'are'} not; make the type nullable instead"
        )
    if unknown := [str(name) for name in required if name not in properties]:
        yield f"{place}: 'required' names {', '.join(unknown)}, which 'properties' does not have"
    for name, each in properties.items():
        yield from _walk(each, f"{place}.{name}", depth + 1)


def _sizes(schema: Mapping[str, Any]) -> Iterator[str]:
    properties = enum_values = chars = 0
    for node in _nodes(schema):
        names = [name for name, _ in _named(node.get("properties"))]
        values = _listed(node.get("enum"))
        definitions = [name for table in ("$defs", "definitions") for name, _ in _named(node.get(table))]
        properties += len(names)
        enum_values += len(values)
        texts = [*names, *definitions, *values, node.get("const")]
        chars += sum(len(text) for text in texts if isinstance(text, str))
    for found, fact in ((properties, "properties"), (enum_values, "enum_values"), (chars, "chars")):
        limit = FACTS[f"schema.{fact}"]
        if found > limit.value:
            yield f"$: {found:,} {limit.unit}, and at most {limit.value:,} are taken"


def _nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(node, Mapping):
        return
    yield node
    inner = [node.get("items"), *_listed(node.get("anyOf"))]
    inner += [each for table in ("properties", "$defs", "definitions") for _, each in _named(node.get(table))]
    for each in inner:
        yield from _nodes(each)


def _is_object(node: Mapping[str, Any]) -> bool:
    types = node.get("type")
    return types == "object" or (isinstance(types, list) and "object" in types) or ("properties" in node)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _named(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []
