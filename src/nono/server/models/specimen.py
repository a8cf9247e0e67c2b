"""A value that fits a JSON Schema: what the simulated model answers when a schema is asked for.

The same schema and the same `Random` give the same value.  Covers the keywords that the providers' structured outputs
know and the common ones beyond; a schema that nothing finite can satisfy raises `Unsatisfiable`.  Knows nothing of
models or requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from nono.server.models.specimen_merging import Schema, as_list, merge
from nono.server.models.specimen_numbers import integer_for, number_for
from nono.server.models.specimen_texts import WORDS, Unsatisfiable, matching, text_for

__all__ = ["Unsatisfiable", "specimen"]

# Below this depth only what is required is built, so that schemas that contain themselves come to an end.
_LEAN_DEPTH = 6
_DEEPEST = 40
# What one value may cost: each of its parts counts, and every ten characters that are asked for. `minItems` and
# `minLength` cost nothing to write down, and a thousand million of them would end the server.
_BUDGET = 100_000


def specimen(schema: Schema, random: Random) -> Any:
    """One value that fits `schema`.

    Raises Unsatisfiable for contradictory bounds, references that lead nowhere, endless required recursion and
    patterns that are not Python regular expressions.
    """
    return _value(schema, _Scope(schema, random), 0)


class _Scope:
    """What stays the same all the way down: the root that references point into, and the source of choices."""

    def __init__(self, root: Schema, random: Random) -> None:
        self.root = root
        self.random = random
        self._left = _BUDGET

    def spend(self, parts: int) -> None:
        self._left -= parts
        if self._left < 0:
            raise Unsatisfiable("the schema asks for a larger value than is made here")

    def follow(self, reference: str) -> Schema:
        if not reference.startswith("#"):
            raise Unsatisfiable(f"'$ref' to {reference!r}: only references inside the schema can be followed")
        place: Any = self.root
        for step in filter(None, reference[1:].split("/")):
            step = step.replace("~1", "/").replace("~0", "~")
            try:
                place = place[int(step)] if isinstance(place, list) else place[step]
            except (KeyError, IndexError, ValueError, TypeError):
                raise Unsatisfiable(f"'$ref' to {reference!r}: there is nothing at {step!r}") from None
        return place  # type: ignore[no-any-return]


def _value(schema: Schema, scope: _Scope, depth: int) -> Any:
    if depth > _DEEPEST:
        raise Unsatisfiable("the schema requires itself without end")
    scope.spend(1)
    if isinstance(schema, bool) or not schema:
        if schema is False:
            raise Unsatisfiable("a schema `false` accepts nothing")
        return scope.random.choice(WORDS)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return _one_of_enum(schema, scope)
    for keyword, build in _COMBINED.items():
        if keyword in schema:
            return build(schema, scope, depth)
    return _TYPED[_type_of(schema, scope)](schema, scope, depth)


def _one_of_enum(schema: Mapping[str, Any], scope: _Scope) -> Any:
    values = [value for value in schema["enum"] if _has_type(value, schema.get("type"))]
    if not values:
        raise Unsatisfiable("'enum' has no value of the schema's type")
    return scope.random.choice(values)


# --- schemas made of schemas ---------------------------------------------------------------------------------------


def _referenced(schema: Mapping[str, Any], scope: _Scope, depth: int) -> Any:
    target = scope.follow(schema["$ref"])
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    constraints = {key: value for key, value in rest.items() if key not in _ANNOTATIONS}
    return _value(merge(target, constraints) if constraints else target, scope, depth + 1)


def _all_of(schema: Mapping[str, Any], scope: _Scope, depth: int) -> Any:
    merged: Schema = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        while isinstance(part, Mapping) and "$ref" in part:
            part = merge(scope.follow(part["$ref"]), {key: value for key, value in part.items() if key != "$ref"})
            depth += 1
            if depth > _DEEPEST:
                raise Unsatisfiable("'allOf' refers to itself without end")
        merged = merge(merged, part)
    return _value(merged, scope, depth + 1)


def _alternatives(keyword: str) -> Callable[[Mapping[str, Any], _Scope, int], Any]:
    def choose(schema: Mapping[str, Any], scope: _Scope, depth: int) -> Any:
        rest = {key: value for key, value in schema.items() if key != keyword}
        branches = list(schema[keyword])
        scope.random.shuffle(branches)
        if depth >= _LEAN_DEPTH:
            branches.sort(key=_weight)
        failure = Unsatisfiable(f"'{keyword}' has no branches")
        for branch in branches:
            try:
                return _value(merge(rest, branch), scope, depth + 1)
            except Unsatisfiable as error:
                failure = error
        raise failure

    return choose


def _weight(schema: Schema) -> int:
    """How far a branch may lead: plain values first, references last."""
    if isinstance(schema, bool) or "const" in schema or "enum" in schema:
        return 0
    return 3 if "$ref" in schema else 2 if schema.get("type") in ("object", "array") else 1


_COMBINED: dict[str, Callable[[Mapping[str, Any], _Scope, int], Any]] = {
    "$ref": _referenced,
    "allOf": _all_of,
    "anyOf": _alternatives("anyOf"),
    "oneOf": _alternatives("oneOf"),
}
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$comment", "$defs", "definitions", "$schema"})
# --- schemas of one type -------------------------------------------------------------------------------------------


def _type_of(schema: Mapping[str, Any], scope: _Scope) -> str:
    declared = schema.get("type")
    if declared is None:
        return next((kind for keyword, kind in _TELLTALE.items() if keyword in schema), "string")
    kinds = [kind for kind in as_list(declared) if kind != "null"] or ["null"]
    kind = scope.random.choice(kinds)
    if kind not in _TYPED:
        raise Unsatisfiable(f"{kind!r} is not a JSON Schema type")
    return str(kind)


_TELLTALE = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "patternProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "multipleOf": "number",
}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
    "integer": (int,),
    "number": (int, float),
}


def _has_type(value: Any, declared: Any) -> bool:
    return declared is None or any(
        isinstance(value, _PYTHON_TYPES.get(kind, ()))
        and (kind not in ("integer", "number") or not isinstance(value, bool))
        for kind in as_list(declared)
    )


def _object(schema: Mapping[str, Any], scope: _Scope, depth: int) -> dict[str, Any]:
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    required = list(schema.get("required") or ())
    at_most = schema.get("maxProperties", len(properties) + len(required) + schema.get("minProperties", 0))
    built: dict[str, Any] = {}
    for name, inner in properties.items():
        if name in required:
            built[name] = _value(inner, scope, depth + 1)
        elif depth < _LEAN_DEPTH and len(built) + sum(key not in built for key in required) < at_most:
            try:
                built[name] = _value(inner, scope, depth + 1)
            except Unsatisfiable:
                continue  # an optional property that nothing fits is left out
    for name in required:
        if name not in built:
            built[name] = _value(_schema_of_further(schema, name), scope, depth + 1)
    names = _further_names(schema, scope)
    wanted = schema.get("minProperties", 0)
    if "properties" not in schema and schema.get("additionalProperties") is not False and depth < _LEAN_DEPTH:
        wanted = max(wanted, 1)  # any object, a mapping: show one entry
    while len(built) < min(wanted, at_most if "maxProperties" in schema else wanted):
        name = next(names)
        if name not in built:
            built[name] = _value(_schema_of_further(schema, name), scope, depth + 1)
    return built


def _schema_of_further(schema: Mapping[str, Any], name: str) -> Schema:
    for pattern, inner in (schema.get("patternProperties") or {}).items():
        if re.search(pattern, name):
            return inner  # type: ignore[no-any-return]
    return schema.get("additionalProperties", True)  # type: ignore[no-any-return]


def _further_names(schema: Mapping[str, Any], scope: _Scope) -> Iterator[str]:
    names = schema.get("propertyNames")
    patterns = list(schema.get("patternProperties") or ())
    for number in range(10_000):
        if isinstance(names, Mapping):
            yield str(_value(names, scope, 0))
        elif patterns:
            yield _longer(patterns[number % len(patterns)], scope.random)
        else:
            yield f"{WORDS[number % len(WORDS)]}{number // len(WORDS) or ''}"
    raise Unsatisfiable("'minProperties' asks for more names than can be found")


def _longer(pattern: str, random: Random) -> str:
    """A name that matches, made longer where the pattern lets it: `^x-` alone gives but one."""
    name = matching(pattern, random)
    longer = f"{name}{random.choice(WORDS)}"
    return longer if re.search(pattern, longer) else name


def _text(schema: Mapping[str, Any], scope: _Scope, depth: int) -> str:
    scope.spend(int(schema.get("minLength", 0)) // 10)
    return text_for(schema, scope.random)


def _array(schema: Mapping[str, Any], scope: _Scope, depth: int) -> list[Any]:
    fixed = list(schema.get("prefixItems") or ())
    items: Schema = schema.get("items", True)
    if isinstance(items, list):  # drafts before 2020-12
        fixed, items = items, schema.get("additionalItems", True)
    at_least = int(schema.get("minItems", 0))
    at_most = int(schema["maxItems"]) if "maxItems" in schema else max(at_least, len(fixed), 3)
    if at_least > at_most:
        raise Unsatisfiable(f"'minItems' {at_least} is above 'maxItems' {at_most}")
    count = (
        at_least if depth >= _LEAN_DEPTH else max(at_least, min(at_most, max(len(fixed), scope.random.randint(1, 3))))
    )
    if items is False:
        count = min(count, len(fixed))
    contained = schema.get("contains")
    if contained is not None:
        count = max(count, min(at_most, int(schema.get("minContains", 1))))
    built: list[Any] = []
    tries = 0
    while len(built) < count:
        place = len(built)
        inner = fixed[place] if place < len(fixed) else items
        if contained is not None and place >= len(fixed) and place >= count - int(schema.get("minContains", 1)):
            inner = merge(inner, contained)
        try:
            value = _value(inner, scope, depth + 1)
        except Unsatisfiable:
            if place >= at_least:
                break
            raise
        tries += 1
        if schema.get("uniqueItems") and any(value == other and type(value) is type(other) for other in built):
            if tries > 50 * (count + 1):
                if place >= at_least:
                    break
                raise Unsatisfiable("'uniqueItems' asks for more different values than there are")
            continue
        built.append(value)
    return built


_TYPED: dict[str, Callable[[Mapping[str, Any], _Scope, int], Any]] = {
    "string": _text,
    "integer": lambda schema, scope, depth: integer_for(schema, scope.random),
    "number": lambda schema, scope, depth: number_for(schema, scope.random),
    "boolean": lambda schema, scope, depth: scope.random.random() < 0.5,
    "null": lambda schema, scope, depth: None,
    "array": _array,
    "object": _object,
}
