"""What is wrong with a data set before anything is sent: collected, counted, told many at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nono.datasets import Source
from nono.errors import InputError

# So many problems are told in full; the rest is counted.
TOLD = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `row` counts from 0 and is None where it is not about one row."""

    kind: str
    message: str
    row: int | None = None
    hint: str | None = None


class PlanRefused(InputError):
    """The data set or the task cannot be planned; nothing was sent. `problems` are the first of `count`."""

    def __init__(self, message: str, *, problems: Sequence[Problem], count: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)
        self.count = count


class Problems:
    """The problems found so far; only the first of them are kept."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.told: list[Problem] = []
        self.count = 0
        self._kinds: Counter[str] = Counter()

    def add(self, kind: str, message: str, *, row: int | None = None, hint: str | None = None) -> None:
        self.count += 1
        self._kinds[kind] += 1
        if not self.full:
            place = f"{self._source.place(row)}: " if row is not None else ""
            self.told.append(Problem(kind, place + message, row, hint))

    @property
    def full(self) -> bool:
        """Whether further problems are only counted."""
        return len(self.told) >= TOLD

    def refuse(self) -> None:
        """Raise PlanRefused if there are any."""
        if not self.count:
            return
        first = self.told[0]
        hints = list(dict.fromkeys(problem.hint for problem in self.told if problem.hint))
        hint = "; ".join(hints[:3]) or None
        if self.count == 1:
            raise PlanRefused(f"{first.message}; nothing was sent", problems=self.told, count=1, hint=hint)
        lines = [f"{self._source.name}: {self.count:,} problems; nothing was sent"]
        lines += [f"  {problem.message}" for problem in self.told]
        if self.count > len(self.told):
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in self._kinds.most_common())
            lines.append(f"  … {self.count - len(self.told):,} more ({kinds})")
        raise PlanRefused("\n".join(lines), problems=self.told, count=self.count, hint=hint)
