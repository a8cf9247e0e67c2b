"""The input columns of a part, kept at planning time: the source may change later, the table that comes out may not.

Arrow batches and columns of texts are kept as an Arrow stream; rows of JSON as JSON lines, as they stood where they had
a line each. Without pyarrow everything is JSON lines.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from nono.datasets import ArrowBatch, Batch, DictBatch, Source, TextBatch
from nono.datasets.arrays import text_array
from nono.datasets.arrow import ArrowSource, have_arrow
from nono.datasets.jsonrows import JsonLinesSource
from nono.files import whole_file

_encode_lines = msgspec.json.Encoder().encode_lines


def kept_rows(folder: Path, part_no: int) -> Source:
    """The kept rows of a part, as a source."""
    arrow, lines = folder / f"{part_no:06}.arrow", folder / f"{part_no:06}.jsonl"
    return ArrowSource(arrow, arrow.name) if arrow.exists() else JsonLinesSource(lines, lines.name)


class RowKeeper:
    """Writes the rows of one part; the file appears whole at the end of the block, or not at all."""

    def __init__(self, folder: Path, part_no: int) -> None:
        self._stem = folder / f"{part_no:06}"
        self._open = ExitStack()
        self._file: Any = None
        self._writer: Any = None

    def keep(self, batch: Batch) -> None:
        """Add rows. All batches of a part are of one kind, as a source gives them."""
        if isinstance(batch, DictBatch) or not have_arrow():
            self._keep_lines(batch)
        else:
            self._keep_table(_record_batch(batch))

    def _keep_lines(self, batch: Batch) -> None:
        if self._file is None:
            self._file = self._open.enter_context(whole_file(self._stem.with_suffix(".jsonl"), mode=0o600))
        if isinstance(batch, DictBatch) and batch.lines is not None:
            self._file.write(b"\n".join(batch.lines) + b"\n")
        else:
            self._file.write(_encode_lines(batch.rows()))

    def _keep_table(self, table: Any) -> None:
        from pyarrow import ipc

        if self._writer is None:
            file = self._open.enter_context(whole_file(self._stem.with_suffix(".arrow"), mode=0o600))
            options = ipc.IpcWriteOptions(use_threads=False)
            self._writer = self._open.enter_context(ipc.new_stream(file, table.schema, options=options))
        self._writer.write_batch(table)

    def __enter__(self) -> RowKeeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


def write_borrowed(folder: Path, part_no: int, borrowed: dict[int, tuple[int, int]]) -> None:
    """Keep which rows of a part have another row's answer: index in the part -> part and index of the other."""
    with whole_file(folder / f"{part_no:06}.borrowed", mode=0o600) as file:
        file.write(msgspec.json.encode(borrowed))


def read_borrowed(folder: Path, part_no: int) -> dict[int, tuple[int, int]]:
    """What `write_borrowed` kept; empty if no row of the part is borrowed."""
    path = folder / f"{part_no:06}.borrowed"
    return msgspec.json.decode(path.read_bytes(), type=dict[int, tuple[int, int]]) if path.exists() else {}


def _record_batch(batch: Batch) -> Any:
    """A batch as an Arrow record batch."""
    if isinstance(batch, ArrowBatch):
        return batch.table
    import pyarrow as pa

    assert isinstance(batch, TextBatch)
    arrays = [text_array(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(batch.names))
