"""Inputs that can be read only once, or that may change: copied to a file before anything else.

Standard input is copied byte by byte; data frames, queries and everything that speaks the Arrow C stream become an
Arrow stream file; iterables become JSON lines. So they have a fingerprint, and a crash after planning loses nothing.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from nono.datasets.arrow import pyarrow
from nono.datasets.jsonrows import JsonLinesSource
from nono.errors import InputError
from nono.files import whole_file
from nono.model import Request

# Rows of a batch in a copy; of long rows fewer.
COPIED_ROWS = 4096
FEW_ROWS = 64
LONG_ROW_BYTES = 4096
# The column of an iterable of texts.
TEXT_COLUMN = "text"


class CopyFolder:
    """Where a copy lies: a folder that is given, or a temporary one that goes when nobody needs it any more."""

    def __init__(self, folder: Path | None) -> None:
        self.path = folder or Path(tempfile.mkdtemp(prefix="nono-"))
        if folder is None:
            weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class CopiedRows(JsonLinesSource):
    """Rows that came from an iterable: their lines in the copy are nobody's lines."""

    empty_hint = "a run needs at least one row"

    def place(self, row: int) -> str:
        return f"{self.name}, row {row + 1}"


def copy_bytes(stream: BinaryIO, into: Path) -> Path:
    """Copy what a stream still holds into a file, whole or not at all."""
    with whole_file(into, mode=0o600) as file:
        shutil.copyfileobj(stream, file, 1 << 20)
    return into


def copy_arrow(table: Any, into: Path) -> Path:
    """Copy an object with `__arrow_c_stream__` into an Arrow stream file, whole or not at all.

    A stream of single values (a series, a chunked array) is one column, called as it is, or TEXT_COLUMN.
    """
    arrow = pyarrow(f"reading a {type(table).__name__}")
    try:
        reader = _reader(table, arrow)
    except (arrow.ArrowException, TypeError, ValueError) as error:
        said = "; ".join(map(str, error.args)) or type(error).__name__
        raise InputError(
            f"this {type(table).__name__} cannot be read: {said}", hint="give every column a name and one type"
        ) from error
    options = arrow.ipc.IpcWriteOptions(compression="lz4")
    # Without what says who made it and when, and cut alike: the same data has the same fingerprint.
    schema = reader.schema.remove_metadata()
    with whole_file(into, mode=0o600) as file, arrow.ipc.new_stream(file, schema, options=options) as writer:
        for batch in _evenly(reader, arrow):
            writer.write_batch(batch.replace_schema_metadata(None))
    return into


def _reader(table: Any, arrow: Any) -> Any:
    try:
        return arrow.RecordBatchReader.from_stream(table)
    except arrow.ArrowInvalid:
        if hasattr(table, "columns"):
            raise
        name = getattr(table, "name", None) or TEXT_COLUMN
        return arrow.table({str(name): arrow.chunked_array(table)}).to_reader()


def _evenly(batches: Iterable[Any], arrow: Any) -> Iterator[Any]:
    """Record batches of the same number of rows, whatever theirs was."""
    waiting: list[Any] = []
    missing = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            if not missing:
                missing = COPIED_ROWS if batch.nbytes < LONG_ROW_BYTES * batch.num_rows else FEW_ROWS
            piece = batch.slice(start, missing)
            start, missing = start + piece.num_rows, missing - piece.num_rows
            waiting.append(piece)
            if not missing:
                yield from _anew(waiting, arrow)
                waiting = []
    if waiting:
        yield from _anew(waiting, arrow)


def _anew(pieces: list[Any], arrow: Any) -> Iterator[Any]:
    """Pieces as one batch, copied: what stands beside a piece in its buffers is not written along."""
    for batch in arrow.Table.from_batches(pieces).combine_chunks().to_batches():
        numbers = arrow.py_buffer(array("q", range(batch.num_rows)))
        try:
            yield batch.take(arrow.Array.from_buffers(arrow.int64(), batch.num_rows, [None, numbers]))
        except arrow.ArrowNotImplementedError:  # a type that few know
            yield batch


def copy_rows(rows: Iterable[Any], into: Path, name: str) -> Path:
    """Copy an iterable of dicts, texts or `Request`s into JSON lines, whole or not at all.

    Raises InputError, naming the row, for anything else and for values that JSON cannot carry.
    """
    encode = msgspec.json.Encoder(enc_hook=_plain).encode
    with whole_file(into, mode=0o600) as file:
        for number, row in enumerate(_as_dicts(rows, name), start=1):
            try:
                file.write(encode(row) + b"\n")
            except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
                said = "a text with a lone surrogate" if isinstance(error, UnicodeEncodeError) else str(error)
                raise InputError(
                    f"{name}, row {number}: {said}",
                    hint="values are texts, numbers, true/false, None, dates, lists and dicts of these",
                ) from error
    return into


def endpoint_of(rows: Any) -> tuple[Any, str | None]:
    """The endpoint that an iterable of `Request`s asks, and the iterable whole; None for every other source."""
    if isinstance(rows, list | tuple):
        first = next(iter(rows), None)
    elif isinstance(rows, Iterator) and not hasattr(rows, "read"):  # of a file these would be lines
        first = next(rows, None)
        rows = rows if first is None else chain([first], rows)
    else:
        return rows, None
    return rows, first.endpoint if isinstance(first, Request) else None


def _as_dicts(rows: Iterable[Any], name: str) -> Iterator[Mapping[str, Any]]:
    endpoint = None
    for number, row in enumerate(rows, start=1):
        match row:
            case str():
                yield {TEXT_COLUMN: row}
            case Mapping():
                wrong = next((key for key in row if not isinstance(key, str)), None)
                if wrong is not None:
                    raise InputError(
                        f"{name}, row {number}: the column {wrong!r} has a name that is not a text",
                        hint="name every column with a text",
                    )
                yield row if isinstance(row, dict) else dict(row)
            case Request():
                endpoint = endpoint or row.endpoint
                if row.endpoint != endpoint:
                    raise InputError(
                        f"{name}, row {number}: asks {row.endpoint}, the rows before it ask {endpoint}",
                        hint="a run has one endpoint: make one run for each",
                    )
                yield {"custom_id": row.custom_id, "endpoint": row.endpoint, "body": dict(row.body)}
            case _:
                raise InputError(
                    f"{name}, row {number}: a {type(row).__name__} is not a row",
                    hint="rows are dicts, texts or Requests: [dict(zip(columns, row)) for row in rows]",
                )


def _plain(value: Any) -> Any:
    """What msgspec does not know: numpy scalars and arrays, pydantic models, mappings."""
    for method in ("tolist", "model_dump"):
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} has no JSON form")
