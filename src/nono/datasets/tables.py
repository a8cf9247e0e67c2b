"""CSV as Arrow tables, block by block, where it is certain that Python's `csv` reads the same; elsewhere not at all.

Arrow's reader is several times as fast, but it takes quotes that are out of place as they come, and after one that is
never closed it takes the following rows for a text. So every block is looked at before: a quote opens at the beginning
of a field, a single one closes at its end, and lines end in line feeds. Whatever is not like this is `NotPlain`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, BinaryIO

from nono.datasets.sources import BATCH_BYTES

# A row that is longer than this is not waited for: a quote may be open by mistake.
LONGEST_ROW = 4 * BATCH_BYTES


class NotPlain(Exception):
    """Only Python's `csv` knows what these bytes mean."""


def read_tables(
    file: BinaryIO, names: tuple[str, ...], delimiter: str, skip_lines: int, block_bytes: int = BATCH_BYTES
) -> Iterator[Any]:
    """The rows after the first `skip_lines` lines as record batches of texts, block by block.

    Raises NotPlain at the first block that may mean something else than Arrow makes of it.
    """
    import pyarrow as pa
    from pyarrow import csv

    # A block ends with a row: Arrow need not look for its end (`newlines_in_values`).
    parse = csv.ParseOptions(delimiter=delimiter)
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[], strings_can_be_null=False
    )
    for _ in range(skip_lines):
        if _LONE_RETURN(file.readline()):
            raise NotPlain
    for block in _blocks(file, delimiter, block_bytes):
        if _LONE_RETURN(block):
            raise NotPlain
        read = csv.ReadOptions(use_threads=False, column_names=list(names), block_size=len(block) + 1)
        try:
            yield from csv.read_csv(pa.py_buffer(block), read, parse, convert).to_batches()
        except pa.ArrowException as error:
            raise NotPlain from error


def _blocks(file: BinaryIO, delimiter: str, block_bytes: int) -> Iterator[memoryview]:
    """The rows of a file in blocks that end with a row, their quotes where they should be. Raises NotPlain."""
    plain = _plain(delimiter)
    rest = b""
    while chunk := file.read(block_bytes):
        rest += chunk
        closed = plain(rest)
        end = _end_of_rows(rest, closed)
        if end:
            yield memoryview(rest)[:end]
            rest = rest[end:]
        elif len(rest) > LONGEST_ROW:
            raise NotPlain
    if plain(rest) < len(rest):
        raise NotPlain
    if rest:
        yield memoryview(rest)


def _end_of_rows(block: bytes, closed: int) -> int:
    """Where the last row ends that is whole, if no quote is open at `closed`: before an even number of quotes."""
    quotes, stop = 0, closed
    while stop:
        end = block.rfind(b"\n", 0, stop) + 1
        quotes += block.count(b'"', end, stop)
        if quotes % 2 == 0:
            return end
        stop = max(0, end - 1)
    return 0


_LONE_RETURN = re.compile(rb"\r(?!\n)").search


@cache
def _plain(delimiter: str) -> Callable[[bytes], int]:
    """How far the quotes of some rows stand at the borders of fields, and doubled inside, with none left open."""
    border = rb"[%s\r\n]" % re.escape(delimiter.encode())
    quoted = rb'"(?:[^"]*+"")*+[^"]*+"'
    match = re.compile(rb'(?:[^"]*+(?:(?<=%s)|\A)%s(?=%s|\Z))*+[^"]*+' % (border, quoted, border)).match

    def plain(rows: bytes) -> int:
        return len(rows) if b'"' not in rows else match(rows).end()  # type: ignore[union-attr]  # it always matches

    return plain
