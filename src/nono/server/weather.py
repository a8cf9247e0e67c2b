"""What may befall a batch on its way, as the server's parts ask about it.

On a server that behaves the answers are always `FAIR`'s: nothing. `nono.server.faults` has others, made of rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nono.server.dialect import Answer, Ask, Checked, Kind
from nono.server.records import Batch, State


@dataclass(frozen=True, slots=True)
class End:
    """How a batch leaves its work: after so many requests (None: all of them), into which state."""

    after: int | None = None
    into: State = State.FINALIZING


FAIR_END = End()


class Weather(Protocol):
    """Asked from the server's threads."""

    def checked(self, batch: Batch, lines: Path, found: Checked) -> Checked:
        """What validation found, or what it has to say instead."""
        ...

    def held_until_ns(self, batch: Batch) -> int | None:
        """When a batch that could begin may begin (None: now)."""
        ...

    def end(self, batch: Batch) -> End: ...

    def asking(self, batch: Batch, ordinal: int, line: bytes, ask: Ask) -> Ask:
        """Whom to put a request to: the model, or somebody who fails."""
        ...

    def answered(self, batch: Batch, ordinal: int, line: bytes, answer: Answer) -> None:
        """A request has been executed; its answer is about to be kept."""
        ...

    def answer_lines(self, batch: Batch, lines: Iterator[tuple[Kind, bytes]]) -> Iterator[tuple[Kind, bytes]]:
        """The lines of the answer files as they are to be written. They come in input order."""
        ...

    def moved(self, batch: Batch) -> None:
        """A batch is about to enter a state, in a transaction: afterwards it was here, or it is here again."""
        ...


class _Fair:
    def checked(self, batch: Batch, lines: Path, found: Checked) -> Checked:
        return found

    def held_until_ns(self, batch: Batch) -> int | None:
        return None

    def end(self, batch: Batch) -> End:
        return FAIR_END

    def asking(self, batch: Batch, ordinal: int, line: bytes, ask: Ask) -> Ask:
        return ask

    def answered(self, batch: Batch, ordinal: int, line: bytes, answer: Answer) -> None:
        pass

    def answer_lines(self, batch: Batch, lines: Iterator[tuple[Kind, bytes]]) -> Iterator[tuple[Kind, bytes]]:
        return lines

    def moved(self, batch: Batch) -> None:
        pass


FAIR: Weather = _Fair()
