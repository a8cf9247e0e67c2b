"""Rows into the bytes of JSON lines and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from nono.runs.table import json_text

_encode_lines = msgspec.json.Encoder(enc_hook=str).encode_lines
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ROWS = 1024


def write_jsonl(rows: Iterable[Any], file: BinaryIO) -> int:
    """Write rows as JSON lines; returns how many there were."""
    count = 0
    rows = iter(rows)
    while some := list(islice(rows, _ROWS)):
        file.write(_encode_lines(some))
        count += len(some)
    return count


def write_csv(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], file: BinaryIO, *, delimiter: str = ","
) -> int:
    """Write a header and rows as CSV, UTF-8, safe for spreadsheets; returns how many rows there were."""
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)
    count = 0
    try:
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow([_safe(name) for name in columns])
        for row in rows:
            writer.writerow([cell(row.get(name)) for name in columns])
            count += 1
        text.flush()
    finally:
        text.detach()
    return count


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
