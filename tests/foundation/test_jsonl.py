"""Lines end at a line feed and nowhere else; what is not JSON is told, with its place."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nono.errors import InputError
from nono.jsonl import BadLine, decode, encode, read_lines, read_values, split_lines, write_values

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.binary())
def test_decode_raises_badline_and_nothing_else(line: bytes) -> None:
    with suppress(BadLine):
        decode(line)


@given(st.lists(st.binary().map(lambda line: line.replace(b"\n", b"")), max_size=20))
def test_lines_come_out_as_they_were_joined(lines: list[bytes]) -> None:
    joined = b"".join(line + b"\n" for line in lines)
    assert list(split_lines(io.BytesIO(joined))) == lines


@given(json_values)
def test_a_value_survives_its_line(value: Any) -> None:
    line = encode(value)
    assert b"\n" not in line
    assert decode(line) == value


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\u0085", "\x1c", "\x0b", "\x0c"])
def test_separators_that_are_legal_inside_texts_do_not_split_lines(tmp_path: Path, inside: str) -> None:
    path = write_values(tmp_path / "x.jsonl", [{"a": f"1{inside}2"}, {"b": 3}])
    assert list(read_values(path)) == [{"a": f"1{inside}2"}, {"b": 3}]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1}\r', {"a": 1}),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
    ],
)
def test_what_other_writers_do_is_tolerated(line: bytes, value: Any) -> None:
    assert decode(line) == value


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"{} {}", b"nul"]
)
def test_hostile_lines_are_bad_lines(line: bytes) -> None:
    try:
        value = decode(line)
    except BadLine:
        return
    # Some parsers read a 5,000-digit number; what counts is that nothing else is raised.
    assert json.dumps(value, default=str)


def test_the_place_of_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{oops\n')
    with pytest.raises(BadLine, match=r"x\.jsonl:3: "):
        list(read_values(path))


def test_a_last_line_without_a_line_feed_counts_and_blank_lines_do_not(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"1\n\n  \n2")
    assert list(read_lines(path)) == [(1, b"1"), (4, b"2")]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object(), {1, 2}])
def test_what_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(InputError):
        encode({"a": value})


def test_a_file_with_a_value_that_cannot_be_written_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.jsonl: line 2"):
        write_values(tmp_path / "x.jsonl", [1, float("nan")])
    assert list(tmp_path.iterdir()) == []
