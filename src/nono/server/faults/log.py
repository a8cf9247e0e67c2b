"""What happened, one JSON object a line: every call, every execution of a request, every move of a batch.

On disk (`faults.jsonl` in the server's folder) before the caller goes on, so that a killed server has told everything
it did. Ids, sizes and digests only: no key, no prompt, no answer.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from nono.server.clock import Clock

NAME = "faults.jsonl"
_PIECE_BYTES = 1 << 18
# The longest entry is a call with its path; a path has a limit of its own before it comes here.
_TAIL_BYTES = 1 << 16


class Log:
    """Append-only; threads share one. A log that is there is gone on with."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        last = _last_entry(path)
        self._number = last.get("no", 0)
        # The instant of the last entry of an earlier server: time must not go back behind it.
        self.last_ns: int = last.get("at_ns", 0)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._open = True

    def write(self, what: str, **entry: Any) -> None:
        """Raises OSError if the disk refuses, or the log is closed."""
        with self._lock:
            if not self._open:
                raise OSError(errno.EBADF, "the log is closed: the server has stopped")
            self._number += 1
            line = {"no": self._number, "at_ns": self._clock.now_ns(), "what": what, **entry}
            os.write(self._file, msgspec.json.encode(line) + b"\n")

    def read(self, after: int = 0) -> Iterator[bytes]:
        """The entries behind the number `after` that are there now, in pieces."""
        left = self.path.stat().st_size
        waiting = bytearray()
        with self.path.open("rb") as file:
            for line in file:
                left -= len(line)
                if left < 0:
                    break
                if not after or msgspec.json.decode(line)["no"] > after:
                    waiting += line
                    if len(waiting) >= _PIECE_BYTES:
                        yield bytes(waiting)
                        waiting.clear()
        yield bytes(waiting)

    def close(self) -> None:
        """A model that hangs may answer later still; its answer is dropped."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._file)


def _last_entry(path: Path) -> dict[str, Any]:
    """The last whole entry; what a power cut left of another one is cut off."""
    if not path.exists():
        return {}
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        file.truncate(start + whole)
        lines = tail[:whole].splitlines()
    return msgspec.json.decode(lines[-1]) if lines else {}
