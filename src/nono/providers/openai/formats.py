"""Answer formats: from a pydantic model, a JSON Schema or OpenAI's own object to what each endpoint wants.

A schema goes out as `strict`, so the model cannot answer anything else; what strict mode refuses is refused here first.
https://platform.openai.com/docs/guides/structured-outputs
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nono.errors import InputError, MissingExtra
from nono.providers.openai.lint import complete, lint

_NATIVE_TYPES = frozenset({"text", "json_object", "json_schema"})
_SHOWN = 5


def response_format(wanted: Any, *, name: str | None = None) -> dict[str, Any]:
    """The `response_format` of a chat request.

    `wanted` is a pydantic model (or another type that pydantic can describe), a JSON Schema, or a `response_format`
    object, which stays as it is.

    Raises InputError, with every place, for a schema that strict mode refuses.
    """
    if isinstance(wanted, Mapping):
        if wanted.get("type") in _NATIVE_TYPES:
            return dict(wanted)
        schema = complete(wanted)
        name = name or (wanted["title"] if isinstance(wanted.get("title"), str) else None)
    else:
        described = _describe(wanted)
        try:
            schema = _strict(described, described)
        except RecursionError:
            raise InputError(
                f"{wanted!r} contains itself without an end",
                hint="make the field that closes the circle optional, and describe it outside of the reference",
            ) from None
        name = name or getattr(wanted, "__name__", None)
    if found := lint(schema):
        more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
        raise InputError(
            f"the schema is not one for strict structured outputs: {'; '.join(found[:_SHOWN])}{more}",
            hint="mend it, or pass the whole response_format object with strict false",
        )
    # https://platform.openai.com/docs/api-reference/chat/create: a-z, A-Z, 0-9, underscores and dashes, at most 64
    safe_name = re.sub(r"[^A-Za-z0-9_-]+", "_", name or "")[:64] or "answer"
    return {"type": "json_schema", "json_schema": {"name": safe_name, "strict": True, "schema": schema}}


def text_format(wanted: Any, *, name: str | None = None) -> dict[str, Any]:
    """The same as `text.format` of a Responses request, where the fields lie one level higher."""
    chat = response_format(wanted, name=name)
    inner = chat.get("json_schema")
    return {"type": "json_schema", **inner} if isinstance(inner, Mapping) else chat


def _describe(wanted: Any) -> dict[str, Any]:
    try:
        from pydantic import PydanticUserError, TypeAdapter
    except ImportError:
        raise MissingExtra("a schema given as a class", "pydantic") from None
    try:
        return TypeAdapter(wanted).json_schema()
    except PydanticUserError as error:
        raise InputError(
            f"{wanted!r} cannot be described as a JSON Schema: {error.message.splitlines()[0]}",
            hint="pass a pydantic model, a JSON Schema as a dict, or a response_format object",
        ) from error


def _strict(node: Any, root: Mapping[str, Any]) -> Any:
    """pydantic's schema as strict mode wants it: nothing optional, no defaults, no `$ref` with company.

    The answer names every field, so a default has nothing to stand in for. The same conversion as the official SDK's
    (`to_strict_json_schema`), except that it keeps defaults other than None, which the service then refuses.
    """
    if isinstance(node, list):
        return [_strict(each, root) for each in node]
    if not isinstance(node, Mapping):
        return node
    if isinstance(node.get("allOf"), list) and len(node["allOf"]) == 1:
        node = {**node["allOf"][0], **{key: value for key, value in node.items() if key != "allOf"}}
    if isinstance(node.get("$ref"), str) and len(node) > 1:
        target: Any = root
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        rest = {key: value for key, value in node.items() if key not in ("$ref", "default")}
        node = {**target, **rest} if rest else {"$ref": node["$ref"]}
    done = {
        {"oneOf": "anyOf"}.get(key, key): {name: _strict(each, root) for name, each in value.items()}
        if key in ("properties", "$defs")
        else _strict(value, root)
        for key, value in node.items()
        if key not in ("default", "discriminator")
    }
    if done.get("type") == "object":
        done.setdefault("additionalProperties", False)
        done["required"] = list(done.setdefault("properties", {}))
    return done
