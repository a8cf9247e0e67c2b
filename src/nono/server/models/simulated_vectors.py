"""Simulated embeddings: unit vectors that depend on the text alone. Equal texts have equal vectors, others nearly
orthogonal ones: nothing is near to anything by meaning.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import Mapping
from random import Random
from sys import byteorder
from typing import Any
from zlib import crc32

from nono.server.models.directives import BEGIN, obey
from nono.server.models.refusals import (
    Refused,
    array_too_long,
    check_fields,
    check_number,
    invalid_type,
    invalid_value,
    missing,
)
from nono.server.models.simulated_chat import tokens_in

# https://platform.openai.com/docs/guides/embeddings and https://ai.google.dev/gemini-api/docs/embeddings
DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    "gemini-embedding-001": 3072,
    "gemini-embedding-2": 3072,
    "gemini-embedding-2-preview": 3072,
    "text-embedding-004": 768,
    "embedding-001": 768,
}
DEFAULT_DIMENSIONS = 768
LARGEST_DIMENSIONS = 4096
_FIXED = frozenset({"text-embedding-ada-002"})
# https://platform.openai.com/docs/api-reference/embeddings/create (`input`)
MOST_INPUTS = 2048
CONTEXT_TOKENS = 8192
_FIELDS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


def embed(body: Mapping[str, Any]) -> dict[str, Any]:
    """The vectors of all inputs, in order. Raises Refused."""
    check_fields(body, _FIELDS)
    packing = body.get("encoding_format") or "float"
    if packing not in ("float", "base64"):
        raise invalid_value(
            "encoding_format", f"Invalid value: {packing!r}. Supported values are: 'float' and 'base64'."
        )
    inputs = _inputs(body.get("input"))
    dimensions = _dimensions(body)
    data = []
    total = 0
    for index, given in enumerate(inputs):
        tokens = tokens_in(given) if isinstance(given, str) else len(given)
        if tokens > CONTEXT_TOKENS:
            raise Refused(
                f"This model's maximum context length is {CONTEXT_TOKENS} tokens, however you requested {tokens} "
                f"tokens ({tokens} in your prompt; 0 for the completion). Please reduce your prompt; or completion "
                "length."
            )
        if isinstance(given, str) and BEGIN in given:
            obey(given)
        total += tokens
        vector = _vector(given, dimensions)
        data.append({"object": "embedding", "index": index, "embedding": _pack(vector, packing)})
    return {
        "object": "list",
        "data": data,
        "model": body.get("model"),
        "usage": {"prompt_tokens": total, "total_tokens": total},
    }


def _dimensions(body: Mapping[str, Any]) -> int:
    model = str(body.get("model"))
    most = DIMENSIONS.get(model, LARGEST_DIMENSIONS)
    asked = body.get("dimensions")
    if asked is None:
        return DIMENSIONS.get(model, DEFAULT_DIMENSIONS)
    if model in _FIXED:
        raise Refused("This model does not support specifying dimensions.")
    check_number(body, "dimensions", 1, None, whole=True)
    if asked > most:
        raise Refused(f"Invalid value for 'dimensions' = {asked}. Must be less than or equal to {most}.")
    return int(asked)


def _inputs(given: Any) -> list[str | list[int]]:
    """The texts, or lists of tokens, to embed."""
    if given is None:
        raise missing("input")
    if isinstance(given, str) or (isinstance(given, list) and given and _are_tokens(given)):
        given = [given]
    if not isinstance(given, list):
        raise invalid_type("input", "a string or an array of strings", given)
    if len(given) > MOST_INPUTS:
        raise array_too_long("input", MOST_INPUTS, given)
    if not given or not all(one and (isinstance(one, str) or _are_tokens(one)) for one in given):
        raise Refused("'$.input' is invalid. Please check the API reference: "
                      "https://platform.openai.com/docs/api-reference.")  # fmt: skip
    return given


def _are_tokens(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in given)


def _vector(given: str | list[int], dimensions: int) -> array[float]:
    random = Random(crc32(repr(given).encode("utf-8", "surrogatepass")))  # noqa: S311 - not a secret
    values = [byte - 127.5 for byte in random.randbytes(dimensions)]
    length = sum([value * value for value in values]) ** 0.5
    # Single precision, as the services send it.
    return array("f", [value / length for value in values])


def _pack(vector: array[float], packing: str) -> Any:
    if packing == "float":
        return vector.tolist()
    if byteorder != "little":
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
