"""A batch's answer files, written when it ends: one pass over its requests in input order.

An answered request's line comes from the journal, any other's is written by the dialect; which file takes which kind of
line is the dialect's table. Nothing grows with the number of requests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from nono.server.dialect import Kind
from nono.server.journal import Journal, JournalReader

Lines = Iterator[tuple[Kind, bytes]]

_BUFFER_BYTES = 1 << 20
# As much as a synchronous call may carry; a longer line is not read into memory.
LINE_BYTES = 20 << 20


class AnswerFile:
    """One file being written, with its size and digest."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, line: bytes) -> None:
        self._buffer += line
        if len(self._buffer) >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._buffer)
        self._digest.update(self._buffer)
        self.bytes += len(self._buffer)
        self._buffer.clear()

    def close(self) -> None:
        if not self._file.closed:
            self._flush()
            self._file.close()


def write_answers(
    journal: Journal,
    lines: Path,
    roles: Mapping[Kind, str],
    unanswered: Callable[[bytes], bytes],
    path_of: Callable[[str], Path],
    through: Callable[[Lines], Lines] = iter,
) -> dict[str, AnswerFile]:
    """Write the answer files of an ended batch; returns them closed, by role. A role that gets no line gets no file.

    What is written is what comes `through`.
    """
    files: dict[str, AnswerFile] = {}
    with ExitStack() as open_files:
        reader = journal.reader()
        open_files.callback(reader.close)
        for kind, line in through(_answer_lines(journal, reader, lines, unanswered)):
            role = roles.get(kind)
            if role is None:
                continue
            file = files.get(role)
            if file is None:
                file = files[role] = AnswerFile(path_of(role))
                open_files.callback(file.close)
            file.write(line)
    return files


def _answer_lines(journal: Journal, reader: JournalReader, lines: Path, unanswered: Callable[[bytes], bytes]) -> Lines:
    if journal.complete:
        for ordinal in range(journal.total):
            found = reader.line(ordinal)
            assert found is not None
            yield found
        return
    with lines.open("rb", buffering=_BUFFER_BYTES) as file:
        for ordinal, line in enumerate(request_lines(file)):
            if ordinal == journal.total:
                return
            yield reader.line(ordinal) or (Kind.UNRUN, unanswered(line))


def request_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of an input that are not blank; lines end at a line feed and nowhere else.

    A line of more than LINE_BYTES comes as its beginning only (see `is_cut`).
    """
    return (line for _, line in numbered_lines(file))


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The same, each with its number as an editor shows it: from 1, blank lines counted."""
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        if is_cut(line):
            _skip_line(file)
        if not line.isspace():
            yield number, line


def is_cut(line: bytes) -> bool:
    """Whether a line is only the beginning of one that is too long."""
    return len(line) > LINE_BYTES and not line.endswith(b"\n")


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(_BUFFER_BYTES)) and not rest.endswith(b"\n"):
        pass
