"""The answers of a running batch, on disk as they come, each with the number of its request.

Append-only, one line a record:

    <crc32 of the rest> <ordinal> <o|f> <input> <output> <cached> <reasoning tokens> <the answer line>

A record is in the file as soon as `append` returns, so a killed process loses only what was still being answered;
records are forced to disk in groups. Opening reads the records back and cuts off whatever a crash left torn.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nono.model import Usage
from nono.server.dialect import Answer, Kind
from nono.server.records import Counts

# A power cut costs at most this much work; a forced write takes some milliseconds.
SYNC_EVERY_S = 0.5
SYNC_EVERY_BYTES = 8 << 20

_OK, _FAILED = b"o", b"f"
_KINDS = {_OK: Kind.OK, _FAILED: Kind.FAILED}
_NOT_YET = -1


class Journal:
    """Threads share one. Memory: eight bytes a request of the batch, whatever the answers' size."""

    def __init__(self, path: Path, total: int) -> None:
        self.total = total
        self._places = array("q", [_NOT_YET]) * total
        self._ok = self._failed = 0
        self._tokens = [0, 0, 0, 0]
        self._lock = threading.Lock()
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._end = self._read_back()
        os.ftruncate(self._file, self._end)
        self._synced_bytes, self._synced_s = self._end, time.monotonic()
        self._open = True

    @property
    def counts(self) -> Counts:
        return Counts(self.total, self._ok, self._failed)

    @property
    def usage(self) -> Usage:
        return Usage(*self._tokens)

    @property
    def complete(self) -> bool:
        return self._ok + self._failed == self.total

    def has(self, ordinal: int) -> bool:
        return self._places[ordinal] != _NOT_YET

    def append(self, ordinal: int, answer: Answer) -> None:
        """Record an answer; a second one for the same request is dropped.

        Raises OSError if the disk refuses; the journal is as it was before.
        """
        usage = answer.usage
        rest = b"%d %b %d %d %d %d %b" % (
            ordinal,
            _OK if answer.ok else _FAILED,
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
            answer.line,
        )
        record = b"%08x %b" % (zlib.crc32(rest), rest)
        with self._lock:
            if not self._open or self.has(ordinal):
                return
            try:
                _write_whole(self._file, record, self._end)
                if self._end + len(record) - self._synced_bytes >= SYNC_EVERY_BYTES or (
                    time.monotonic() - self._synced_s >= SYNC_EVERY_S
                ):
                    self._sync()
            except OSError:
                os.ftruncate(self._file, self._end)
                raise
            self._note(ordinal, answer.ok, self._end, usage)
            self._end += len(record)

    def reader(self) -> JournalReader:
        """Reads records back; for one thread."""
        return JournalReader(self._path.open("rb", buffering=1 << 18), self._places)

    def close(self) -> None:
        """Force everything to disk; later answers are dropped."""
        with self._lock:
            if self._open:
                self._open = False
                try:
                    self._sync()
                finally:
                    os.close(self._file)

    def _note(self, ordinal: int, ok: bool, place: int, usage: Usage) -> None:
        self._places[ordinal] = place
        if ok:
            self._ok += 1
        else:
            self._failed += 1
        tokens = self._tokens
        tokens[0] += usage.input_tokens
        tokens[1] += usage.output_tokens
        tokens[2] += usage.cached_tokens
        tokens[3] += usage.reasoning_tokens

    def _sync(self) -> None:
        os.fdatasync(self._file)
        self._synced_bytes, self._synced_s = self._end, time.monotonic()

    def _read_back(self) -> int:
        """Note every whole record; returns where they end."""
        end = 0
        with open(os.dup(self._file), "rb", buffering=1 << 18) as file:  # noqa: PTH123 - a descriptor, not a path
            for record in file:
                crc, _, rest = record.partition(b" ")
                if not record.endswith(b"\n") or crc != b"%08x" % zlib.crc32(rest):
                    break
                fields = rest.split(b" ", 6)
                ordinal = int(fields[0])
                if ordinal < self.total and not self.has(ordinal):
                    self._note(ordinal, fields[1] == _OK, end, Usage(*map(int, fields[2:6])))
                end += len(record)
        return end


@dataclass(slots=True)
class JournalReader:
    """Looks records up by their request's number; cheapest in the order in which they were written."""

    _file: BinaryIO
    _places: array[int]

    def line(self, ordinal: int) -> tuple[Kind, bytes] | None:
        """Kind and answer line of a request; None if it has no answer."""
        place = self._places[ordinal]
        if place == _NOT_YET:
            return None
        self._file.seek(place)
        fields = self._file.readline().split(b" ", 7)
        return _KINDS[fields[2]], fields[7]

    def close(self) -> None:
        self._file.close()


def _write_whole(file: int, record: bytes, place: int) -> None:
    written = os.pwrite(file, record, place)
    while written < len(record):
        written += os.pwrite(file, record[written:], place + written)
