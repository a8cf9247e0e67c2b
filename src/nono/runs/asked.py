"""What was asked without a batch: a journal that notes each request before it goes out, and each answer after it came.

A POST that asks a model cannot be repeated safely: whether one whose answer did not come has run, and has been paid
for, nobody can be asked. So a word is on disk before the request leaves, and its answer is on disk before anything
else happens. A request with a word and without an answer is lost, and is not asked again by itself.

Two files, both only added to. The journal has a line for each word about a request; the answers are lines as a batch
would have written them, to be settled like those of a batch.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from enum import StrEnum
from io import FileIO
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from nono.files import sync_folder
from nono.jsonl import BadLine, decode, split_lines
from nono.model import RequestError
from nono.runs.joining import IdReader

# The answers' file in the folder of the attempt's answers.
SYNC_ANSWERS = "sync.jsonl"
# What is said of a request that was asked and has no answer.
LOST = RequestError(
    "answer_lost",
    "asked without a batch, and the answer was lost: it may have been paid for, so it is not asked again by itself",
)


class Word(StrEnum):
    """What a line of the journal says of its request."""

    SENT = "sent"
    # Certainly without effect: it may be sent again.
    REFUSED = "refused"


class Journal:
    """The journal of one attempt, open for writing; threads may share it. A context manager."""

    def __init__(self, words: Path, answers: Path, reader: IdReader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._words = _opened(words)
        self._answers = _opened(answers)
        self._last: dict[str, Word] = {}
        self._refusals: Counter[str] = Counter()
        self._answered: set[str] = set()
        for line in _lines(words):
            custom_id, word = reader.read(line), Word(decode(line)["word"])
            if custom_id is not None:
                self._note(custom_id, word)
        for line in _lines(answers):
            custom_id = reader.read(line)
            if custom_id is not None:
                self._answered.add(custom_id)

    def refusals(self, custom_id: str) -> int:
        """How often a request was refused without effect."""
        return self._refusals[custom_id]

    def may_be_sent(self, custom_id: str) -> bool:
        """Neither answered nor lost."""
        return custom_id not in self._answered and self._last.get(custom_id) is not Word.SENT

    @property
    def answered(self) -> int:
        return len(self._answered)

    @property
    def lost(self) -> int:
        return sum(word is Word.SENT and one not in self._answered for one, word in self._last.items())

    def say(self, line: bytes, word: Word) -> None:
        """Note a word about the request in `line`, a line of an input file; it is on disk when this returns."""
        custom_id = self._id(line)
        marked = msgspec.json.encode({self._reader.field: self._reader.mark + custom_id, "word": word})
        with self._lock:
            _append(self._words, marked)
            self._note(custom_id, word)

    def answer(self, line: bytes) -> None:
        """Keep an answer line; it is on disk when this returns."""
        custom_id = self._id(line)
        with self._lock:
            _append(self._answers, line)
            self._answered.add(custom_id)

    def _id(self, line: bytes) -> str:
        custom_id = self._reader.read(line)
        if custom_id is None:
            raise BadLine("a line without an id")
        return custom_id

    def _note(self, custom_id: str, word: Word) -> None:
        self._last[custom_id] = word
        self._refusals[custom_id] += word is Word.REFUSED

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._words.close()
        self._answers.close()


def _opened(path: Path) -> FileIO:
    """A file to append to; the half line that a crash may have left at its end is cut off: it said nothing yet."""
    path.touch(mode=0o600)
    with path.open("r+b") as file:
        end = sum(map(len, takewhile(lambda line: line.endswith(b"\n"), file)))
        file.truncate(end)
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return path.open("ab", buffering=0)


def _append(file: FileIO, line: bytes) -> None:
    """Write a line and wait until it is on disk. A disk that takes only a part of it has taken none of it."""
    before = file.seek(0, os.SEEK_END)
    content = line + b"\n"
    try:
        if file.write(content) != len(content):
            raise OSError("the disk took only a part of a line")
        os.fsync(file.fileno())
    except OSError:
        file.truncate(before)
        raise


def _lines(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [line for line in split_lines(file) if line]
