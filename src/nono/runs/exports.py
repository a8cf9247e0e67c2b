"""Rows into the bytes of JSON lines and CSV.

CSV is made a column at a time where the rows come as Arrow arrays; it is three times as fast as row by row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from nono.runs.table import json_text

_encode_lines = msgspec.json.Encoder(enc_hook=str).encode_lines
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_STARTS_FORMULA = f"^[{re.escape(''.join(_FORMULA))}]"
_ROWS = 1024


def write_jsonl(rows: Iterable[Any], file: BinaryIO) -> int:
    """Write rows as JSON lines; returns how many there were."""
    count = 0
    rows = iter(rows)
    while some := list(islice(rows, _ROWS)):
        file.write(_encode_lines(some))
        count += len(some)
    return count


def csv_lines(rows: Iterable[Sequence[Any]], delimiter: str = ",") -> bytes:
    """Rows of at least two values as lines of CSV, UTF-8, safe for spreadsheets.

    A field with a delimiter, a quote or an end of a line in it, of whatever kind, is quoted.
    """
    special = re.compile(_special(delimiter)).search

    def field(value: Any) -> str:
        text = cell(value)
        return '"' + text.replace('"', '""') + '"' if special(text) else text

    return "".join([delimiter.join(map(field, row)) + "\n" for row in rows]).encode()


def csv_lines_of_arrays(columns: Sequence[Any], delimiter: str = ",") -> memoryview:
    """The same lines of Arrow arrays, one for each of at least two columns."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def scalar(text: str) -> Any:
        return pa.scalar(text, pa.large_string())

    def fields(column: Any) -> Any:
        texts = _texts(column)
        marked = pc.match_substring_regex(texts, _special(delimiter))
        if not pc.any(marked).as_py():
            return texts
        doubled = pc.replace_substring(texts, '"', '""')
        return pc.if_else(marked, pc.binary_join_element_wise(scalar('"'), doubled, scalar('"'), scalar("")), texts)

    found = map(fields, columns)
    lines = pc.binary_join_element_wise(*found, scalar(delimiter), null_handling="replace", null_replacement="")
    whole = pc.binary_join_element_wise(lines, scalar(""), scalar("\n"))
    size = pc.sum(pc.binary_length(whole)).as_py() or 0
    return memoryview(whole.buffers()[2])[:size] if size else memoryview(b"")


def _texts(values: Any) -> Any:
    """An Arrow array's values as the texts of CSV fields, None where there is nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    # 64-bit offsets: some rows together may be longer than two gigabytes.
    if pa.types.is_integer(kind):
        return values.cast(pa.large_string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = values.cast(pa.large_string())
        marked = pc.fill_null(pc.match_substring_regex(texts, _STARTS_FORMULA), False)
        safe = [_safe(text) for text in texts.filter(marked).to_pylist()]
        return pc.replace_with_mask(texts, marked, pa.array(safe, pa.large_string())) if safe else texts
    return pa.array([None if value is None else cell(value) for value in values.to_pylist()], pa.large_string())


def _special(delimiter: str) -> str:
    """What a field has to be quoted for, as a regular expression of Python's and of RE2's."""
    return f'["\r\n{delimiter}]'


def cell(value: Any) -> str:
    """A value as the text of a CSV field."""
    match value:
        case None:
            return ""
        case str():
            return _safe(value)
        case bool():
            return "true" if value else "false"
        case datetime() | date() | time():
            return value.isoformat()
        case list() | dict() | bytes():
            return _safe(json_text(value))
    return str(value)


def _safe(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
