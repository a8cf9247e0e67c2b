"""Equal keys among any number of keys, in little memory: 8-byte hashes in sorted runs on disk, compared range by range.

The answer are hashes, not keys: equal keys have equal hashes, and different keys nearly always different ones. Whoever
asks has to look at the keys again; there are few that matter.

Keys that ascend, shorter ones first, as counters do, need no hash: none of them can repeat.
"""

from __future__ import annotations

import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Hashable, Iterable
from itertools import compress, islice, pairwise
from operator import eq
from typing import Any

# Hashes sorted in memory at a time (8 bytes in the run, some 40 while they are sorted).
RUN = 1 << 18
_LOWEST, _HIGHEST = -(1 << 63), 1 << 63


class KeyHashes:
    """The hashes of all keys so far. Python's own hash is used: within this process only."""

    def __init__(self) -> None:
        self.count = 0
        self._pending: list[int] = []
        self._runs: list[int] = []
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this object lives

    def add(self, keys: Iterable[Hashable]) -> None:
        self._pending.extend(map(hash, keys))
        if len(self._pending) >= RUN:
            self._spill()

    def _spill(self) -> None:
        self._pending.sort()
        array("q", self._pending).tofile(self._file)
        self._runs.append(len(self._pending))
        self.count += len(self._pending)
        self._pending = []

    def repeated(self) -> frozenset[int]:
        """The hashes that occur more than once."""
        if not self._runs:
            self._pending.sort()
            return _neighbours(self._pending)
        if self._pending:
            self._spill()
        runs = self._mapped()
        # As many ranges as there are runs: about one run's worth of hashes is in memory at a time.
        found: set[int] = set()
        edges = [_LOWEST + (_HIGHEST - _LOWEST) * number // len(runs) for number in range(len(runs) + 1)]
        for low, high in pairwise(edges):
            together: list[int] = []
            for run in runs:
                together += run[bisect_left(run, low) : bisect_left(run, high)]
            together.sort()
            found |= _neighbours(together)
        return frozenset(found)

    def _mapped(self) -> list[memoryview]:
        import mmap

        self._file.flush()
        whole = memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)).cast("q")
        runs, start = [], 0
        for length in self._runs:
            runs.append(whole[start : start + length])
            start += length
        return runs


def _neighbours(ordered: list[int]) -> frozenset[int]:
    return frozenset(compress(ordered, map(eq, ordered, islice(ordered, 1, None))))


def ascend(texts: Any, last: str | None) -> bool:
    """Whether every text of an Arrow array is greater than the one before it, the first one than `last`."""
    from pyarrow import compute

    if last is not None and _order(texts[0].as_py()) <= _order(last):
        return False
    lengths = compute.binary_length(texts)
    greater = compute.greater(texts[1:], texts[:-1])
    if not compute.equal(compute.min(lengths), compute.max(lengths)).as_py():
        longer = compute.greater(lengths[1:], lengths[:-1])
        equal = compute.equal(lengths[1:], lengths[:-1])
        greater = compute.or_(longer, compute.and_(equal, greater))
    every: bool = compute.all(greater, min_count=0).as_py()
    return every


def _order(text: str) -> tuple[int, bytes]:
    encoded = text.encode()
    return len(encoded), encoded
