"""Data sets in: whatever people bring, as one kind of `Source`.

    source = open_source("reviews.csv.gz")
    source.columns                      # ("id", "rating", "text")
    for batch in source.batches():      # a few megabytes at a time
        texts = batch.column("text")

| brought                                                         | read as                              |
|-----------------------------------------------------------------|--------------------------------------|
| `.csv`, `.tsv`                                                  | texts; the first line names columns  |
| `.jsonl`, `.ndjson`, `.json`                                    | one object a row                     |
| `.parquet`, `.arrow`, `.feather`, `.ipc`                        | extra `[parquet]`                    |
| any of these with `.gz` or `.zst`                               | `.zst`: extra `[zstd]`               |
| `-` or an open file                                             | copied first, kind told by its bytes |
| pandas, polars, DuckDB, Hugging Face, any `__arrow_c_stream__`  | copied first, extra `[parquet]`      |
| an iterable of dicts, texts (column `text`) or `Request`s       | copied first                         |
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from nono.datasets.arrow import ARROW_FILE, PARQUET, ArrowSource, ParquetSource
from nono.datasets.batches import MISSING, ArrowBatch, Batch, DictBatch, TextBatch
from nono.datasets.compression import GZIP, ZSTD, open_bytes
from nono.datasets.copies import CopiedRows, CopyFolder, copy_arrow, copy_bytes, copy_rows
from nono.datasets.delimited import CsvSource
from nono.datasets.jsonrows import JsonArraySource, JsonLinesSource, json_source
from nono.datasets.sources import BadInput, Source
from nono.errors import InputError


def _csv(path: Path, name: str, keep: Any) -> Source:
    return CsvSource(path, name, keep=keep)


def _tsv(path: Path, name: str, keep: Any) -> Source:
    return CsvSource(path, name, delimiter="\t", keep=keep)


def _jsonl(path: Path, name: str, keep: Any) -> Source:
    return JsonLinesSource(path, name, keep=keep)


def _json(path: Path, name: str, keep: Any) -> Source:
    return json_source(path, name, keep=keep)


def _parquet(path: Path, name: str, keep: Any) -> Source:
    path, name, keep = _unpacked(path, name, keep)
    return ParquetSource(path, name, keep=keep)


def _arrow(path: Path, name: str, keep: Any) -> Source:
    path, name, keep = _unpacked(path, name, keep)
    return ArrowSource(path, name, keep=keep)


FORMATS: Mapping[str, Callable[[Path, str, Any], Source]] = {
    "csv": _csv,
    "tsv": _tsv,
    "jsonl": _jsonl,
    "json": _json,
    "parquet": _parquet,
    "arrow": _arrow,
}
# Other names of the formats, as file extensions have them.
_ALIASES = {"tab": "tsv", "ndjson": "jsonl", "pq": "parquet", "feather": "arrow", "ipc": "arrow", "arrows": "arrow"}
_PACKED = {".gz", ".zst", ".zstd"}


def open_source(source: Any, *, format: str | None = None, copy_into: Path | None = None) -> Source:
    """The data set that `source` names or is; see the table of this module.

    `format` is one of `FORMATS` for a name that does not tell. What can be read only once is copied into the folder
    `copy_into`, or into a temporary one that lives as long as the source.

    Raises InputError if there is no such file, its kind is unknown, or a row is not one; BadInput while reading.
    """
    match source:
        case Source():
            return source
        case str() if source == "-":
            return _from_stream(sys.stdin.buffer, "<stdin>", format, copy_into)
        case str() | os.PathLike():
            path = Path(source)
            if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe: `nono run <(zcat a.gz b.gz)`
                with path.open("rb") as stream:
                    return _from_stream(stream, str(source), format, copy_into)
            return _open(path, str(source), _format(path, format), None)
        case Mapping() | bytes() | bytearray():
            raise InputError(
                f"a {type(source).__name__} is not a data set",
                hint="give a path, a data frame, or an iterable of dicts or texts; for one row: [row]",
            )
    name = f"<{type(source).__name__}>"
    folder = CopyFolder(copy_into)
    if hasattr(source, "__arrow_c_stream__"):
        return ArrowSource(copy_arrow(source, folder.path / "source.arrow"), name, keep=folder)
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        # A pandas frame before 2.2 has no Arrow stream, and as an iterable it would be the names of its columns.
        raise InputError(f"this {type(source).__name__} gives no Arrow stream", hint="pip install 'pandas>=2.2'")
    if hasattr(source, "collect_schema"):
        raise InputError(f"a {type(source).__name__} has no rows yet", hint="give what it collects: .collect()")
    if hasattr(source, "read"):
        return _from_stream(_bytes_of(source), str(getattr(source, "name", name)), format, copy_into)
    if isinstance(source, Iterable):
        return CopiedRows(copy_rows(source, folder.path / "source.jsonl", name), name, keep=folder)
    raise InputError(
        f"a {type(source).__name__} is not a data set",
        hint="give a path, a data frame, or an iterable of dicts or texts",
    )


def _from_stream(stream: BinaryIO, name: str, format: str | None, copy_into: Path | None) -> Source:
    folder = CopyFolder(copy_into)
    path = copy_bytes(stream, folder.path / "source.bytes")
    return _open(path, name, _known(format) if format else _told_by_bytes(path, name) or "csv", folder)


def _bytes_of(file: Any) -> BinaryIO:
    """The bytes behind an open file, also behind one that was opened for texts."""
    if not isinstance(file, io.TextIOBase):
        return cast(BinaryIO, file)
    return file.buffer if isinstance(file, io.TextIOWrapper) else io.BytesIO(file.read().encode())


def _open(path: Path, name: str, format: str, keep: Any) -> Source:
    with open_bytes(path, name) as file:
        if not file.read(1):
            raise BadInput(f"{name}: is empty", hint="a data set has at least one row")
    return FORMATS[format](path, name, keep)


def _format(path: Path, format: str | None) -> str:
    if format is not None:
        return _known(format)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    told = suffixes[-1].lstrip(".") if suffixes else ""
    told = _ALIASES.get(told, told)
    if told in FORMATS:
        return told
    found = _told_by_bytes(path, str(path))
    if found is None:
        raise InputError(
            f"{path}: what kind of file this is cannot be told from its name",
            hint=f"name the format: {', '.join(FORMATS)} (--format csv)",
        )
    return found


def _known(format: str) -> str:
    wanted = format.lower().lstrip(".")
    wanted = _ALIASES.get(wanted, wanted)
    if wanted not in FORMATS:
        raise InputError(f"unknown format {format!r}", hint=f"one of {', '.join(FORMATS)}")
    return wanted


def _told_by_bytes(path: Path, name: str) -> str | None:
    """The format that the first bytes give away, or None: rows of texts look like anything."""
    with open_bytes(path, name) as file:
        begin = file.read(4096)
    if begin.startswith(PARQUET):
        return "parquet"
    if begin.startswith((ARROW_FILE, b"\xff\xff\xff\xff")):
        return "arrow"
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "json" if text.startswith((b"[", b"{")) else None


def _unpacked(path: Path, name: str, keep: Any) -> tuple[Path, str, Any]:
    """A file that has to be read at any place, unpacked first if it is compressed as a whole."""
    with path.open("rb") as packed:
        if not packed.read(4).startswith((GZIP, ZSTD)):
            return path, name, keep
    folder = CopyFolder(None)
    with open_bytes(path, name) as file:
        copy_bytes(file, folder.path / "source.unpacked")
    return folder.path / "source.unpacked", name, (keep, folder)


__all__ = [
    "FORMATS",
    "MISSING",
    "ArrowBatch",
    "BadInput",
    "Batch",
    "DictBatch",
    "JsonArraySource",
    "Source",
    "TextBatch",
    "open_source",
]
