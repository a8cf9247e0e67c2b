"""JSON lines, and files that are one JSON array: a row is an object; rows may differ in their keys."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from nono.datasets.batches import DictBatch
from nono.datasets.compression import open_bytes
from nono.datasets.sources import BATCH_BYTES, BATCH_ROWS, BadInput, Source
from nono.jsonl import BadLine
from nono.jsonl import decode as decode_line

_BOM = b"\xef\xbb\xbf"
_decode = msgspec.json.Decoder().decode
_SPACE = re.compile(r"[ \t\r\n]*").match
# An element of an array that is larger than this is not waited for.
LONGEST_ELEMENT = 256 << 20


class JsonLinesSource(Source):
    """A file of JSON objects, one a line; blank lines are skipped."""

    empty_hint = "one JSON object a line"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        for batch in self.read():
            return batch.names
        raise BadInput(f"{self.name}: is empty", hint=self.empty_hint)

    def read(self) -> Iterator[DictBatch]:
        first = line_number = 0
        for block in self._blocks():
            pieces = block.split(b"\n")
            for start in range(0, len(pieces), BATCH_ROWS):
                piece = pieces[start : start + BATCH_ROWS]
                lines = [line for line in piece if line and not line.isspace()]
                try:
                    values = list(map(_decode, lines))
                except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
                    values = self._decode_one_by_one(piece, line_number)
                if set(map(type, values)) - {dict}:
                    self._refuse_other_than_objects(piece, values, line_number)
                if values:
                    yield DictBatch(first, len(values), values, lines)
                first += len(values)
                line_number += len(piece)

    def _blocks(self) -> Iterator[bytes]:
        """Whole lines, a few megabytes at a time, without the last line feed."""
        with open_bytes(self.path, self.name) as file:
            rest: list[bytes] = []
            begin = True
            while chunk := file.read(BATCH_BYTES):
                if begin:
                    chunk, begin = chunk.removeprefix(_BOM), False
                lines, feed, tail = chunk.rpartition(b"\n")
                if feed:
                    yield b"".join([*rest, lines])
                    rest = [tail] if tail else []
                else:
                    rest.append(tail)
            if rest:
                yield b"".join(rest)

    def place(self, row: int) -> str:
        seen = -1
        number = 0
        for block in self._blocks():
            for line in block.split(b"\n"):
                number += 1
                seen += bool(line and not line.isspace())
                if seen == row:
                    return f"{self.name}:{number}"
        return super().place(row)

    def _decode_one_by_one(self, piece: list[bytes], line_number: int) -> list[Any]:
        values = []
        for offset, line in enumerate(piece, start=1):
            if line and not line.isspace():
                try:
                    values.append(decode_line(line))
                except BadLine as error:
                    raise BadInput(
                        f"{self.name}:{line_number + offset}: {_where(error)}",
                        hint="one JSON object a line; line breaks inside texts are written \\n",
                    ) from error
        return values

    def _refuse_other_than_objects(self, piece: list[bytes], values: list[Any], line_number: int) -> None:
        numbers = (line_number + offset for offset, line in enumerate(piece, start=1) if line and not line.isspace())
        for number, value in zip(numbers, values, strict=True):
            if type(value) is not dict:
                raise BadInput(
                    f"{self.name}:{number}: {_kind(value)}, where a JSON object was expected",
                    hint='a row is an object with a name for each value: {"text": "…"}',
                )


class JsonArraySource(Source):
    """A file that is one JSON array of objects, read element by element."""

    @cached_property
    def columns(self) -> tuple[str, ...]:
        for batch in self.read():
            return batch.names
        raise BadInput(f"{self.name}: is an empty array", hint="an array of objects: one object is one row")

    def read(self) -> Iterator[DictBatch]:
        values: list[dict[str, Any]] = []
        first = size = 0
        for _, value, length in self._elements():
            values.append(value)
            size += length
            if size >= BATCH_BYTES or len(values) == BATCH_ROWS:
                yield DictBatch(first, len(values), values)
                first += len(values)
                values, size = [], 0
        if values:
            yield DictBatch(first, len(values), values)

    def place(self, row: int) -> str:
        for number, (line, _, _) in enumerate(self._elements()):
            if number == row:
                return f"{self.name}:{line}"
        return super().place(row)

    def _elements(self) -> Iterator[tuple[int, dict[str, Any], int]]:
        """Line, value and length of every element."""
        scan = json.JSONDecoder().raw_decode
        text = _Window(self)
        text.skip_space()
        if text.take("["):
            text.skip_space()
            if text.take("]"):
                text.expect_end()
                return
        else:
            raise text.bad("a JSON array was expected", "an array of objects, or one object a line (.jsonl)")
        while True:
            text.skip_space()
            while True:
                try:
                    value, end = scan(text.buffer, text.at)
                    if end < len(text.buffer) or not text.more():
                        break
                except (json.JSONDecodeError, RecursionError) as error:
                    if isinstance(error, RecursionError) or text.left() > LONGEST_ELEMENT or not text.more():
                        at = error.pos if isinstance(error, json.JSONDecodeError) else text.at
                        raise text.bad(f"not JSON: {getattr(error, 'msg', error)}", "mend it there", at) from error
            if not isinstance(value, dict):
                raise text.bad(
                    f"{_kind(value)}, where a JSON object was expected", "an array of objects: one is one row"
                )
            line, length = text.line(text.at), end - text.at
            text.at = end
            yield line, value, length
            text.skip_space()
            if text.take("]"):
                text.expect_end()
                return
            if not text.take(","):
                raise text.bad("a comma or the end of the array was expected", "mend it there")
            text.forget()


class _Window:
    """The part of a text file that is being looked at."""

    def __init__(self, source: Source) -> None:
        self.buffer = ""
        self.at = 0
        self._source = source
        self._lines = 1
        self._chunks = self._read()
        self._read_chars = BATCH_BYTES

    def _read(self) -> Iterator[str]:
        decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        with open_bytes(self._source.path, self._source.name) as file:
            while chunk := file.read(self._read_chars):
                try:
                    yield decode(chunk)
                except UnicodeDecodeError as error:
                    raise self.bad("not UTF-8", "convert the file to UTF-8", len(self.buffer)) from error

    def more(self) -> bool:
        """Read on, twice as far as before: an element that is long is scanned a few times only."""
        self._read_chars = max(BATCH_BYTES, self.left())
        chunk = next(self._chunks, None)
        self.buffer += chunk or ""
        return chunk is not None

    def left(self) -> int:
        return len(self.buffer) - self.at

    def skip_space(self) -> None:
        while True:
            self.at = _SPACE(self.buffer, self.at).end()  # type: ignore[union-attr]  # it always matches
            if self.at < len(self.buffer) or not self.more():
                return

    def take(self, char: str) -> bool:
        found = self.buffer.startswith(char, self.at)
        self.at += found
        return found

    def expect_end(self) -> None:
        self.skip_space()
        if self.left():
            raise self.bad(
                "there is more after the end of the array", "one array a file, or one object a line (.jsonl)"
            )

    def forget(self) -> None:
        """Drop what lies behind, once it is much."""
        if self.at > BATCH_BYTES:
            self._lines += self.buffer.count("\n", 0, self.at)
            self.buffer, self.at = self.buffer[self.at :], 0

    def line(self, at: int) -> int:
        return self._lines + self.buffer.count("\n", 0, at)

    def bad(self, what: str, hint: str, at: int | None = None) -> BadInput:
        place = self.at if at is None else at
        column = place - (self.buffer.rfind("\n", 0, place) + 1) + 1
        return BadInput(f"{self._source.name}:{self.line(place)}: column {column}: {what}", hint=hint)


def json_source(path: Path, name: str, *, keep: Any = None) -> Source:
    """A `.json` file: an array, or (what many tools call `.json`) one object a line."""
    with open_bytes(path, name) as file:
        begin = file.read(4096).removeprefix(_BOM).lstrip()
    return (JsonLinesSource if begin.startswith(b"{") else JsonArraySource)(path, name, keep=keep)


_KINDS = {
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "an array",
    type(None): "null",
}


def _where(error: BadLine) -> str:
    """Column and reason of a line that is not JSON."""
    match error.__cause__:
        case json.JSONDecodeError() as cause:
            return f"column {cause.colno}: not JSON: {cause.msg}"
        case UnicodeDecodeError() as cause:
            return f"column {cause.start + 1}: not UTF-8 (byte 0x{cause.object[cause.start]:02x})"
    return error.message


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "an object")
