"""A stretch of rows in memory, in the shape its source reads fastest: columns of texts, dicts, or an Arrow batch.

A batch is small (a few megabytes) and nothing keeps it: whoever reads a source asks it for the columns that are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

from nono.errors import InputError


class _Missing:
    """The value of a column that a row does not have (JSON lines may differ in their keys)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()


class Batch(Protocol):
    """Rows `first` to `first + size` of a source.

    `kind` says what the values are: "text" where each is one, "arrow" where the Arrow schema says it, "json" where rows
    may differ.
    """

    @property
    def kind(self) -> str: ...

    @property
    def first(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def names(self) -> Sequence[str]:
        """The columns that at least one row has."""
        ...

    def column(self, name: str) -> Sequence[Any]:
        """The values of one column, `MISSING` where a row has none."""
        ...

    def rows(self) -> list[dict[str, Any]]: ...

    def cut(self, start: int, stop: int) -> Batch:
        """Rows `start` to `stop` of this batch, counted from its beginning."""
        ...


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Columns of texts, as CSV has them."""

    first: int
    size: int
    names: tuple[str, ...]
    columns: Sequence[Sequence[str]]
    kind: ClassVar[str] = "text"

    def column(self, name: str) -> Sequence[Any]:
        return self.columns[self.names.index(name)] if name in self.names else [MISSING] * self.size

    def rows(self) -> list[dict[str, Any]]:
        return [dict(zip(self.names, values, strict=True)) for values in zip(*self.columns, strict=True)]

    def cut(self, start: int, stop: int) -> TextBatch:
        columns = [column[start:stop] for column in self.columns]
        return TextBatch(self.first + start, stop - start, self.names, columns)


@dataclass(frozen=True, slots=True)
class DictBatch:
    """Rows as dicts, as JSON has them; `lines` are their bytes where the source has one line a row."""

    first: int
    size: int
    values: list[dict[str, Any]]
    lines: list[bytes] | None = None
    kind: ClassVar[str] = "json"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for row in self.values for name in row))

    def column(self, name: str) -> list[Any]:
        return [row.get(name, MISSING) for row in self.values]

    def rows(self) -> list[dict[str, Any]]:
        return self.values

    def cut(self, start: int, stop: int) -> DictBatch:
        lines = None if self.lines is None else self.lines[start:stop]
        return DictBatch(self.first + start, stop - start, self.values[start:stop], lines)


@dataclass(frozen=True, slots=True)
class ArrowBatch:
    """An Arrow record batch; only the columns that are asked for become Python values."""

    first: int
    size: int
    table: Any
    kind: str = "arrow"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.table.schema.names)

    def array(self, name: str) -> Any:
        """One column as an Arrow array, or None if there is none of this name."""
        index = self.table.schema.get_field_index(name)
        return None if index < 0 else self.table.column(index)

    def column(self, name: str) -> list[Any]:
        array = self.array(name)
        return [MISSING] * self.size if array is None else self._values(name, array)

    def rows(self) -> list[dict[str, Any]]:
        columns = [self._values(name, self.array(name)) for name in self.names]
        return [dict(zip(self.names, values, strict=True)) for values in zip(*columns, strict=True)]

    def cut(self, start: int, stop: int) -> ArrowBatch:
        return ArrowBatch(self.first + start, stop - start, self.table.slice(start, stop - start), self.kind)

    def _values(self, name: str, array: Any) -> list[Any]:
        values: list[Any]
        try:
            values = array.to_pylist()
        except OverflowError as error:
            raise InputError(
                f"column {name!r} holds a {array.type} that Python has no value for: {error}", hint="cast it to text"
            ) from error
        except UnicodeDecodeError:  # Arrow believes a file that says that its bytes are UTF-8
            values = []
            for value in array:
                try:
                    values.append(value.as_py())
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"row {self.first + len(values) + 1}: the text in column {name!r} is not UTF-8",
                        hint="write the file again with valid texts, or with the column as bytes",
                    ) from error
        return values
