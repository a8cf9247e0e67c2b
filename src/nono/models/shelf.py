"""The cache folder of model weights: what is there, and how weights come in — whole, verified, or not at all.

Each model has a folder of its name; while it is filled it has another name, so a folder that bears the model's name is
complete. Processes that want the same weights at the same time wait for the first one (a lock file a model).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from nono.errors import InputError, NonoError, SettingsError
from nono.files import sync_folder, whole_file
from nono.models.catalogue import Kind, WeightFile, Weights, catalogue, read_row

_RECORD = "nono-weights.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")
_GGUF = b"GGUF"
Tell = Callable[[str], None]


class WeightsBroken(NonoError):
    """A file is not what its row says: other bytes came, or the disk changed them."""


def cache_folder() -> Path:
    """`NONO_MODELS`, or `nono/models` under the user's cache folder (`XDG_CACHE_HOME`, default `~/.cache`)."""
    if chosen := os.environ.get("NONO_MODELS"):
        return Path(chosen).expanduser()
    # https://specifications.freedesktop.org/basedir-spec/latest/: relative paths are to be ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "nono" / "models"


@dataclass(frozen=True, slots=True)
class Shelved:
    """Weights that are in the cache folder."""

    weights: Weights
    folder: Path

    def path(self, suffix: str) -> Path:
        """The file whose name ends so (`.gguf`, `.onnx`, `tokenizer.json`)."""
        return next(self.folder / file.name for file in self.weights.files if file.name.endswith(suffix))


def known(folder: Path | None = None) -> dict[str, Weights]:
    """All weights that have a name: those of `models.toml`, then those added by hand."""
    shelf = folder or cache_folder()
    added = (_read_record(record) for record in sorted(shelf.glob(f"*/{_RECORD}")))
    return {**{weights.name: weights for weights in added if weights is not None}, **catalogue()}


def look_up(name: str, folder: Path | None = None) -> Weights:
    """The weights of that name. Raises SettingsError, with the known names, if there are none."""
    found = known(folder)
    if name not in found:
        raise SettingsError(
            f"no model weights are called {name!r}; known are {', '.join(sorted(found))}",
            hint="`nono models ls` lists them; `nono models add PATH` gives a .gguf file a name",
        )
    return found[name]


def find(name: str, folder: Path | None = None) -> Shelved | None:
    """The weights of that name if they are there. Raises SettingsError for an unknown name."""
    return on_shelf(look_up(name, folder), folder)


def on_shelf(weights: Weights, folder: Path | None = None) -> Shelved | None:
    """Weights that are there: every file with its size. Hashes are checked when weights come in, and by `verify`."""
    place = (folder or cache_folder()) / weights.name
    if all(_size(place / file.name) == file.bytes for file in weights.files):
        return Shelved(weights, place)
    return None


def need(name: str, kind: Kind, folder: Path | None = None) -> Shelved:
    """Weights of that kind that are there. Raises SettingsError, naming the command that brings them."""
    weights = look_up(name, folder)
    if weights.kind is not kind:
        raise SettingsError(
            f"{name} holds weights for {weights.kind}, not for {kind}",
            hint="`nono models ls` shows which weights are for what",
        )
    shelved = on_shelf(weights, folder)
    if shelved is None:
        raise SettingsError(
            f"the weights of {name} ({weights.bytes:,} bytes) are not in {folder or cache_folder()}",
            hint=f"nono models pull {name}",
        )
    return shelved


def verify(shelved: Shelved) -> None:
    """Read every file and compare its hash. Raises WeightsBroken."""
    for file in shelved.weights.files:
        check_file(shelved.folder / file.name, file)


def check_file(path: Path, expected: WeightFile) -> None:
    """Compare size and hash of a file. Raises WeightsBroken, with both hashes."""
    if (size := _size(path)) != expected.bytes:
        raise WeightsBroken(f"{path}: {size if size >= 0 else 'no'} bytes where {expected.bytes} were expected")
    if (digest := file_sha256(path)) != expected.sha256:
        raise WeightsBroken(f"{path}: SHA-256 is {digest}, expected {expected.sha256}")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def filling(weights: Weights, folder: Path | None = None) -> Iterator[Path]:
    """A new folder to put the files of `weights` into; when the block ends they are verified and take their name.

    Raises WeightsBroken if a file is not what it must be: then nothing has changed. Hold `locked` around it.
    """
    shelf = folder or cache_folder()
    # Under the lock nobody else fills: what an interrupted process has left is dropped.
    staging = shelf / f".{weights.name}.filling"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        for file in weights.files:
            check_file(staging / file.name, file)
            _make_durable(staging / file.name)
        place = shelf / weights.name
        # Readers that have a broken folder open keep their files; the name is free for a moment only.
        shutil.rmtree(place, ignore_errors=True)
        staging.rename(place)
        sync_folder(shelf)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def locked(name: str, folder: Path | None = None) -> Iterator[None]:
    """One process a model at a time; others wait. The lock ends with its process, however that ends."""
    shelf = folder or cache_folder()
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        file = (shelf / f".{name}.lock").open("ab")
    except OSError as error:
        raise SettingsError(
            f"the folder of model weights {shelf} cannot be used: {error.strerror}",
            hint="NONO_MODELS names another folder",
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def add(path: Path, name: str | None = None, folder: Path | None = None) -> Shelved:
    """Give weights of your own a name: a `.gguf` file, or a folder with an ONNX model and its `tokenizer.json`.

    The files are linked where the file system can, else copied. Without `name` it is the file's, in lower case.
    Raises InputError for anything else, and for a name that is taken.
    """
    shelf = folder or cache_folder()
    chosen = name or re.sub(r"[^a-z0-9._-]+", "-", (path.stem if path.is_file() else path.resolve().name).lower())
    if not _NAME.fullmatch(chosen):
        raise InputError(f"{chosen!r} cannot be a model's name", hint="use lower-case letters, digits, '.', '-', '_'")
    if chosen in catalogue():
        raise InputError(f"the name {chosen} belongs to other weights", hint="choose another with --name")
    kind, files = _recognise(path)
    with locked(chosen, shelf):
        weights = Weights(
            name=chosen,
            kind=kind,
            title=f"added from {path.resolve()}",
            licence="as given by its publisher",
            about=str(path.resolve()),
            checked=date.today(),
            files=tuple(
                WeightFile(str(relative), source.stat().st_size, file_sha256(source))
                for relative, source in files.items()
            ),
        )
        if (shelf / chosen).exists():
            present = look_up(chosen, shelf) if chosen in known(shelf) else None
            if present is None or present.files != weights.files:
                raise InputError(
                    f"the name {chosen} belongs to other weights",
                    hint=f"choose another with --name, or remove {shelf / chosen}",
                )
        with filling(weights, shelf) as staging:
            for relative, source in files.items():
                target = staging / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(source.resolve(), target)
            _write_record(staging / _RECORD, weights)
    return Shelved(weights, shelf / chosen)


def _recognise(path: Path) -> tuple[Kind, dict[Path, Path]]:
    """What the weights at a path are for, and their files: name in the folder → file."""
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_GGUF)) != _GGUF:
                raise InputError(f"{path}: not a GGUF file", hint="llama.cpp's convert_hf_to_gguf.py makes one")
        return Kind.CHAT, {Path(path.name): path}
    if not path.is_dir():
        raise InputError(f"{path}: no such file")
    found = {
        file.relative_to(path): file
        for file in sorted(path.rglob("*"))
        if file.name == "tokenizer.json" or file.suffix in (".onnx", ".onnx_data")
    }
    tokenizers = [name for name in found if name.name == "tokenizer.json"]
    models = [name for name in found if name.suffix == ".onnx"]
    if len(tokenizers) != 1 or len(models) != 1:
        raise InputError(
            f"{path}: {len(models)} ONNX models and {len(tokenizers)} tokenizer.json; one of each makes an embedder",
            hint="for a chat model, name the .gguf file itself",
        )
    return Kind.EMBEDDING, found


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _write_record(path: Path, weights: Weights) -> None:
    record = {
        "name": weights.name,
        "kind": weights.kind,
        "title": weights.title,
        "licence": weights.licence,
        "about": weights.about,
        "checked": weights.checked.isoformat(),
        "files": [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in weights.files],
    }
    with whole_file(path) as file:
        file.write(json.dumps(record, indent=1).encode())


def _read_record(path: Path) -> Weights | None:
    """Weights that were added; None for a record that is none (somebody else's file must not hide the others)."""
    try:
        row = json.loads(path.read_text("utf-8"))
        weights = read_row(row["name"], {**row, "checked": date.fromisoformat(row["checked"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return weights if weights.name == path.parent.name else None


def _size(path: Path) -> int:
    """The size of a file, -1 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
