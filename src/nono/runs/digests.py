"""Where things with a digest lie, for any number of them, in little memory: records of one width on disk, in buckets.

Records are written as they come, and put into the bucket of their digest's first two bytes when the first one is looked
for; within a bucket they keep their order. A bucket is small enough to be searched from end to end.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import accumulate
from typing import BinaryIO, NamedTuple

DIGEST_BYTES = 16
_RECORD = struct.Struct(f">{DIGEST_BYTES}sIQI")
_WIDTH = _RECORD.size
_BUCKETS = 1 << 16
# Records that are read at a time while they are put into buckets.
_CHUNK = 4096 * _WIDTH


class Place(NamedTuple):
    """A stretch of a file; files are known by number."""

    file: int
    start: int
    length: int


class DigestTable:
    """Places by digest. First everything is added, then it is looked up; a context manager."""

    def __init__(self) -> None:
        self.count = 0
        self._open = ExitStack()
        self._loose: BinaryIO = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        # Where the records of a bucket begin, once they are in order; one more than there are buckets.
        self._starts = array("Q", bytes(8 * (_BUCKETS + 1)))
        self._table: mmap.mmap | None = None

    def __enter__(self) -> DigestTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, digest: bytes, place: Place) -> None:
        """A digest of `DIGEST_BYTES` and where its thing lies. One digest may lie in several places."""
        self._loose.write(_RECORD.pack(digest, *place))
        self._starts[_bucket(digest) + 1] += _WIDTH
        self.count += 1

    def places(self, digest: bytes) -> Iterator[Place]:
        """Every place of a digest, in the order of their adding."""
        if not self.count:
            return
        table = self._table or self._in_order()
        bucket = _bucket(digest)
        at, end = self._starts[bucket], self._starts[bucket + 1]
        while (at := table.find(digest, at, end)) >= 0:
            # What lies across two records only looks like the digest.
            if at % _WIDTH == 0:
                yield Place(*_RECORD.unpack_from(table, at)[1:])
            at += 1

    def _in_order(self) -> mmap.mmap:
        self._starts = array("Q", accumulate(self._starts))
        following = self._starts[:]
        file = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        file.truncate(self.count * _WIDTH)
        table = self._table = self._open.enter_context(mmap.mmap(file.fileno(), 0))
        self._loose.seek(0)
        while chunk := self._loose.read(_CHUNK):
            for start in range(0, len(chunk), _WIDTH):
                record = chunk[start : start + _WIDTH]
                bucket = _bucket(record)
                at = following[bucket]
                table[at : at + _WIDTH] = record
                following[bucket] = at + _WIDTH
        return table


def _bucket(digest: bytes) -> int:
    return digest[0] << 8 | digest[1]
