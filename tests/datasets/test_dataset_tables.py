"""Arrow reads a CSV only where Python's `csv` reads the same; what it leaves alone is told as ever."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nono.datasets import BadInput, open_source
from nono.datasets.sources import BATCH_BYTES
from nono.datasets.tables import LONGEST_ROW, NotPlain, read_tables

NAMES = ("a", "b")
_PIECES = st.sampled_from(
    ["x", "long text ", ",", '"', '""', '","', '"\n"', "\n", "\r\n", "\r", "é", " ", "\x00", ",x\n"]
)
_FIELDS = st.text(alphabet='xé",\n ', max_size=6)


def _by_csv(content: bytes) -> list[list[str]]:
    """What `csv` reads; up to the first thing that it refuses."""
    rows = []
    try:
        for row in csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""), strict=True):
            if row:
                if len(row) != len(NAMES):
                    break
                rows.append(row)
    except (csv.Error, UnicodeDecodeError):
        pass
    return rows


def _by_arrow(content: bytes, block_bytes: int) -> tuple[list[list[str]], bool]:
    """What Arrow reads, and whether it went to the end."""
    rows: list[list[str]] = []
    try:
        for table in read_tables(io.BytesIO(content), NAMES, ",", 0, block_bytes):
            rows += [list(row.values()) for row in table.to_pylist()]
    except NotPlain:
        return rows, False
    return rows, True


@settings(deadline=None, max_examples=400)
@given(st.lists(_PIECES).map("".join), st.integers(1, 40))
@example('""x,y\n', 40)
@example('x,y\nx,"y\nx,y\n', 40)
@example('"x"x,y\n', 3)
@example("x\ry,z\n", 40)
def test_what_arrow_reads_of_anything_is_what_csv_reads(text: str, block_bytes: int) -> None:
    content = text.encode()
    expected = _by_csv(content)
    rows, whole = _by_arrow(content, block_bytes)
    assert rows == (expected if whole else expected[: len(rows)])


@settings(deadline=None)
@given(st.lists(st.tuples(_FIELDS, _FIELDS), min_size=1), st.sampled_from(["\n", "\r\n"]), st.integers(1, 60))
def test_what_csv_writes_arrow_reads_to_the_end(rows: list[tuple[str, str]], line_end: str, block_bytes: int) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=line_end).writerows(rows)
    content = file.getvalue().encode()
    assert _by_arrow(content, block_bytes) == ([list(row) for row in rows], True)


def test_a_row_that_never_ends_is_not_waited_for() -> None:
    rows, whole = _by_arrow(b'x,"' + b"y\n" * LONGEST_ROW, BATCH_BYTES)
    assert (rows, whole) == ([], False)


def _large(tmp_path: Path, last: str) -> Path:
    path = tmp_path / "in.csv"
    row = "x" * 998
    path.write_text("\n\nid,text\n" + "".join(f"{n},{row}\n" for n in range(6291)) + last)
    return path


def test_a_large_file_says_where_a_quote_is_left_open(tmp_path: Path) -> None:
    path = _large(tmp_path, 'a,"b\nc,d\n')
    with pytest.raises(BadInput, match=r"in\.csv:6295: a quote that opens in this row is never closed"):
        list(open_source(path).batches())


def test_a_large_file_says_where_a_field_is_missing(tmp_path: Path) -> None:
    path = _large(tmp_path, "a\n")
    with pytest.raises(BadInput, match=r"in\.csv:6295: 1 field where the header names 2"):
        list(open_source(path).batches())


def test_after_a_quote_inside_a_text_csv_goes_on_where_arrow_stopped(tmp_path: Path) -> None:
    rows = list(open_source(_large(tmp_path, 'a,5" disc\nb,c\n')).rows())
    assert [row["id"] for row in rows[-3:]] == ["6290", "a", "b"]
    assert rows[-2]["text"] == '5" disc'
    assert [row["id"] for row in rows[:-2]] == [str(n) for n in range(6291)]
