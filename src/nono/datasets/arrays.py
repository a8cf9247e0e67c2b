"""Arrow arrays of Python values, built from their bytes.

`pyarrow.array` would do, but whatever it is given, it imports pandas where that is installed: half a second, and some
50 MB that no run needs.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from typing import Any


def text_array(values: Sequence[str | None]) -> Any:
    """An array of texts, 2 GB at most. Raises UnicodeEncodeError for a lone surrogate, TypeError for no text."""
    import pyarrow as pa

    if len(values) > 1 and values.count(values[0]) == len(values):  # half of a results table's columns are so
        return pa.repeat(text_array(values[:1])[0], len(values))
    texts, validity = _present(values, "")
    together = "".join(texts)
    data = together.encode()
    # A character is a byte where all are ASCII's; else every text has to be measured by itself.
    lengths = map(len, texts) if len(data) == len(together) else (len(text.encode()) for text in texts)
    offsets = pa.py_buffer(array("i", accumulate(lengths, initial=0)))
    return pa.Array.from_buffers(pa.string(), len(values), [validity, offsets, pa.py_buffer(data)])


def int_array(values: Sequence[int | None]) -> Any:
    """An array of 64-bit integers. Raises TypeError or OverflowError for what is none."""
    import pyarrow as pa

    return _numbers(pa.int64(), "q", values)


def float_array(values: Sequence[float | None]) -> Any:
    """An array of doubles. Raises TypeError for what is no number."""
    import pyarrow as pa

    return _numbers(pa.float64(), "d", values)


def bool_array(values: Sequence[bool | None]) -> Any:
    """An array of booleans. Raises TypeError for what is none."""
    import pyarrow as pa

    if not set(map(type, values)) <= {bool, type(None)}:
        raise TypeError("not all are true or false")
    present, validity = _present(values, False)
    return pa.Array.from_buffers(pa.bool_(), len(values), [validity, _bits(present)])


def vector_array(values: Sequence[Sequence[float] | None]) -> Any:
    """An array of lists of doubles. Raises TypeError for what is no list of numbers."""
    import pyarrow as pa

    vectors, validity = _present(values, ())
    numbers = float_array(list(chain.from_iterable(vectors)))
    offsets = pa.py_buffer(array("i", accumulate(map(len, vectors), initial=0)))
    kind = pa.list_(pa.float64())
    return pa.Array.from_buffers(kind, len(values), [validity, offsets], children=[numbers])


ARRAYS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "text": text_array,
    "json": text_array,
    "int": int_array,
    "float": float_array,
    "bool": bool_array,
    "vector": vector_array,
}


def _numbers(kind: Any, code: str, values: Sequence[Any]) -> Any:
    import pyarrow as pa

    present, validity = _present(values, 0)
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(array(code, present))])


def _present(values: Sequence[Any], instead: Any) -> tuple[Sequence[Any], Any]:
    """The values with something in place of None, and the bitmap of those that are not (None where all are)."""
    if None not in values:
        return values, None
    return [instead if value is None else value for value in values], _bits([value is not None for value in values])


def _bits(values: Sequence[bool]) -> Any:
    import pyarrow as pa

    bytes_ = pa.Array.from_buffers(pa.uint8(), len(values), [None, pa.py_buffer(bytes(values))])
    return bytes_.cast(pa.bool_()).buffers()[1]
