"""What the service would refuse in an answer schema (`responseJsonSchema`), told before fifty thousand rows fail on it.

Only refusals are reported: words that the service does not know are ignored by it, not refused.
https://ai.google.dev/api/generate-content#FIELDS.response_json_schema
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_LISTS = ("anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions")


def lint_schema(schema: Mapping[str, Any]) -> list[str]:
    """One sentence with its place for everything that would be refused; empty if nothing."""
    return [*_walk(schema, schema, "$"), *_endless(schema)]


def _walk(node: Any, root: Mapping[str, Any], place: str) -> Iterator[str]:
    if isinstance(node, bool):
        return
    if not isinstance(node, Mapping):
        yield f"{place}: a schema is an object, not {type(node).__name__}"
        return
    if "$ref" in node:
        yield from _reference(node, root, place)
        for word in ("$defs", "definitions"):
            yield from _walk_map(node.get(word, {}), root, f"{place}.{word}")
        return
    yield from _own_words(node, place)
    for word in _MAPS:
        if word in node:
            yield from _walk_map(node[word], root, f"{place}.{word}")
    for word in _LISTS:
        if word not in node:
            continue
        if not isinstance(node[word], list) or not node[word]:
            yield f"{place}.{word}: a list with at least one schema in it"
            continue
        for index, inner in enumerate(node[word]):
            yield from _walk(inner, root, f"{place}.{word}[{index}]")
    for word in ("items", "additionalProperties"):
        if word in node:
            yield from _walk(node[word], root, f"{place}.{word}")


def _walk_map(schemas: Any, root: Mapping[str, Any], place: str) -> Iterator[str]:
    if not isinstance(schemas, Mapping):
        yield f"{place}: an object of schemas, not {type(schemas).__name__}"
        return
    for name, inner in schemas.items():
        yield from _walk(inner, root, f"{place}.{name}")


def _own_words(node: Mapping[str, Any], place: str) -> Iterator[str]:
    kinds = node.get("type")
    for kind in kinds if isinstance(kinds, list) else [] if kinds is None else [kinds]:
        if not isinstance(kind, str) or kind not in _TYPES:
            lower = kind.lower() if isinstance(kind, str) else None
            wanted = f"{lower!r}" if lower in _TYPES else f"one of {', '.join(sorted(_TYPES))}"
            yield f"{place}.type: {kind!r} is not a type of JSON Schema; it should be {wanted}"
    if kinds == "array" and "items" not in node and "prefixItems" not in node:
        yield f"{place}: an array does not say what its items are"
    choices = node.get("enum")
    if choices is not None and (not isinstance(choices, list) or not choices):
        yield f"{place}.enum: a list with at least one value in it"
    elif choices and not all(isinstance(choice, (str, int, float)) for choice in choices if choice is not None):
        yield f"{place}.enum: only texts and numbers can be chosen from"
    required, properties = node.get("required"), node.get("properties")
    if required is not None and not isinstance(required, list):
        yield f"{place}.required: a list of names"
    elif required and isinstance(properties, Mapping):
        for name in required:
            if name not in properties:
                yield f"{place}.required: {name!r} is not among the properties"
    for low, high in (("minItems", "maxItems"), ("minimum", "maximum")):
        least, most = node.get(low), node.get(high)
        if isinstance(least, (int, float)) and isinstance(most, (int, float)) and least > most:
            yield f"{place}: {low} {least} is above {high} {most}"


def _reference(node: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    beside = sorted(word for word in node if not word.startswith("$"))
    if beside:
        yield f"{place}: beside $ref only words that start with $ may stand, not {', '.join(beside)}"
    if _resolved(node["$ref"], root) is None:
        yield f"{place}.$ref: {node['$ref']!r} points nowhere inside the schema"


def _resolved(reference: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    node: Any = root
    for step in filter(None, reference[1:].split("/")):
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if not isinstance(node, Mapping) or key not in node:
            return None
        node = node[key]
    return node


def _endless(root: Mapping[str, Any]) -> Iterator[str]:
    """Recursion is unrolled to a limited degree, so it may go through properties that are not required only."""
    told: set[str] = set()

    def visit(node: Any, chain: tuple[str, ...]) -> Iterator[str]:
        if not isinstance(node, Mapping):
            return
        if isinstance(reference := node.get("$ref"), str):
            if reference in chain:
                if reference not in told:
                    told.add(reference)
                    yield f"$: {reference} contains itself through required properties; make one of them optional"
                return
            yield from visit(_resolved(reference, root), (*chain, reference))
            return
        properties = node.get("properties")
        required = node.get("required")
        if isinstance(properties, Mapping) and isinstance(required, list):
            for name in required:
                yield from visit(properties.get(name), chain)

    yield from visit(root, ())
    definitions = root.get("$defs")
    if isinstance(definitions, Mapping):
        for name, definition in definitions.items():
            yield from visit(definition, (f"#/$defs/{name}",))
