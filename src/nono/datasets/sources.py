"""What a data set is: named, fingerprinted, readable in batches as often as needed, able to say where a row stands.

A source that can be read only once (stdin, an iterator, a query) is copied to a file first, so that every source here
can be read again: a plan checks rows before it writes them, and an error names the place of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from nono.datasets.batches import Batch
from nono.datasets.compression import digest
from nono.errors import InputError

# A batch is about this large, whatever its rows are: it stays in a processor's cache while it is worked on.
BATCH_BYTES = 1 << 20
BATCH_ROWS = 4096


class BadInput(InputError):
    """A data set that cannot be read; the message names file, line and column."""


class Source:
    """A data set that can be read from the beginning as often as needed.

    `name` is for people; `columns` are the names that are known before the rows are read (those of the first rows,
    where rows may differ).
    """

    def __init__(self, path: Path, name: str, *, keep: Any = None) -> None:
        self.path = path
        self.name = name
        # Whatever must live as long as the source: the temporary folder of a copy.
        self._keep = keep

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns. Raises BadInput if the input has none."""
        raise NotImplementedError

    def read(self) -> Iterator[Batch]:
        """All rows, in batches. Raises BadInput at the first that cannot be read."""
        raise NotImplementedError

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """The rows from the `start`-th on, in batches, in order. Raises BadInput at the first that cannot be read."""
        for batch in self.read():
            if batch.first >= start:
                yield batch
            elif batch.first + batch.size > start:
                yield batch.cut(start - batch.first, batch.size)

    def rows(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """The rows as dicts."""
        for batch in self.batches(start):
            yield from batch.rows()

    def head(self, count: int) -> list[dict[str, Any]]:
        """The first rows, for a look."""
        return list(islice(self.rows(), count))

    def place(self, row: int) -> str:
        """Where a row stands, for an error message: `in.csv:18`, or `reviews, row 17`. Rows count from 0."""
        return f"{self.name}, row {row + 1}"

    def fingerprint(self) -> str:
        """SHA-256 of the content as it is stored: the same for the same file."""
        return digest(self.path, self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"
