"""The results of a run: its parts read in input order, as rows, Arrow batches or frames, and exported to a file.

An export appears whole or not at all. CSV is safe to open in a spreadsheet: a text that would be taken for a formula
(it begins with `=`, `+`, `-`, `@`, a tab or a carriage return, and is not a number) gets a `'` in front.
"""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from nono.datasets.arrow import pyarrow
from nono.errors import InputError
from nono.files import whole_file
from nono.jsonl import decode, split_lines
from nono.runs.exports import cell, csv_lines, csv_lines_of_arrays, write_jsonl
from nono.runs.table import JSON_MARK, json_text, json_value

# Rows in memory at a time, where parts are read.
BATCH_ROWS = 4096


class Results:
    """The rows of a run that are settled, in input order; `parts` are the files of its parts, in order.

    for row in results:             # dicts; JSON columns as values
        print(row["outcome"], row["answer"])
    results.to_pandas()
    results.export("out.csv.gz")
    """

    def __init__(self, parts: Sequence[Path]) -> None:
        self.parts = tuple(parts)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.rows()

    def rows(self, outcomes: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows as dicts; with `outcomes`, those that ended so."""
        for part in self.parts:
            for row in _parquet_rows(part, json_value) if part.suffix == ".parquet" else _jsonl_rows(part):
                if outcomes is None or row["outcome"] in outcomes:
                    yield row

    def row(self, number: int) -> dict[str, Any] | None:
        """One row, counted from 0, or None if there is none."""
        for at, row in enumerate(self):
            if at == number:
                return row
        return None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, in order."""
        if all(part.suffix == ".parquet" for part in self.parts):
            return tuple(self.schema().names) if self.parts else ()
        return tuple(dict.fromkeys(name for part in self.parts for name in _names(part)))

    def schema(self) -> Any:
        """One Arrow schema for all parts: where the types of a column differ, the wider one, or text."""
        return _common_schema([_schema(part) for part in self.parts])

    def batches(self) -> Iterator[Any]:
        """The rows as Arrow record batches of one schema. Raises MissingExtra without pyarrow."""
        schema = self.schema()
        for part in self.parts:
            for batch in _record_batches(part):
                yield _fitted(batch, schema)

    def to_arrow(self) -> Any:
        """The rows as a `pyarrow.Table`."""
        arrow = pyarrow("an Arrow table of results")
        return arrow.Table.from_batches(self.batches(), schema=self.schema())

    def to_pandas(self) -> Any:
        """The rows as a pandas data frame."""
        pandas = _frames("pandas")
        if all(part.suffix == ".parquet" for part in self.parts):
            return self.to_arrow().to_pandas()
        return pandas.DataFrame(list(self))

    def to_polars(self) -> Any:
        """The rows as a polars data frame."""
        return _frames("polars").from_arrow(self.to_arrow())

    def export(self, target: str | Path, *, format: str | None = None) -> int:
        """Write all rows to a file, whole or not at all; returns how many there are.

        The format is that of the name (`.jsonl`, `.csv`, `.tsv`, `.parquet`, `.arrow`, `.feather`; `.gz` after the
        first three packs it), or `format`. `-` is stdout, as JSON lines unless `format` says otherwise.
        """
        write, packed = _format(str(target), format)
        if str(target) == "-":
            count = write(self, sys.stdout.buffer)
            sys.stdout.buffer.flush()  # here, where a reader that has gone is an error like any other
            return count
        with _opened(_checked(Path(target))) as file:
            if not packed:
                return write(self, file)
            with gzip.open(file, "wb") as packing:
                return write(self, cast(BinaryIO, packing))


def _checked(path: Path) -> Path:
    """The file that a path means. Raises InputError where no file can be."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}", hint="make it first")
    if path.is_dir():
        raise InputError(f"{path}: is a folder", hint="name a file in it")
    # A pipe or a device is written itself, a file is put in its place whole.
    written = path if path.exists() and not path.is_file() else path.resolve().parent
    if not os.access(written, os.W_OK):
        raise InputError(f"{path}: cannot be written: {written} is read-only", hint="choose another place")
    return path


def _opened(path: Path) -> AbstractContextManager[BinaryIO]:
    """A file that appears whole, where a link leads; a pipe or a device as it is: nothing may take its place."""
    return path.open("wb") if path.exists() and not path.is_file() else whole_file(path.resolve())


def _write_jsonl(results: Results, file: BinaryIO) -> int:
    # JSON columns are JSON already: they go through as they are.
    return write_jsonl((row for part in results.parts for row in _raw_rows(part)), file)


def _write_csv(results: Results, file: BinaryIO, delimiter: str = ",") -> int:
    columns = results.columns
    file.write(csv_lines([columns], delimiter))
    count = 0
    for part in results.parts:
        for lines, rows in _csv_blocks(part, columns, delimiter):
            file.write(lines)
            count += rows
    return count


def _write_tsv(results: Results, file: BinaryIO) -> int:
    return _write_csv(results, file, "\t")


def _write_parquet(results: Results, file: BinaryIO) -> int:
    pyarrow("writing Parquet")
    import pyarrow.parquet as pq

    schema = results.schema()
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        return _write_batches(results, writer.write_batch)


def _write_arrow(results: Results, file: BinaryIO) -> int:
    arrow = pyarrow("writing Arrow files")
    options = arrow.ipc.IpcWriteOptions(compression="lz4")
    with arrow.ipc.new_file(file, results.schema(), options=options) as writer:
        return _write_batches(results, writer.write_batch)


def _write_batches(results: Results, write: Callable[[Any], object]) -> int:
    count = 0
    for batch in results.batches():
        write(batch)
        count += batch.num_rows
    return count


FORMATS: Mapping[str, Callable[[Results, BinaryIO], int]] = {
    "jsonl": _write_jsonl,
    "ndjson": _write_jsonl,
    "csv": _write_csv,
    "tsv": _write_tsv,
    "parquet": _write_parquet,
    "arrow": _write_arrow,
    "feather": _write_arrow,
}
_PACKABLE = frozenset({"jsonl", "ndjson", "csv", "tsv"})


def _format(name: str, format: str | None) -> tuple[Callable[[Results, BinaryIO], int], bool]:
    suffixes = [suffix.lstrip(".").lower() for suffix in Path(name).suffixes]
    packed = bool(suffixes) and suffixes[-1] == "gz"
    told = suffixes[-1 - packed] if len(suffixes) > packed else ""
    wanted = format.lower().lstrip(".") if format else "jsonl" if name == "-" else told
    if wanted not in FORMATS:
        raise InputError(
            f"{name}: {wanted or 'no extension'} is not a format of results", hint=f"one of .{', .'.join(FORMATS)}"
        )
    if packed and wanted not in _PACKABLE:
        raise InputError(f"{name}: a .{wanted} file is compressed inside", hint="leave out the .gz")
    return FORMATS[wanted], packed


def check_target(target: str | Path, *, format: str | None = None) -> None:
    """Raise what `Results.export` would raise about the name of its target: to be told before a run, not after it."""
    _format(str(target), format)
    if str(target) != "-":
        _checked(Path(target))


# --- the parts ---


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    pyarrow("reading results in Parquet")
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        yield file


def _parquet_rows(path: Path, read_json: Callable[[str | None], Any]) -> Iterator[dict[str, Any]]:
    with _parquet(path) as file:
        marked = [field.name for field in file.schema_arrow if _is_json(field)]
        for batch in file.iter_batches(BATCH_ROWS):
            for row in batch.to_pylist():
                for name in marked:
                    row[name] = read_json(row[name])
                yield row


def _csv_blocks(path: Path, columns: Sequence[str], delimiter: str) -> Iterator[tuple[bytes | memoryview, int]]:
    """The rows of a part as lines of CSV, some at a time, with their number."""
    if path.suffix != ".parquet":
        rows = _jsonl_rows(path)
        while some := [[row.get(name) for name in columns] for row in islice(rows, BATCH_ROWS)]:
            yield csv_lines(some, delimiter), len(some)
        return
    arrow = pyarrow("reading results in Parquet")
    with _parquet(path) as file:
        fields = {field.name: field for field in file.schema_arrow}
        for batch in file.iter_batches(BATCH_ROWS):
            arrays = [
                batch.column(name) if name in fields else arrow.nulls(batch.num_rows, arrow.string())
                for name in columns
            ]
            for at, name in enumerate(columns):
                if name in fields and _is_json(fields[name]):
                    texts = [None if text is None else cell(json_value(text)) for text in arrays[at].to_pylist()]
                    arrays[at] = arrow.array(texts, arrow.large_string())
            yield csv_lines_of_arrays(arrays, delimiter), batch.num_rows


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in split_lines(file):
            yield decode(line)


def _names(path: Path) -> Iterator[str]:
    if path.suffix == ".parquet":
        yield from _schema(path).names
    else:
        yield from (name for row in _jsonl_rows(path) for name in row)


def _raw_rows(path: Path) -> Iterator[Any]:
    """Rows that are ready to be written as JSON."""
    if path.suffix == ".parquet":
        yield from _parquet_rows(path, lambda text: None if text is None else msgspec.Raw(text.encode()))
    else:
        with path.open("rb") as file:
            yield from map(msgspec.Raw, split_lines(file))


def _record_batches(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        with _parquet(path) as file:
            yield from file.iter_batches(BATCH_ROWS)
    else:
        yield from pyarrow("results as Arrow").Table.from_pylist(list(_jsonl_rows(path))).to_batches()


def _schema(path: Path) -> Any:
    if path.suffix == ".parquet":
        with _parquet(path) as file:
            return file.schema_arrow
    return pyarrow("results as Arrow").Table.from_pylist(list(_jsonl_rows(path))).schema


def _is_json(field: Any) -> bool:
    return bool(field.metadata and JSON_MARK.items() <= field.metadata.items())


def _common_schema(schemas: Sequence[Any]) -> Any:
    arrow = pyarrow("results as Arrow")
    fields: dict[str, Any] = {}
    for schema in schemas:
        for field in schema:
            # A file of Arrow batches wants one dictionary for all of them; plain values do not.
            if arrow.types.is_dictionary(field.type):
                field = field.with_type(field.type.value_type)
            known = fields.get(field.name)
            fields[field.name] = field if known is None else _common_field(arrow, known, field)
    return arrow.schema(list(fields.values()))


def _common_field(arrow: Any, one: Any, other: Any) -> Any:
    if one.type == other.type:
        return one if _is_json(one) else other
    try:
        pair = [arrow.schema([field.remove_metadata()]) for field in (one, other)]
        return arrow.unify_schemas(pair, promote_options="permissive").field(0)
    except arrow.ArrowException:
        return arrow.field(one.name, arrow.string())


def _fitted(batch: Any, schema: Any) -> Any:
    """A batch with the columns and types of `schema`."""
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    arrow = pyarrow("results as Arrow")
    arrays = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            arrays.append(arrow.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(index)
        try:
            arrays.append(column if column.type == field.type else column.cast(field.type))
        except arrow.ArrowException:
            texts = [None if value is None else json_text(value) for value in column.to_pylist()]
            arrays.append(arrow.array(texts, arrow.string()))
    return arrow.RecordBatch.from_arrays(arrays, schema=schema)


def _frames(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"{name} is not installed", hint=f"pip install {name}") from error
