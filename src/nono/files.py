"""Files appear whole or not at all: temporary name, fsync, rename, fsync of the folder. And paths that people gave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nono.errors import InputError, MissingFile


@contextmanager
def whole_file(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when the block ends without an error.

    `mode` is subject to the umask. The temporary file stands beside the target (`<name>.<pid>.tmp`) and is removed when
    the block raises; the file's `name` is its path, for who wants to read back what was written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb", buffering=1 << 20, opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def put_in_place(part: Path, path: Path) -> Path:
    """Give a finished partial file its final name, durably."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)
    return path


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def source_path(given: str | os.PathLike[str]) -> Path:
    """The path of a file to read. Raises MissingFile if it is not there, InputError if it is a folder."""
    path = _path(given)
    if path.is_dir():
        raise InputError(f"{path} is a folder", hint="name a file in it")
    if not path.exists():
        raise MissingFile(f"{path}: no such file", hint=f"a relative path counts from {Path.cwd()}")
    return path


def target_path(given: str | os.PathLike[str]) -> Path:
    """The path of a file to write. Raises InputError for a folder, and for a folder that is not there."""
    path = _path(given)
    if path.is_dir():
        raise InputError(f"{path} is a folder", hint="output_path names a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist", hint="make it first")
    return path


def _path(given: str | os.PathLike[str]) -> Path:
    try:
        return Path(given)
    except TypeError:
        raise InputError(f"a path is a text or a Path, not {given!r}") from None
