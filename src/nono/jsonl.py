"""JSON lines, byte-exact: lines end at a line feed and nowhere else.

`str.splitlines()` and the line iterators of HTTP clients also split at U+2028, U+0085, 0x1C and others that are legal
inside JSON strings; here bytes are split at `\\n` only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from nono.errors import InputError
from nono.files import whole_file

_READ_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
_decoder = msgspec.json.Decoder()


class BadLine(InputError):
    """A line that is not one JSON value."""


def encode(value: Any) -> bytes:
    """One value as compact UTF-8 JSON, without a line feed.

    Raises InputError for what JSON cannot carry: NaN and infinities, lone surrogates, unknown types.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"text with a lone surrogate (U+{ord(error.object[error.start]):04X}) is not valid Unicode"
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"not representable as JSON: {error}") from error


def decode(line: bytes) -> Any:
    """The value of one line; a byte order mark, a carriage return and white space around it are tolerated.

    Falls back to a more lenient parser for what only some writers produce (NaN, lone surrogate escapes).
    Raises BadLine, and nothing else, whatever the bytes are.
    """
    line = line.strip(b" \t\r\n").removeprefix(_BOM)
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        pass
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"not one JSON value: {error}") from error


class LateObject(Mapping[str, Any]):
    """The object inside a line to which `path` leads, as it was written; decoded when it is first looked at."""

    __slots__ = ("_decoded", "_line", "_path")

    def __init__(self, line: bytes, *path: str) -> None:
        self._line: bytes | None = line
        self._path = path
        self._decoded: dict[str, Any] = {}

    def _read(self) -> dict[str, Any]:
        if self._line is not None:
            value = decode(self._line)
            for name in self._path:
                value = value[name]
            self._decoded, self._line = value, None
        return self._decoded

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(self._read())


def split_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a binary file without their line feeds; a last line without one counts."""
    rest = b""
    while chunk := file.read(_READ_BYTES):
        if b"\n" not in chunk:
            rest += chunk
            continue
        *lines, tail = chunk.split(b"\n")
        lines[0] = rest + lines[0]
        rest = tail
        yield from lines
    if rest:
        yield rest


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of every line of a file that is not blank."""
    with path.open("rb") as file:
        for number, line in enumerate(split_lines(file), start=1):
            if line.strip():
                yield number, line


def read_values(path: Path, *, called: str | None = None, hint: str | None = None) -> Iterator[Any]:
    """The decoded lines of a file; `called` is its name in messages, where `path` is a copy that will be gone.

    Raises BadLine, naming file and line, at the first that is not JSON.
    """
    for number, line in read_lines(path):
        try:
            yield decode(line)
        except BadLine as error:
            raise BadLine(f"{called or path}:{number}: {error.message}", hint=hint) from error


def write_values(path: Path, values: Iterable[Any]) -> Path:
    """Write one value a line; the file appears whole or not at all.

    Raises InputError, naming the line, for a value that JSON cannot carry.
    """
    with whole_file(path) as file:
        for number, value in enumerate(values, start=1):
            try:
                file.write(encode(value) + b"\n")
            except InputError as error:
                raise InputError(f"{path}: line {number}: {error.message}") from error
    return path
