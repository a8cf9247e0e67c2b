"""The columns of a results table, and the files of its parts: Parquet with pyarrow, JSON lines without.

Order: the input columns; `custom_id`, `outcome`, `answer`; what was parsed from the answer; `finish_reason`,
`error_code`, `error_message`, `input_tokens`, `output_tokens`, `cost_usd`, `model`, `attempts`, `batch_id`. A task of
embeddings has `embedding` where others have parsed columns. Where names meet, the results' own names stay: an input
column becomes `<name>_input`, a parsed one `<name>_parsed` (and an input column gives way to a parsed one of its name,
too).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from nono.datasets import ArrowBatch, Batch
from nono.datasets.arrays import ARRAYS
from nono.datasets.arrow import have_arrow
from nono.files import whole_file
from nono.jsonl import decode, split_lines
from nono.runs.pipeline import Behind
from nono.runs.plan import Column

BEFORE = (Column("custom_id", "text"), Column("outcome", "text"), Column("answer", "text"))
AFTER = (
    Column("finish_reason", "text"),
    Column("error_code", "text"),
    Column("error_message", "text"),
    Column("input_tokens", "int"),
    Column("output_tokens", "int"),
    Column("cost_usd", "float"),
    Column("model", "text"),
    Column("attempts", "int"),
    Column("batch_id", "text"),
)
EMBEDDING = Column("embedding", "vector")
# Marks a column of texts that are JSON, for those who write JSON again.
JSON_MARK = {b"nono": b"json"}
# Rows of a Parquet row group: what is in memory at a time.
GROUP_ROWS = 16_384
GROUP_BYTES = 8 << 20


class Layout:
    """The names that the columns of a results table have; see the top of this module."""

    def __init__(self, inputs: Sequence[Column], parsed: Sequence[Column], *, id_column: str | None = None) -> None:
        taken = {column.name for column in (*BEFORE, *AFTER)}
        self.parsed = {column.name: _free(column.name, taken, "_parsed") for column in parsed}
        taken.update(self.parsed.values())
        # The column of ids called `custom_id` is the results' own column already.
        kept = [column for column in inputs if (column.name, id_column) != ("custom_id", "custom_id")]
        self.inputs: dict[str, str] = {}
        for column in kept:
            self.inputs[column.name] = _free(column.name, taken, "_input")
            taken.add(self.inputs[column.name])
        self.input_columns = tuple(kept)
        self.result_columns = (
            *BEFORE,
            *(Column(self.parsed[column.name], column.kind) for column in parsed),
            *AFTER,
        )

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.inputs.values(), *(column.name for column in self.result_columns))


def _free(name: str, taken: set[str], suffix: str) -> str:
    while name in taken:
        name += suffix
    return name


class PartFile(Protocol):
    """A results part being written."""

    def write(self, inputs: Batch, results: Mapping[str, Sequence[Any]]) -> None:
        """Rows: their input columns, and a list for each result column."""
        ...


def part_path(folder: Path, part_no: int) -> Path:
    """Where the results of a part are, or will be."""
    path = folder / f"{part_no:06}.jsonl"
    return path if path.exists() or not have_arrow() else path.with_suffix(".parquet")


@contextmanager
def open_part(path: Path, layout: Layout, *, as_text: bool = False) -> Iterator[PartFile]:
    """Write a results part; it appears whole at the end of the block, or not at all.

    With `as_text`, input columns that are not of the plainest types are written as texts: Parquet refuses some types,
    and some values of others.
    """
    with whole_file(path, mode=0o600) as file:
        if path.suffix == ".parquet":
            table = _ParquetPart(file, layout, as_text=as_text)
            try:
                yield table
            except BaseException:
                table.abandon()
                raise
            table.close()
        else:
            yield _LinesPart(file, layout)


class _LinesPart:
    def __init__(self, file: Any, layout: Layout) -> None:
        self._file = file
        self._layout = layout
        self._encode = msgspec.json.Encoder(enc_hook=str).encode_lines

    def write(self, inputs: Batch, results: Mapping[str, Sequence[Any]]) -> None:
        names = list(results)
        renamed = self._layout.inputs
        rows = [
            {new: row.get(old) for old, new in renamed.items()} | dict(zip(names, values, strict=True))
            for row, values in zip(inputs.rows(), zip(*results.values(), strict=True), strict=True)
        ]
        try:
            self._file.write(self._encode(rows))
        except (UnicodeEncodeError, OverflowError):
            self._file.write(self._encode([_cleaned(row) for row in rows]))


class _ParquetPart:
    def __init__(self, file: Any, layout: Layout, *, as_text: bool) -> None:
        self._file = file
        self._layout = layout
        self._as_text = as_text
        self._writer: Any = None
        # Row groups are compressed and written while the next one's rows are settled.
        self._behind = Behind(waiting=1)
        self._waiting: list[Any] = []
        self._rows = self._bytes = 0

    def write(self, inputs: Batch, results: Mapping[str, Sequence[Any]]) -> None:
        batch = self._batch(inputs, results)
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _batch(self, inputs: Batch, results: Mapping[str, Sequence[Any]]) -> Any:
        import pyarrow as pa

        fields, arrays = [], []
        for column in self._layout.input_columns:
            if isinstance(inputs, ArrowBatch) and column.name in inputs.names:
                array = inputs.table.column(column.name)
                field = inputs.table.schema.field(column.name).with_name(self._layout.inputs[column.name])
                if self._as_text and not _is_plain(array.type):
                    array = _texts(array)
                    field = pa.field(field.name, array.type)
                fields.append(field)
                arrays.append(array)
            else:
                add_array(column, self._layout.inputs[column.name], plain(inputs.column(column.name)), fields, arrays)
        for column in self._layout.result_columns:
            add_array(column, column.name, results[column.name], fields, arrays)
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema, compression="zstd", compression_level=1)
        self._behind.do(self._writer.write_table, table, max(1, table.num_rows))
        self._waiting, self._rows, self._bytes = [], 0, 0

    def close(self) -> None:
        self._flush()
        self._behind.finish()
        if self._writer is not None:
            self._writer.close()

    def abandon(self) -> None:
        self._behind.stop()
        if self._writer is not None:
            self._writer.close()


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    return any(
        alike(kind) for alike in (types.is_string, types.is_large_string, types.is_integer, types.is_floating,
                                  types.is_boolean, types.is_null)
    )  # fmt: skip


def _texts(array: Any) -> Any:
    """A column as texts: Arrow's own, else JSON, else what of it can be said."""
    import pyarrow as pa

    try:
        return array.cast(pa.string())
    except pa.ArrowException:
        return ARRAYS["text"](list(map(_said, array)))


def _said(value: Any) -> str | None:
    try:
        text: str | None = _fitting("text", value.as_py())
    except (OverflowError, ValueError):
        return str(getattr(value, "value", value.type))
    return text


def plain(values: Iterable[Any]) -> list[Any]:
    from nono.datasets import MISSING

    return [None if value is MISSING else value for value in values]


def add_array(column: Column, name: str, values: Sequence[Any], fields: list[Any], arrays: list[Any]) -> None:
    """Append the Arrow field and array of a column of Python values."""
    import pyarrow as pa

    build = ARRAYS.get(column.kind, ARRAYS["text"])
    if column.kind == "json":
        values = [None if value is None else json_text(value) for value in values]
    try:
        array = build(values)
    except (OverflowError, UnicodeError, TypeError, ValueError):
        array = build([_fitting(column.kind, value) for value in values])
    fields.append(pa.field(name, array.type, metadata=JSON_MARK if column.kind == "json" else None))
    arrays.append(array)


def json_text(value: Any) -> str:
    """A value as JSON text, whatever it is."""
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        import json

        return json.dumps(value, default=str)


def clean(text: str) -> str:
    """A text without lone surrogates: JSON can write them, UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _cleaned(value: Any) -> Any:
    """A value as JSON can hold it, with all that is in it."""
    match value:
        case str():
            return clean(value)
        case Mapping():
            return {clean(str(name)): _cleaned(one) for name, one in value.items()}
        case list() | tuple():
            return [_cleaned(one) for one in value]
        case int() if not -(1 << 63) <= value < 1 << 64:
            return str(value)
    return value


def _fitting(kind: str, value: Any) -> Any:
    """A value as its column can hold it; None where it cannot (the answer's own text still has it)."""
    match kind, value:
        case _, None:
            return None
        case "int", int() | float() if -(1 << 63) <= value < 1 << 63 and value == int(value):
            return int(value)
        case "float", int() | float() if abs(value) < 1e308:
            return float(value)
        case "bool", bool():
            return value
        case "vector", list():
            return value if all(isinstance(one, (int, float)) and abs(one) < 1e308 for one in value) else None
        case "text" | "json", _:
            return clean(value if isinstance(value, str) else json_text(value))
    return None


def take_rows(path: Path, indices: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """Some rows of a written part, with JSON columns as values."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path, columns=list(names)).take(list(indices))
        marked = [
            field.name for field in table.schema if field.metadata and JSON_MARK.items() <= field.metadata.items()
        ]
        rows: list[dict[str, Any]] = table.to_pylist()
        for row in rows:
            row |= {name: json_value(row[name]) for name in marked}
        return rows
    wanted = set(indices)
    with path.open("rb") as file:
        found = {at: msgspec.json.decode(line) for at, line in enumerate(split_lines(file)) if at in wanted}
    return [{name: found[index].get(name) for name in names} for index in indices]


def json_value(text: str | None) -> Any:
    return None if text is None else decode(text.encode())
