"""The answers that rows of a part have from earlier runs: kept at planning, word for word, so that they stay when the
earlier run is purged.

One record a line, in the order of the rows: the row in the part, the digest of what was asked, the batch that answered,
and its answer line, with tabs between them. Nobody pays for these answers again, and no attempt brings them.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

_NOT_REUSED = -1


class Lent(NamedTuple):
    """An answer line of an earlier run, the batch that gave it, and the digest of what was asked."""

    line: bytes
    batch_id: str
    digest: bytes


def reused_path(rows: Path, part_no: int) -> Path:
    """Where the reused answers of a part are kept, in the folder of its rows."""
    return rows / f"{part_no:06}.reused"


def record(row: int, lent: Lent) -> bytes:
    """The record of a row, with the line's end."""
    return b"%d\t%s\t%s\t%s\n" % (row, lent.digest.hex().encode(), lent.batch_id.encode(), lent.line)


def read_record(line: bytes) -> Lent:
    """What `record` wrote."""
    _, digest, batch_id, answer = line.split(b"\t", 3)
    return Lent(answer, batch_id.decode(), bytes.fromhex(digest.decode()))


def records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Start and bytes (without the line's end) of every record of a file; nothing if there is no such file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        start = 0
        for line in file:
            yield start, line.rstrip(b"\n")
            start += len(line)


class Reused:
    """The reused answers of one part, by row (counted from the part's first). To be closed."""

    def __init__(self, rows: Path, part_no: int, row_count: int) -> None:
        self._open = ExitStack()
        self._starts: array[int] | None = None
        path = reused_path(rows, part_no)
        if not path.exists():
            return
        self._starts = array("q", [_NOT_REUSED]) * row_count
        for start, line in records(path):
            self._starts[int(line[: line.index(b"\t")])] = start
        file = self._open.enter_context(path.open("rb"))
        self._content = self._open.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def close(self) -> None:
        self._open.close()

    def __bool__(self) -> bool:
        return self._starts is not None

    def __contains__(self, row: int) -> bool:
        return self._starts is not None and self._starts[row] != _NOT_REUSED

    def answer(self, row: int) -> Lent | None:
        """The answer that a row has from an earlier run, or None."""
        if self._starts is None or self._starts[row] == _NOT_REUSED:
            return None
        start = self._starts[row]
        return read_record(self._content[start : self._content.find(b"\n", start)])
