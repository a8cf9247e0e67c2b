"""Encoded requests: the lines of an input file for a batch of rows.

Most batches are written as they are: their bytes and sums are enough. Lines of their own, and what they have in common
with others, are cut out only where a part ends among them or rows that ask the same share a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import msgspec

from nono.runs.splicing import json_bytes

_encode = msgspec.json.Encoder().encode
# A guess that serves until the provider tells: https://platform.openai.com/tokenizer says "about 4 characters".
BYTES_PER_TOKEN = 4


class Lines(Protocol):
    """The encoded requests of a batch of rows.

    `keys` are equal for requests that ask the same; `weights` are bytes, `BYTES_PER_TOKEN` of which are taken for a
    token; `inputs` counts the texts to embed in each request, None where it is one each. `content` is all lines, each
    with its line feed, and `weight` the sum of the weights.
    """

    @property
    def count(self) -> int: ...
    @property
    def content(self) -> bytes: ...
    @property
    def weight(self) -> int: ...
    @property
    def lines(self) -> Sequence[bytes]: ...
    @property
    def keys(self) -> Sequence[bytes]: ...
    @property
    def weights(self) -> Sequence[int]: ...
    @property
    def inputs(self) -> Sequence[int] | None: ...


@dataclass(frozen=True)
class SeparateLines:
    """Requests that were encoded row by row."""

    lines: Sequence[bytes]
    keys: Sequence[bytes]
    weights: Sequence[int]
    inputs: Sequence[int] | None = None

    @property
    def count(self) -> int:
        return len(self.lines)

    @cached_property
    def content(self) -> bytes:
        return b"\n".join([*self.lines, b""])

    @cached_property
    def weight(self) -> int:
        return sum(self.weights)


class JoinedLines:
    """Requests that were encoded together.

    `around` counts the bytes of a line before the id, from there to the text, and after the text (which is the key);
    `fixed` is the weight of what they share.
    """

    inputs = None

    def __init__(self, content: bytes, ids: Any, around: tuple[int, int, int], fixed: int) -> None:
        self.content = content
        self.count = len(ids)
        self._ids = ids
        self._around = around
        self._fixed = fixed

    @cached_property
    def lines(self) -> Sequence[bytes]:
        return self.content[:-1].split(b"\n")

    @cached_property
    def keys(self) -> Sequence[bytes]:
        before, between, after = self._around
        begins = [before + len(custom_id) + between for custom_id in escape(self._ids.to_pylist())]
        return [line[begin : len(line) - after] for line, begin in zip(self.lines, begins, strict=True)]

    @cached_property
    def weights(self) -> Sequence[int]:
        return [self._fixed + len(key) for key in self.keys]

    @cached_property
    def weight(self) -> int:
        around = json_bytes(self._ids) + self.count * (sum(self._around) + 1)
        return len(self.content) - around + self.count * self._fixed


def escape(texts: Sequence[str]) -> list[bytes]:
    """The insides of the JSON texts of `texts`, as bytes. Raises UnicodeEncodeError for a lone surrogate.

    All are encoded in one go and cut apart at `","`. Inside a JSON text a quote has a backslash before it, so only
    `\\","` can look like a border and be none (or be one, after a text that ends so): then each goes by itself.
    """
    if not texts:
        return []
    together = _encode(texts)
    if b'\\","' in together:
        return [_encode(text)[1:-1] for text in texts]
    return together[2:-2].split(b'","')
