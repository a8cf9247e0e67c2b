"""Simulated moderation: all categories and scores of OpenAI's newest model, and a verdict from a handful of words.

It cannot see harm: the words only make both verdicts possible.  Pictures are taken and never flagged.
https://platform.openai.com/docs/api-reference/moderations/object
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from zlib import crc32

from nono.server.models.directives import obey
from nono.server.models.refusals import Refused, check_fields, invalid_type, invalid_value, missing

# Category → what kinds of input it is applied to.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "harassment": ("text",),
    "harassment/threatening": ("text",),
    "hate": ("text",),
    "hate/threatening": ("text",),
    "illicit": ("text",),
    "illicit/violent": ("text",),
    "self-harm": ("text", "image"),
    "self-harm/intent": ("text", "image"),
    "self-harm/instructions": ("text", "image"),
    "sexual": ("text", "image"),
    "sexual/minors": ("text",),
    "violence": ("text", "image"),
    "violence/graphic": ("text", "image"),
}
ALARMING = {
    "kill": "violence",
    "murder": "violence",
    "hurt": "violence",
    "gore": "violence/graphic",
    "hate": "hate",
    "idiot": "harassment",
    "suicide": "self-harm",
    "bomb": "illicit/violent",
    "cocaine": "illicit",
    "naked": "sexual",
}
_KINDS = {"text": "text", "image_url": "image"}
_WORD = re.compile(r"[a-z]+")
_FIELDS = frozenset({"model", "input"})


def moderate(body: Mapping[str, Any]) -> dict[str, Any]:
    """One verdict for each text of a list; one for a text, or for the parts of one message. Raises Refused."""
    check_fields(body, _FIELDS)
    results = [_verdict(parts) for parts in _items(body.get("input"))]
    seed = crc32(repr(body.get("input")).encode("utf-8", "surrogatepass"))
    return {
        "id": f"modr-simulated{seed:08x}",
        "model": body.get("model") or "omni-moderation-latest",
        "results": results,
    }


def _items(given: Any) -> list[list[Mapping[str, Any]]]:
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        raise invalid_type("input", "a string, an array of strings or an array of objects", given)
    if given and all(isinstance(one, str) for one in given):
        return [[{"type": "text", "text": one}] for one in given]
    if not given or not all(isinstance(one, Mapping) for one in given):
        raise Refused("'$.input' is invalid. Please check the API reference: "
                      "https://platform.openai.com/docs/api-reference.")  # fmt: skip
    for number, part in enumerate(given):
        _check_part(part, f"input[{number}]")
    return [given]


def _check_part(part: Mapping[str, Any], place: str) -> None:
    kind = part.get("type")
    if kind is None:
        raise missing(f"{place}.type")
    if kind not in _KINDS:
        raise invalid_value(f"{place}.type", f"Invalid value: '{kind}'. Supported values are: 'text' and 'image_url'.")
    inner = part.get(kind)
    if inner is None:
        raise missing(f"{place}.{kind}")
    if kind == "text" and not isinstance(inner, str):
        raise invalid_type(f"{place}.text", "a string", inner)
    if kind == "image_url" and not (isinstance(inner, Mapping) and isinstance(inner.get("url"), str)):
        raise invalid_type(f"{place}.image_url", "an object with a 'url'", inner)


def _verdict(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    text = " ".join(part["text"] for part in parts if part["type"] == "text")
    obey(text)
    given = {_KINDS[part["type"]] for part in parts}
    alarms = {ALARMING[word] for word in _WORD.findall(text.lower()) if word in ALARMING}
    noise = text.encode("utf-8", "surrogatepass")
    return {
        "flagged": bool(alarms),
        "categories": {name: name in alarms for name in CATEGORIES},
        "category_scores": {
            name: 0.9 if name in alarms else crc32(noise, index) % 1000 / 1e6 for index, name in enumerate(CATEGORIES)
        },
        "category_applied_input_types": {
            name: [kind for kind in kinds if kind in given] for name, kinds in CATEGORIES.items()
        },
    }
