"""The bytes of an input file: decompressed where it is compressed, digested as it lies on disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from nono.errors import InputError, MissingExtra

# https://www.rfc-editor.org/rfc/rfc1952, https://www.rfc-editor.org/rfc/rfc8878
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"


@contextmanager
def open_bytes(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open a file for reading, through gzip or zstd if it begins like one (whatever it is called).

    Raises InputError naming the input if it is missing, is a folder, or its compressed data are cut or damaged.
    """
    damaged: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic.startswith(GZIP):
                with gzip.open(file) as unpacked:
                    yield cast(BinaryIO, unpacked)
            elif magic == ZSTD:
                zstandard = _zstandard()
                damaged += (zstandard.ZstdError,)
                yield io.BufferedReader(_Zstd(file), 1 << 20)
            else:
                yield file
    except damaged as error:
        raise InputError(
            f"{name}: the compressed data are cut or damaged: {error}", hint="get the file again; nothing was sent"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{name}: there is no such file", hint="check the path, or use `-` for stdin") from error
    except IsADirectoryError as error:
        raise InputError(f"{name}: is a folder", hint="give one file") from error
    except PermissionError as error:
        raise InputError(f"{name}: may not be read", hint="check the permissions of the file") from error


class _Zstd(io.RawIOBase):
    """The content of a zstd file, frame by frame; the library's own reader takes a cut file for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frames = _zstandard().ZstdDecompressor()
        self._frame: Any = None
        self._ready = memoryview(b"")
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = (
                self._frame.unused_data if self._frame is not None and self._frame.eof else b""
            ) or self._file.read(1 << 17)
            if not packed:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("the last frame is not complete")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._frames.decompressobj()
            self._ready = memoryview(self._frame.decompress(packed))
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        self._given += count
        return count

    def tell(self) -> int:
        return self._given


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtra("reading .zst files", "zstd") from error
    return zstandard


def digest(path: Path, name: str) -> str:
    """SHA-256 of a file as it lies on disk. Raises InputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}", hint="check the path") from error
