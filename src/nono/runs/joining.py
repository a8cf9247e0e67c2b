"""Which answer lines belong to which row: joined by id, never by position; what does not fit is counted, never fatal.

A first look finds only the id of every line and remembers where the line stands. The lines are read in earnest later,
in the order of the rows, so that a part's answers are never in memory together.
"""

from __future__ import annotations

import mmap
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from nono.jsonl import BadLine, split_lines
from nono.model import Outcome, RequestError, Result

# So many odd lines of a kind are shown; all are counted.
SHOWN = 5
# So much of the answer files is in memory at a time, and so much of them is looked through for ids at a time.
WINDOW_BYTES = 16 << 20
SCAN_BYTES = 2 << 20
_NONE = -1


@dataclass(frozen=True, slots=True)
class Answers:
    """What one attempt brought.

    `files` are its answer files, successes first. `requests` is its input file; None means that it had all of the
    part's own requests and no others. `unanswered` is what became of requests without an answer line (a batch that
    expired: EXPIRED), and `error` why, where the provider said so. A `sync` attempt had no batch, and is paid at the
    full price.
    """

    files: Sequence[Path] = ()
    requests: Path | None = None
    batch_id: str | None = None
    unanswered: Outcome = Outcome.MISSING
    error: RequestError | None = None
    sync: bool = False


class Oddities(msgspec.Struct):
    """Answer lines that fit no request, or one that has its answer already; each kind with a few places."""

    duplicates: int = 0
    unknown: int = 0
    corrupt: int = 0
    shown: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.duplicates or self.unknown or self.corrupt)

    def note(self, kind: str, place: str, what: str) -> None:
        count = getattr(self, kind) + 1
        setattr(self, kind, count)
        if count <= SHOWN:
            self.shown.append(f"{place}: {what}")


class IdReader:
    """Reads the id of a line; `field` is the key that carries it, `mark` what stands in front of the id."""

    def __init__(self, field: str, mark: str = "") -> None:
        name, before = re.escape(field.encode()), re.escape(mark.encode())
        # At the beginning (perhaps after the line's own id) or at the end of an object the key can be nothing but the
        # object's own, and an id without escapes is its bytes.
        own_id = rb'(?:"id"\s*:\s*"[^"\\]*"\s*,\s*)?'
        field_of_id = rb'"' + name + rb'"\s*:\s*"' + before + rb'([^"\\]*)"\s*'
        self._first = re.compile(rb"\s*\{\s*" + own_id + field_of_id + rb"[,}]").match
        self._last = re.compile(rb"[,{]\s*" + field_of_id + rb"\}\s*\Z").search
        self._tail = len(field) + 300
        struct = msgspec.defstruct("Id", [(field, str)], gc=False)
        self._decode = msgspec.json.Decoder(struct).decode
        self.field, self.mark = field, mark

    def read(self, line: bytes) -> str | None:
        """The id, or None if the line has to be looked at closely."""
        return self._read(line, self._first(line))

    def read_all(self, lines: Sequence[bytes]) -> list[str | None]:
        """The ids of many lines; see `read`."""
        try:
            return [
                found[1].decode() if found else self._read(line, None)
                for line, found in zip(lines, map(self._first, lines), strict=True)
            ]
        except UnicodeDecodeError:
            return [self._read(line, found) for line, found in zip(lines, map(self._first, lines), strict=True)]

    def _read(self, line: bytes, found: re.Match[bytes] | None) -> str | None:
        found = found or self._last(line, max(0, len(line) - self._tail))
        try:
            if found:
                return found[1].decode()
            marked: str = getattr(self._decode(line), self.field)
            return marked[len(self.mark) :] if marked.startswith(self.mark) else None
        except (ValueError, RecursionError):
            return None


class JoinedAnswers:
    """One attempt's answers, found for the rows of a part. Rows are counted from the part's first."""

    def __init__(self, answers: Answers, row_count: int) -> None:
        self.answers = answers
        # Which rows the attempt asked about; None: all that `ids` of `join` had.
        self.members: bytearray | None = None
        self._files: list[mmap.mmap] = []
        # File, start and end of a row's first line; further lines of a row are rare.
        self._numbers = array("i", [_NONE]) * row_count
        self._starts = array("q", [_NONE]) * row_count
        self._ends = array("q", [_NONE]) * row_count
        self._more: dict[int, list[tuple[int, int, int]]] = {}
        self._looked_at = 0

    def asked(self, row: int) -> bool:
        return self.members is None or bool(self.members[row])

    def only_line(self, row: int) -> bytes | None:
        """The answer line of a row that has exactly one."""
        return self.only_lines(range(row, row + 1))[0]

    def only_lines(self, rows: range) -> list[bytes | None]:
        """The answer lines of rows that follow each other; None for those that have none or several."""
        taken = slice(rows.start, rows.stop)
        files, more = self._files, self._more
        found = [
            None if number == _NONE or row in more else files[number][start:end]
            for row, number, start, end in zip(
                rows, self._numbers[taken], self._starts[taken], self._ends[taken], strict=True
            )
        ]
        self._looked_at += sum(map(len, filter(None, found)))
        if self._looked_at > WINDOW_BYTES:
            self._let_go()
        return found

    def lines(self, row: int) -> list[bytes]:
        """The answer lines of a row, in the order of the files; usually one."""
        if self._numbers[row] == _NONE:
            return []
        places = [(self._numbers[row], self._starts[row], self._ends[row]), *self._more.get(row, ())]
        return [self._files[number][start:end] for number, start, end in places]

    def scan(self, path: Path) -> Iterator[tuple[int, int, list[bytes]]]:
        """File number, start and lines of every stretch of a file."""
        if path.stat().st_size == 0:
            return
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._files.append(content)
        start, size = 0, len(content)
        while start < size:
            end = content.find(b"\n", min(start + SCAN_BYTES, size - 1))
            end = size if end < 0 else end
            yield len(self._files) - 1, start, content[start:end].split(b"\n")
            self._let_go()
            start = end + 1

    def _let_go(self) -> None:
        """Give back the memory of what was read, now and then: answers are looked at once, and are many."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for content in self._files:
                content.madvise(mmap.MADV_DONTNEED)
        self._looked_at = 0

    def put(self, row: int, number: int, start: int, end: int) -> bool:
        """Note the place of a row's line; False if the row has one already."""
        if self._numbers[row] != _NONE:
            self._more.setdefault(row, []).append((number, start, end))
            return False
        self._numbers[row], self._starts[row], self._ends[row] = number, start, end
        return True

    def put_all(self, rows: Sequence[int | None], number: int, start: int, lines: Sequence[bytes]) -> bool:
        """Note the places of lines that follow each other; False, and nothing noted, if one needs a closer look."""
        first_ones = (
            None not in rows
            and self.members is None
            and len(set(rows)) == len(rows)
            and max(map(self._numbers.__getitem__, rows)) == _NONE  # type: ignore[arg-type]
        )
        if not first_ones:
            return False
        numbers, starts, ends = self._numbers, self._starts, self._ends
        for row, size in zip(rows, map(len, lines), strict=True):
            assert row is not None
            numbers[row], starts[row], ends[row] = number, start, start + size
            start += size + 1
        return True

    def close(self) -> None:
        for content in self._files:
            content.close()


def join(
    answers: Answers,
    ids: Mapping[str, int],
    row_count: int,
    reader: IdReader,
    decode: Callable[[bytes], Result],
    oddities: Oddities,
) -> JoinedAnswers:
    """Find the answer lines of an attempt for the rows with these ids (id -> row in the part).

    Lines of other rows that the attempt asked about are passed over; all others are noted in `oddities`. Nothing that
    stands in a file makes this raise.
    """
    joined = JoinedAnswers(answers, row_count)
    elsewhere: frozenset[str] = frozenset()
    if answers.requests is not None:
        asked = frozenset(request_ids(answers.requests, reader))
        joined.members = bytearray(row_count)
        for own_id in asked & ids.keys():
            joined.members[ids[own_id]] = 1
        elsewhere = asked - ids.keys()
    for path in answers.files:
        line_number = 0
        for file_number, end, lines in joined.scan(path):
            found = reader.read_all(lines)
            if joined.put_all([None if one is None else ids.get(one) for one in found], file_number, end, lines):
                line_number += len(lines)
                continue
            end -= 1
            for line, custom_id in zip(lines, found, strict=True):
                line_number += 1
                start, end = end + 1, end + 1 + len(line)
                if custom_id is None:
                    if not line or line.isspace():
                        continue
                    try:
                        custom_id = decode(line).custom_id
                    except BadLine as error:
                        oddities.note("corrupt", f"{path.name}:{line_number}", error.message)
                        continue
                row = ids.get(custom_id)
                if row is None or not joined.asked(row):
                    if custom_id not in elsewhere:
                        said = f"no request has the id {custom_id[:80]!r}"
                        oddities.note("unknown", f"{path.name}:{line_number}", said)
                elif not joined.put(row, file_number, start, end):
                    oddities.note(
                        "duplicates", f"{path.name}:{line_number}", f"{custom_id[:80]!r} is answered once more"
                    )
    return joined


def request_ids(path: Path, reader: IdReader) -> Iterator[str]:
    """The ids in an input file of ours."""
    with path.open("rb") as file:
        for line in split_lines(file):
            custom_id = reader.read(line)
            if custom_id is not None:
                yield custom_id
