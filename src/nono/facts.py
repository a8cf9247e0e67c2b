"""Limits and other numbers of the providers as data: value, unit, source, and the day it was checked.

Each provider's numbers stand once, in `providers/<name>/facts.toml`; code and docs read them from there.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

from nono.errors import LimitError


@dataclass(frozen=True, slots=True)
class Fact:
    """One number (or word) with its provenance."""

    name: str
    value: Any
    unit: str
    source: str
    checked: date

    def broken(self, message: str, found: float, *, hint: str) -> LimitError:
        """The error for something beyond this limit: the message, and where the limit is written."""
        return LimitError(f"{message} ({self.source})", limit=self.value, found=found, source=self.source, hint=hint)


class Facts(Mapping[str, Fact]):
    """The facts of one provider, by dotted name: `facts["limits.requests_per_file"].value`."""

    def __init__(self, facts: Mapping[str, Fact]) -> None:
        self._facts = dict(facts)

    def __getitem__(self, name: str) -> Fact:
        return self._facts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def number(self, name: str) -> int:
        value = self[name].value
        assert isinstance(value, int), f"{name} is not a whole number"
        return value


@cache
def read_facts(provider: str) -> Facts:
    """The facts of `providers/<provider>/facts.toml`."""
    text = (resources.files("nono.providers") / provider / "facts.toml").read_text("utf-8")
    return facts_of(tomllib.loads(text))


def facts_of(table: Mapping[str, Any]) -> Facts:
    """The facts of a table as TOML reads it."""
    return Facts({fact.name: fact for fact in _walk(table, "")})


def _walk(table: Mapping[str, Any], prefix: str) -> Iterator[Fact]:
    for key, entry in table.items():
        name = f"{prefix}{key}"
        if "value" in entry:
            yield Fact(name, entry["value"], entry["unit"], entry["source"], entry["checked"])
        else:
            yield from _walk(entry, f"{name}.")
