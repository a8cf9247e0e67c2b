"""The outcomes of rows that share an earlier row's request (see `plan`): theirs, once they are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nono.runs.table import part_path, take_rows


class Borrowed:
    """The outcomes of rows that share an earlier row's request."""

    def __init__(self, rows: Mapping[int, tuple[int, int]], part_no: int, results: Path, names: Sequence[str]) -> None:
        self.rows = rows
        # Rows of this part that others of it borrow from: their outcomes are noted as they are settled.
        self.lenders = frozenset(index for number, index in rows.values() if number == part_no)
        wanted: dict[int, list[int]] = {}
        for number, index in rows.values():
            if number != part_no:
                wanted.setdefault(number, []).append(index)
        self._found: dict[tuple[int, int], Mapping[str, Any]] = {}
        for number, indices in wanted.items():
            path = part_path(results, number)
            if path.exists():
                for index, values in zip(indices, take_rows(path, indices, names), strict=True):
                    self._found[number, index] = values
        self._part_no = part_no

    def __bool__(self) -> bool:
        return bool(self.rows)

    def lend(self, row: int, values: Mapping[str, Any]) -> None:
        self._found[self._part_no, row] = values

    def values(self, row: int) -> Mapping[str, Any] | None:
        """The result columns of the row that `row` borrows from, or None if its part is not settled yet."""
        return self._found.get(self.rows[row])
