"""Parts as they are written: rows kept, requests put into a shard file, until one of the limits is reached.

Rows that ask what an earlier row asked are borrowed: kept like all others, but their answer is the first one's. Rows
whose request an earlier run has an answer to are reused: kept together with that answer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec

from nono.datasets import Batch
from nono.files import whole_file
from nono.runs.kept import RowKeeper, write_borrowed
from nono.runs.lines import BYTES_PER_TOKEN, Lines, SeparateLines
from nono.runs.pipeline import Behind
from nono.runs.reused import Lent, record, reused_path

# Distinct repeated requests that dedupe remembers (some 200 bytes each); what repeats beyond them is sent again.
REMEMBERED = 500_000


class PlannedPart(msgspec.Struct, frozen=True):
    """Rows `first_row` to `first_row + row_count`, and the shard with their requests.

    `tokens` is an estimate of the input tokens. `requests` is 0 where no row has one of its own: then there is no shard
    file. `borrows_from` are the parts whose results have to be there before this one's are complete (may name itself).
    `reused` counts the rows with an answer of an earlier run.
    """

    no: int
    first_row: int
    row_count: int
    requests: int
    file_bytes: int
    tokens: int
    borrows_from: tuple[int, ...] = ()
    reused: int = 0


@dataclass(frozen=True, slots=True)
class PartLimits:
    """What one part may hold; None where nothing is known. `inputs` are texts to embed: a request may have many."""

    rows: int
    requests: int
    file_bytes: int
    inputs: int | None
    tokens: int | None
    file_bytes_source: str


class PartWriter:
    """Writes parts one after the other; removes them all if its block raises.

    `twice` are the hashes of the requests that repeat; `earlier` finds the answer of an earlier run to a request line.
    """

    def __init__(
        self,
        limits: PartLimits,
        shards_into: Path | None,
        rows_into: Path | None,
        twice: frozenset[int],
        earlier: Callable[[bytes], Lent | None] | None = None,
    ) -> None:
        self._limits = limits
        self._shards_into = shards_into
        self._rows_into = rows_into
        self._twice = twice
        self._earlier = earlier
        self._first_rows: dict[bytes, int] = {}
        self._planned: list[PlannedPart] = []
        self._open: _OpenPart | None = None
        self._behind = Behind()
        # A disk is waited for here, so that the next part can be written meanwhile.
        self._finishing = Behind()
        # Parts whose files have not got their names yet.
        self._unfinished: set[_OpenPart] = set()
        self.borrowed = 0
        self.warnings: tuple[str, ...] = ()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._behind.stop()
        self._finishing.stop()
        if kind is None:
            return
        for unfinished in self._unfinished:
            unfinished.abandon()
        for part in self._planned:
            for folder in (self._shards_into, self._rows_into):
                for path in folder.glob(f"{part.no:06}.*") if folder else ():
                    path.unlink()

    def add(self, batch: Batch, made: Lines) -> None:
        """Append a batch of rows, over as many parts as it takes."""
        kept = 0
        for start, stop, origin in self._stretches(batch, made):
            while start < stop:
                part = self._open or self._begin(batch.first + start)
                if origin is None:
                    start += part.add(made, start, stop)
                elif isinstance(origin, Lent):
                    start += part.reuse(origin)
                else:
                    start += part.borrow(self._part_and_index(origin))
                if start < stop:
                    part.keep(batch, kept, start)
                    kept = start
                    self._close()
        if self._open is not None:
            self._open.keep(batch, kept, batch.size)

    def finish(self) -> list[PlannedPart]:
        self._close()
        self._behind.finish()
        self._finishing.finish()
        return self._planned

    def _stretches(self, batch: Batch, made: Lines) -> Iterator[tuple[int, int, int | Lent | None]]:
        """Stretches of rows with requests of their own, and single rows without one, with where their answer is."""
        start = 0
        for at, origin in self._reused_and_borrowed(batch, made):
            if start < at:
                yield start, at, None
            yield at, at + 1, origin
            start = at + 1
        if start < batch.size:
            yield start, batch.size, None

    def _reused_and_borrowed(self, batch: Batch, made: Lines) -> Iterator[tuple[int, int | Lent]]:
        """Rows with an earlier run's answer, and rows that will have an earlier row's, with that row."""
        if self._earlier is None and not self._twice:
            return
        for at in range(batch.size):
            lent = self._earlier(made.lines[at]) if self._earlier is not None else None
            if lent is not None:
                yield at, lent
            elif self._twice and hash(made.keys[at]) in self._twice:
                first_row = self._first_row(made.keys[at], batch.first + at)
                if first_row is not None:
                    yield at, first_row
                    self.borrowed += 1

    def _first_row(self, key: bytes, row: int) -> int | None:
        """The earlier row with this request, or None if this is the first one."""
        digest = blake2b(key, digest_size=16).digest()
        first_row = self._first_rows.get(digest)
        if first_row is None:
            if len(self._first_rows) < REMEMBERED:
                self._first_rows[digest] = row
            else:
                forgot = "what else repeats is sent as often as it stands there"
                self.warnings = (f"{REMEMBERED:,} different repeated requests are remembered; {forgot}",)
        return first_row

    def _part_and_index(self, row: int) -> tuple[int, int]:
        number = bisect_right(self._planned, row, key=lambda part: part.first_row) - 1
        part: PlannedPart | _OpenPart | None = self._open
        if part is None or row < part.first_row:
            part = self._planned[number]
        return part.no, row - part.first_row

    def _begin(self, first_row: int) -> _OpenPart:
        number = len(self._planned)
        self._open = _OpenPart(number, first_row, self._limits, self._behind, self._shards_into, self._rows_into)
        self._unfinished.add(self._open)
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            self._planned.append(self._open.planned())
            self._behind.do(self._finishing.do, self._finish, self._open)
            self._open = None

    def _finish(self, part: _OpenPart) -> None:
        part.close()
        self._unfinished.discard(part)


class _OpenPart:
    """The part that is being written; its files are written behind."""

    def __init__(
        self,
        no: int,
        first_row: int,
        limits: PartLimits,
        behind: Behind,
        shards_into: Path | None,
        rows_into: Path | None,
    ) -> None:
        self.no = no
        self.first_row = first_row
        self._limits = limits
        self._behind = behind
        self._rows_into = rows_into
        self._shard_path = shards_into / f"{no:06}.jsonl" if shards_into else None
        self._files = ExitStack()
        self._keeper = self._files.enter_context(RowKeeper(rows_into, no)) if rows_into else None
        self._shard: Any = None
        self._rows = self._requests = self._bytes = self._inputs = self._weight = 0
        self._reused_file: Any = None
        self._reused = 0
        # Index of a borrowed row -> part and index of the row whose answer it gets.
        self._borrowed: dict[int, tuple[int, int]] = {}

    def add(self, made: Lines, start: int, stop: int) -> int:
        """Take as many of the rows as fit, at least one if the part is empty; returns how many."""
        if stop - start < made.count or not self._has_room(made):
            stop = start + self._room(made, start, stop)
            if start == stop:
                return 0
            made = _cut(made, start, stop)
        if self._shard_path is not None:
            if self._shard is None:
                self._shard = self._files.enter_context(whole_file(self._shard_path, mode=0o600))
            self._behind.do(self._shard.write, made.content)
        self._rows += made.count
        self._requests += made.count
        self._bytes += len(made.content)
        self._weight += made.weight
        self._inputs += made.count if made.inputs is None else sum(made.inputs)
        return made.count

    def _has_room(self, made: Lines) -> bool:
        """Whether all of a batch fits."""
        limits = self._limits
        inputs = made.count if made.inputs is None else sum(made.inputs)
        return (
            self._rows + made.count <= limits.rows
            and self._requests + made.count <= limits.requests
            and self._bytes + len(made.content) <= limits.file_bytes
            and (limits.tokens is None or self._weight + made.weight <= limits.tokens * BYTES_PER_TOKEN)
            and (limits.inputs is None or self._inputs + inputs <= limits.inputs)
        )

    def _room(self, made: Lines, start: int, stop: int) -> int:
        limits = self._limits
        count = min(stop - start, limits.requests - self._requests, limits.rows - self._rows)
        taken = slice(start, start + count)
        inputs = made.inputs if made.inputs is not None else [1] * made.count
        weight = None if limits.tokens is None else limits.tokens * BYTES_PER_TOKEN
        for sizes, used, limit in (
            ([len(line) + 1 for line in made.lines[taken]], self._bytes, limits.file_bytes),
            (made.weights[taken], self._weight, weight),
            (inputs[taken], self._inputs, limits.inputs),
        ):
            if limit is not None and used + sum(sizes) > limit:
                count = min(count, bisect_right(list(accumulate(sizes)), limit - used))
        return max(count, 0 if self._rows else 1)

    def borrow(self, source: tuple[int, int]) -> int:
        """Take one row that has another's answer; 0 if the part is full."""
        if self._rows >= self._limits.rows:
            return 0
        self._borrowed[self._rows] = source
        self._rows += 1
        return 1

    def reuse(self, lent: Lent) -> int:
        """Take one row with an answer of an earlier run; 0 if the part is full."""
        if self._rows >= self._limits.rows:
            return 0
        if self._rows_into is not None:
            if self._reused_file is None:
                path = reused_path(self._rows_into, self.no)
                self._reused_file = self._files.enter_context(whole_file(path, mode=0o600))
            self._reused_file.write(record(self._rows, lent))
        self._rows += 1
        self._reused += 1
        return 1

    def keep(self, batch: Batch, start: int, stop: int) -> None:
        if self._keeper is not None and start < stop:
            self._behind.do(self._keeper.keep, batch if stop - start == batch.size else batch.cut(start, stop))

    def close(self) -> None:
        """Give the files their names."""
        self._files.close()
        if self._borrowed and self._rows_into is not None:
            write_borrowed(self._rows_into, self.no, self._borrowed)

    def planned(self) -> PlannedPart:
        return PlannedPart(
            no=self.no,
            first_row=self.first_row,
            row_count=self._rows,
            requests=self._requests,
            file_bytes=self._bytes,
            tokens=self._weight // BYTES_PER_TOKEN,
            borrows_from=tuple(sorted({part for part, _ in self._borrowed.values()})),
            reused=self._reused,
        )

    def abandon(self) -> None:
        """Close without leaving a file behind."""
        self._files.__exit__(InterruptedError, InterruptedError(), None)


def _cut(made: Lines, start: int, stop: int) -> Lines:
    taken = slice(start, stop)
    inputs = None if made.inputs is None else made.inputs[taken]
    return SeparateLines(made.lines[taken], made.keys[taken], made.weights[taken], inputs)
