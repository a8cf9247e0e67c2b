"""Arrow columns into the lines of an input file: a batch at a time, and no Python object for a row.

The columns are joined to one text, with a mark wherever all lines say the same:

    id ① text ② id ① text ② …

Then JSON's escapes are put in by replacing bytes, and at last the marks are replaced by what all lines say. A mark is a
byte that UTF-8 does not have, so that no text holds one.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

# https://www.rfc-editor.org/rfc/rfc3629#section-1
MARKS = tuple(bytes([byte]) for byte in (0xC0, 0xC1, *range(0xF5, 0x100)))
# https://www.rfc-editor.org/rfc/rfc8259#section-7, written as msgspec writes them
_ESCAPES = ((b"\\", b"\\\\"), (b'"', b'\\"'))
_BREAKS = ((b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t"))
_RARE = {bytes([code]): b"\\u%04x" % code for code in range(0x20)} | {b"\b": b"\\b", b"\f": b"\\f"}


def text_array(column: Any) -> Any | None:
    """A column as texts in the way of `render.as_text`, or None where only Python knows it (or what is wrong)."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    is_text = types.is_string(column.type) or types.is_large_string(column.type) or types.is_string_view(column.type)
    if not (is_text or any(alike(column.type) for alike in (types.is_integer, types.is_boolean, types.is_null))):
        return None
    try:
        texts = column if types.is_string(column.type) else column.cast(pa.string())
        if is_text:
            texts.validate(full=True)  # a file may say UTF-8 and hold other bytes
    except pa.ArrowException:
        return None
    return texts.fill_null("") if texts.null_count else texts


def numbered(prefix: str, start: int, count: int) -> Any:
    """The texts `<prefix><number>` for `count` numbers from `start` on, as an Arrow array."""
    import pyarrow as pa
    from pyarrow import compute

    numbers = pa.py_buffer(array("q", range(start, start + count)))
    texts = pa.Array.from_buffers(pa.int64(), count, [None, numbers]).cast(pa.string())
    return compute.binary_join_element_wise(_scalar(prefix.encode()), texts.cast(pa.binary()), _scalar(b"")).cast(
        pa.string()
    )


def lack_visible(texts: Any) -> bool:
    """Whether one of the texts may have nothing to see: no character that ASCII prints."""
    from pyarrow import compute

    return not compute.all(compute.match_substring_regex(texts, "[!-~]")).as_py()


def json_bytes(texts: Any) -> int:
    """How many bytes the insides of the texts have as JSON."""
    _, offsets, data = texts.buffers()
    places = memoryview(offsets).cast("i")
    begin, end = places[texts.offset], places[texts.offset + len(texts)]
    return len(_escaped(data.slice(begin, end - begin).to_pybytes() if data else b""))


def join_lines(columns: Sequence[Any], shared: Sequence[bytes], begin: bytes) -> bytes | None:
    """For each row: `begin`, and every column's text as in JSON with the shared bytes behind it.

    None if there are more columns than marks, or more bytes than an Arrow array holds.
    """
    import pyarrow as pa
    from pyarrow import compute

    if len(columns) > len(MARKS):
        return None
    marked = [
        one for column, mark in zip(columns, MARKS, strict=False) for one in (column.cast(pa.binary()), _scalar(mark))
    ]
    try:
        joined = compute.binary_join_element_wise(*marked, _scalar(b""))
    except pa.ArrowException:
        return None
    lines = _escaped(joined.buffers()[2].to_pybytes())
    *between, end = zip(MARKS, shared, strict=False)
    for mark, same in between:
        lines = lines.replace(mark, same)
    lines = lines.replace(end[0], end[1] + begin)
    return b"".join((begin, memoryview(lines)[: -len(begin)]))


def _escaped(text: bytes) -> bytes:
    """Bytes with JSON's escapes."""
    least = _least(text)
    for raw, escaped in _ESCAPES:
        text = text.replace(raw, escaped)
    if least < 0x20:
        for raw, escaped in _BREAKS:
            text = text.replace(raw, escaped)
        if _least(text) < 0x20:
            for raw, escaped in _RARE.items():
                text = text.replace(raw, escaped)
    return text


def _least(text: bytes) -> int:
    import pyarrow as pa
    from pyarrow import compute

    if not text:
        return 0x20
    least: int = compute.min(pa.Array.from_buffers(pa.uint8(), len(text), [None, pa.py_buffer(text)])).as_py()
    return least


def _scalar(value: bytes) -> Any:
    import pyarrow as pa

    # `pa.scalar` would do, but it imports pandas if that is installed: half a second, and 40 MB.
    offsets = pa.py_buffer(array("i", (0, len(value))))
    return pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(value)])[0]
