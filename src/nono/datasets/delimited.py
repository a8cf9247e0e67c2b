"""CSV and TSV: a header line, then rows of texts, exactly as they stand (an empty field is an empty text).

The delimiter of a `.csv` whose header has no comma is a semicolon or a tab if the header has one of these; nothing else
is guessed. Quotes follow RFC 4180: fields with delimiters, quotes or line breaks are quoted, quotes inside are doubled.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from nono.datasets.arrow import batches_of, have_arrow
from nono.datasets.batches import ArrowBatch, TextBatch
from nono.datasets.compression import open_bytes
from nono.datasets.sources import BATCH_BYTES, BATCH_ROWS, BadInput, Source
from nono.datasets.tables import NotPlain, read_tables

_QUOTE_HINT = (
    'put a field with the delimiter, a quote or a line break into quotes, and double the quotes inside: "a ""b"""'
)


class CsvSource(Source):
    """A CSV or TSV file. `delimiter` None means: what the header says."""

    def __init__(self, path: Path, name: str, *, delimiter: str | None = None, keep: Any = None) -> None:
        super().__init__(path, name, keep=keep)
        self._delimiter = delimiter

    @cached_property
    def columns(self) -> tuple[str, ...]:
        with self._reader() as (reader, _):
            return self._header(reader)

    def read(self) -> Iterator[TextBatch | ArrowBatch]:
        done = 0
        # A small file is read before Arrow is imported.
        if self.path.stat().st_size > BATCH_BYTES and have_arrow():
            with suppress(NotPlain):
                for batch in self._tables():
                    yield batch
                    done = batch.first + batch.size
                return
        yield from self._texts(done)

    def _tables(self) -> Iterator[ArrowBatch]:
        """The rows as Arrow batches. Raises NotPlain where only `csv` can tell what is meant, or what is wrong."""
        with self._reader() as (reader, _):
            names, lines = self._header(reader), reader.line_num
        with open_bytes(self.path, self.name) as binary:
            delimiter = self._delimiter or _delimiter(self.path, binary.readline().decode())
            binary.seek(0)
            yield from batches_of(read_tables(binary, names, delimiter, lines), "text")

    def _texts(self, done: int) -> Iterator[TextBatch]:
        """The rows after the first `done`."""
        with self._reader() as (reader, binary):
            names = self._header(reader)
            deque(islice(filter(None, reader), done), maxlen=0)
            first, take = done, 256
            while True:
                before, line = binary.tell(), reader.line_num
                rows = list(islice(reader, take))
                if not rows:
                    return
                if set(map(len, rows)) != {len(names)}:
                    rows = self._without_blank_lines(rows, names, first, line)
                yield TextBatch(first, len(rows), names, list(zip(*rows, strict=True)))
                first += len(rows)
                row_bytes = max(1, (binary.tell() - before) // take)
                take = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))

    def place(self, row: int) -> str:
        with self._reader() as (reader, _):
            self._header(reader)
            line, seen = reader.line_num, -1
            for fields in reader:
                seen += bool(fields)
                if seen == row:
                    return f"{self.name}:{line + 1}"
                line = reader.line_num
        return super().place(row)

    @contextmanager
    def _reader(self) -> Iterator[tuple[Any, BinaryIO]]:
        # The limit is the module's, not the reader's; its default of 128 KB is too small for a long document.
        csv.field_size_limit(sys.maxsize)
        with open_bytes(self.path, self.name) as binary:
            text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
            reader = None
            try:
                head = text.readline()
                reader = csv.reader(
                    chain([head], text), delimiter=self._delimiter or _delimiter(self.path, head), strict=True
                )
                yield reader, binary
            except UnicodeDecodeError as error:
                raise self._bad_text() from error
            except csv.Error as error:
                line = reader.line_num if reader else 1
                if str(error) == "unexpected end of data":
                    said = f"{self.name}:{self._last_row_end() + 1}: a quote that opens in this row is never closed"
                else:
                    said = f"{self.name}:{line}: not readable as CSV: {error}"
                raise BadInput(said, hint=_QUOTE_HINT) from error
            finally:
                text.detach()

    def _header(self, reader: Any) -> tuple[str, ...]:
        names = next((row for row in reader if row), None)
        if names is None:
            raise BadInput(f"{self.name}: is empty", hint="the first line names the columns, the rows follow")
        named = tuple(name.strip() or f"column_{number}" for number, name in enumerate(names, start=1))
        for number, name in enumerate(named):
            if name in named[:number]:
                raise BadInput(
                    f"{self.name}:1: columns {named.index(name) + 1} and {number + 1} are both called {name!r}",
                    hint="give every column its own name in the first line",
                )
        return named

    def _without_blank_lines(self, rows: list[list[str]], names: tuple[str, ...], first: int, line: int) -> Any:
        kept = [row for row in rows if row]
        for row in kept:
            if len(row) != len(names):
                number = first + kept.index(row)
                found = "1 field" if len(row) == 1 else f"{len(row)} fields"
                raise BadInput(
                    f"{self.place(number)}: {found} where the header names {len(names)} ({', '.join(names[:8])})",
                    hint=_QUOTE_HINT,
                )
        return kept

    def _last_row_end(self) -> int:
        """The line in which the last row ends that can be read."""
        line = 0
        with open_bytes(self.path, self.name) as binary, suppress(csv.Error):
            text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
            reader = csv.reader(text, delimiter=self._delimiter or _delimiter(self.path, text.readline()), strict=True)
            line = 1
            for _ in reader:
                line = 1 + reader.line_num
        return line

    def _bad_text(self) -> BadInput:
        with open_bytes(self.path, self.name) as binary:
            for number, line in enumerate(binary, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                        break
                    return BadInput(
                        f"{self.name}:{number}: column {error.start + 1} is not UTF-8 (byte 0x{line[error.start]:02x})",
                        hint=f"convert it: iconv -f WINDOWS-1252 -t UTF-8 {self.name} > utf8.csv",
                    )
        return BadInput(
            f"{self.name}: is not UTF-8 but UTF-16", hint=f"convert it: iconv -f UTF-16 -t UTF-8 {self.name} > utf8.csv"
        )


def _delimiter(path: Path, head: str) -> str:
    if ".tsv" in path.suffixes:
        return "\t"
    if "," not in head:
        for other in (";", "\t"):
            if other in head:
                return other
    return ","
