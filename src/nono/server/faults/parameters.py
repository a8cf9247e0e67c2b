"""What a fault can be told, beside whom it befalls: a value with its kind, its default and its meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nono.errors import SettingsError

FOREVER = None
"""Instead of seconds: it never ends."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """`fits` tells whether a value will do, `expected` says so in words; `words` are the values, where they are few."""

    default: Any
    expected: str
    fits: Callable[[Any], bool]
    words: tuple[str, ...] = ()

    def read(self, row: Mapping[str, Any], name: str, place: str) -> Any:
        """The value in a rule. Raises SettingsError."""
        value = row.get(name, self.default)
        if name in row and not self.fits(value):
            raise SettingsError(f"{place}: {name!r} is {value!r}", hint=f"expected {self.expected}")
        return value


def seconds(default: float | None) -> Parameter:
    return Parameter(
        default,
        "seconds of the server's clock (null: for ever)",
        lambda value: value is None or (_is_number(value) and value >= 0),
    )


def number(default: int, least: int, most: int) -> Parameter:
    return Parameter(
        default,
        f"a whole number from {least} to {most:,}",
        lambda value: type(value) is int and least <= value <= most,
    )


def share(default: float) -> Parameter:
    return Parameter(default, "a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)


def switch(default: bool) -> Parameter:
    return Parameter(default, "true or false", lambda value: isinstance(value, bool))


def text(default: str | None) -> Parameter:
    return Parameter(default, "a text", lambda value: isinstance(value, str))


def one_of(*words: str) -> Parameter:
    """The first is the default."""
    return Parameter(words[0], f"one of {', '.join(words)}", lambda value: value in words, words)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and value == value and abs(value) < float("inf")
