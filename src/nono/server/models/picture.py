"""A small real PNG, written by hand: a checkerboard in two colours.

One bit a pixel and a palette: the pixels of a size are compressed once, and only the palette differs from picture to
picture.  https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

_SQUARE = 8
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """A valid PNG of that size in pixels, a checkerboard of `colour` and a lighter shade of it."""
    lighter = tuple((255 + part) // 2 for part in colour)
    head, pixels = _pixels(width, height)
    return head + _chunk(b"PLTE", bytes((*colour, *lighter))) + pixels


@lru_cache(maxsize=32)
def _pixels(width: int, height: int) -> tuple[bytes, bytes]:
    """What stands before and after the palette."""
    row = bytes(0xFF if square % 2 else 0x00 for square in range((width + _SQUARE - 1) // _SQUARE))
    other = bytes(byte ^ 0xFF for byte in row)
    # Every row of a PNG starts with its filter's number: 0, none.
    raw = b"".join(b"\0" + (other if line // _SQUARE % 2 else row) for line in range(height))
    # Depth 1, colour type 3 (palette), then compression, filter and interlace method 0.
    head = _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0))
    return head, _chunk(b"IDAT", zlib.compress(raw, 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
