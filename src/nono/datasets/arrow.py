"""Parquet, Arrow and Feather files; only the columns that are asked for become Python values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Any

from nono.datasets.batches import ArrowBatch
from nono.datasets.compression import open_bytes
from nono.datasets.sources import BATCH_BYTES, BATCH_ROWS, BadInput, Source
from nono.errors import MissingExtra

# https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format
ARROW_FILE = b"ARROW1"
# https://parquet.apache.org/docs/file-format/
PARQUET = b"PAR1"
# pandas keeps an index that is more than a row number in a column of this name.
_INDEX = "__index_level_"


@cache
def have_arrow() -> bool:
    return find_spec("pyarrow") is not None


def pyarrow(what: str) -> Any:
    """The pyarrow module. Raises MissingExtra saying that `what` needs it."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra(what, "parquet") from error
    return pyarrow


class _ArrowSource(Source):
    @cached_property
    def columns(self) -> tuple[str, ...]:
        names = tuple(name for name in self.schema.names if not name.startswith(_INDEX))
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BadInput(f"{self.name}: has two columns called {twice!r}", hint="rename one of them")
        if not names:
            raise BadInput(f"{self.name}: has no columns")
        return names

    @cached_property
    def schema(self) -> Any:
        raise NotImplementedError

    def _record_batches(self) -> Iterator[Any]:
        raise NotImplementedError

    def read(self) -> Iterator[ArrowBatch]:
        columns = list(self.columns)
        with self._refusals():
            yield from batches_of(table.select(columns) for table in self._record_batches())

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        arrow = pyarrow(f"reading {self.name}")
        try:
            yield
        except (arrow.ArrowException, OSError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadInput(
                f"{self.name}: {said}", hint="the file is cut, damaged, or of another kind (--format names it)"
            ) from error


def _check_type(source: str, field: Any) -> None:
    """Raise BadInput for a column that a table of results cannot hold: Arrow has types that Parquet has not."""
    arrow = pyarrow(f"reading {source}")
    import pyarrow.parquet as pq

    try:
        pq.write_table(arrow.schema([field]).empty_table(), arrow.BufferOutputStream())
    except arrow.ArrowException as error:
        raise BadInput(
            f"{source}: column {field.name!r} is of a type that no table of results can hold: {field.type}",
            hint="cast it to text, or leave it out",
        ) from error


def batches_of(tables: Iterable[Any], kind: str = "arrow") -> Iterator[ArrowBatch]:
    """Record batches, cut into about equal pieces where they are large."""
    first = 0
    for table in tables:
        pieces = max(1, round(max(table.num_rows / BATCH_ROWS, table.nbytes / BATCH_BYTES)))
        rows = max(1, -(-table.num_rows // pieces))
        for start in range(0, table.num_rows, rows):
            piece = table.slice(start, rows)
            yield ArrowBatch(first, piece.num_rows, piece, kind)
            first += piece.num_rows


class ParquetSource(_ArrowSource):
    """A Parquet file, read page by page: a row group may be larger than memory should be."""

    @contextmanager
    def _file(self) -> Iterator[Any]:
        pyarrow("reading Parquet")
        import pyarrow.parquet as pq

        with self._refusals(), pq.ParquetFile(self.path, buffer_size=1 << 20, pre_buffer=False) as file:
            yield file

    @cached_property
    def schema(self) -> Any:
        with self._file() as file:
            return file.schema_arrow

    def _record_batches(self) -> Iterator[Any]:
        with self._file() as file:
            yield from file.iter_batches(BATCH_ROWS, use_threads=False)


class ArrowSource(_ArrowSource):
    """An Arrow IPC file (Feather is one) or stream."""

    @cached_property
    def columns(self) -> tuple[str, ...]:
        names = super().columns
        for name in names:
            _check_type(self.name, self.schema.field(name))
        return names

    @contextmanager
    def _reader(self) -> Iterator[Any]:
        arrow = pyarrow("reading Arrow files")
        with self._refusals(), open_bytes(self.path, self.name) as file:
            magic = file.read(len(ARROW_FILE))
            if magic == ARROW_FILE:
                with arrow.memory_map(str(self.path)) as mapped, arrow.ipc.open_file(mapped) as reader:
                    yield (reader.schema, (reader.get_batch(number) for number in range(reader.num_record_batches)))
            else:
                file.seek(0)
                with arrow.ipc.open_stream(file) as reader:
                    yield (reader.schema, iter(reader))

    @cached_property
    def schema(self) -> Any:
        with self._reader() as (schema, _):
            return schema

    def _record_batches(self) -> Iterator[Any]:
        with self._reader() as (_, batches):
            yield from batches
